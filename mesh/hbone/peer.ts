import {
  identityParts,
  parseSpiffeId,
  type SpiffeId,
  type TrustDomain,
} from '../model/identity.ts';

/** The subject alternative names of a certificate whose chain has been verified, as its DER has them. */
export type PeerNames = Readonly<{
  uris: readonly string[];
  /** How many names of other kinds there are. */
  otherNames: number;
  /** False when they could not be read whole. */
  namesReadable: boolean;
}>;

/** Whether a peer is who it must be. `reason` completes "Cannot accept the peer: ". */
export type PeerCheck = Readonly<
  { kind: 'accepted'; identity: SpiffeId } | { kind: 'refused'; reason: string }
>;

/** A server is accepted when its one identity is among those expected of the next hop. */
export function checkServer(names: PeerNames, expected: readonly SpiffeId[]): PeerCheck {
  const identified = readIdentity(names);
  if (identified.kind === 'refused' || expected.includes(identified.identity)) return identified;
  const wanted = expected.slice(0, 3).join(', ') || 'nobody';
  const more = expected.length > 3 ? ` and ${expected.length - 3} more` : '';
  return refuse(`found ${identified.identity}, expected ${wanted}${more}`);
}

/** A client is accepted when its one identity is of the server's own trust domain or one of that domain's aliases. */
export function checkClient(names: PeerNames, trustDomains: ReadonlySet<TrustDomain>): PeerCheck {
  const identified = readIdentity(names);
  if (identified.kind === 'refused') return identified;
  if (trustDomains.has(identityParts(identified.identity).trustDomain)) return identified;
  return refuse(`${identified.identity} is of another trust domain`);
}

/** SPIFFE X.509-SVID, section 2: exactly one URI. Other names beside it are refused: no mesh certificate has any. */
function readIdentity({ uris, otherNames, namesReadable }: PeerNames): PeerCheck {
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

function refuse(reason: string): PeerCheck {
  return { kind: 'refused', reason };
}
