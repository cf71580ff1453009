import { LONGEST_LIFETIME_MS } from '../model/certificate.ts';
import {
  identityParts,
  parseSpiffeId,
  type SpiffeId,
  type TrustDomain,
} from '../model/identity.ts';

/** What a certificate whose chain has been verified says of its subject, as its DER has it. */
export type PeerFacts = Readonly<{
  uris: readonly string[];
  /** How many names of other kinds there are. */
  otherNames: number;
  /** False when they could not be read whole. */
  namesReadable: boolean;
  /** Whether it may sign certificates. */
  isAuthority: boolean;
  /** Bits of KeyUsage; `undefined` without the extension. */
  keyUsage?: number;
  /** `undefined` without the extension; that the purpose fits, OpenSSL has checked. */
  extendedKeyUsage?: number;
  /** From its first second to its last. */
  lifetimeMs: number;
  /** Only of an RSA key. */
  rsa?: Readonly<{ bits: number; exponent: bigint }>;
}>;

/**
 * RSA keys that our own CA signs (certs/keys.ts). Of longer ones the peer's every signature costs us milliseconds, and
 * with an exponent of 1 anybody can make it; weaker ones OpenSSL refuses by itself.
 */
const MOST_RSA_BITS = 4096;
const RSA_EXPONENT = 65_537n;

const DAY_MS = 86_400_000;

/** Bits of KeyUsage, as OpenSSL numbers them. */
const DIGITAL_SIGNATURE = 0x80;
const SIGNS_OTHERS = 0x04 | 0x02; // certificates, revocation lists

/** Whether a peer is who it must be. `reason` completes "Cannot accept the peer: ". */
export type PeerCheck = Readonly<
  { kind: 'accepted'; identity: SpiffeId } | { kind: 'refused'; reason: string }
>;

/** A server is accepted when its one identity is among those expected of the next hop. */
export function checkServer(facts: PeerFacts, expected: readonly SpiffeId[]): PeerCheck {
  const identified = readIdentity(facts);
  if (identified.kind === 'refused' || expected.includes(identified.identity)) return identified;
  const wanted = expected.slice(0, 3).join(', ') || 'nobody';
  const more = expected.length > 3 ? ` and ${expected.length - 3} more` : '';
  return refuse(`found ${identified.identity}, expected ${wanted}${more}`);
}

/** A client is accepted when its one identity is of the server's own trust domain or one of that domain's aliases. */
export function checkClient(facts: PeerFacts, trustDomains: ReadonlySet<TrustDomain>): PeerCheck {
  const identified = readIdentity(facts);
  if (identified.kind === 'refused') return identified;
  if (trustDomains.has(identityParts(identified.identity).trustDomain)) return identified;
  return refuse(`${identified.identity} is of another trust domain`);
}

/** SPIFFE X.509-SVID, section 2: exactly one URI. Other names beside it are refused: no mesh certificate has any. */
function readIdentity(facts: PeerFacts): PeerCheck {
  const { uris, otherNames, namesReadable } = facts;
  const misuse = findMisuse(facts);
  if (misuse !== undefined) return refuse(misuse);
  if (!namesReadable) return refuse('the names in its certificate cannot be read');
  const [uri] = uris;
  if (uri === undefined) return refuse('its certificate has no URI name');
  if (uris.length > 1) return refuse(`its certificate has ${uris.length} URI names`);
  if (otherNames > 0) return refuse('its certificate has other names beside the URI');
  try {
    return { kind: 'accepted', identity: parseSpiffeId(uri) };
  } catch {
    return refuse(`its URI name is no workload identity: ${JSON.stringify(uri.slice(0, 128))}`);
  }
}

/**
 * SPIFFE X.509-SVID, section 4: a workload's certificate signs nothing but handshakes, and says so. OpenSSL takes a
 * certificate without these extensions for one that may do anything.
 */
function findMisuse(facts: PeerFacts): string | undefined {
  const { isAuthority, keyUsage, extendedKeyUsage, lifetimeMs, rsa } = facts;
  if (isAuthority) return 'its certificate is one of a CA';
  if (keyUsage === undefined || extendedKeyUsage === undefined)
    return 'its certificate does not say what it is for';
  if ((keyUsage & DIGITAL_SIGNATURE) === 0 || (keyUsage & SIGNS_OTHERS) !== 0)
    return 'its certificate is not for signing handshakes alone';
  if (rsa !== undefined && (rsa.bits > MOST_RSA_BITS || rsa.exponent !== RSA_EXPONENT))
    return `its key is RSA of ${rsa.bits} bits with the exponent ${rsa.exponent}`;
  if (lifetimeMs > LONGEST_LIFETIME_MS) {
    const days = [lifetimeMs, LONGEST_LIFETIME_MS].map((ms) => Math.ceil(ms / DAY_MS));
    return `its certificate is for ${days[0]} days, and may be for ${days[1]}`;
  }
  return undefined;
}

function refuse(reason: string): PeerCheck {
  return { kind: 'refused', reason };
}
