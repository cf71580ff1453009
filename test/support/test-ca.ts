import { generateKeyPairSync } from 'node:crypto';
import { makeSubjectAltName, KeyUsage } from '../../certs/extensions.ts';
import {
  CLOCK_SKEW_MS,
  issueIntermediate,
  issueRoot,
  makeBasicConstraints,
  makeExtKeyUsage,
  makeKeyUsage,
  makeName,
  makeSigner,
  signCertificate,
  type Signer,
} from '../../certs/issue.ts';
import { privateKeyPem, publicKeyDer, type KeyPair } from '../../certs/keys.ts';
import { Oid } from '../../certs/oids.ts';
import { derSequence } from '../../base/der-write.ts';
import type { WorkloadCertificate } from '../../mesh/model/certificate.ts';
import { parseSpiffeId, parseTrustDomain, type SpiffeId } from '../../mesh/model/identity.ts';

/** A certificate is valid for an hour unless a test says otherwise. */
const TTL_MS = 3_600_000;
const ROOT_TTL_MS = 3650 * 86_400_000;

/** What may be odd about a certificate that a test asks for; each is right when absent. */
export type TestCertificateOptions = Readonly<{
  /** From now to the end, milliseconds; negative: it has already ended. */
  ttlMs?: number;
  /** From now to the beginning, milliseconds; positive: not valid yet. Default: two minutes ago. */
  notBeforeInMs?: number;
  key?: 'ec' | 'rsa';
  /** In place of the one URI. */
  uris?: readonly string[];
  dnsNames?: readonly string[];
  isCa?: boolean;
  /** Object identifiers; an empty list leaves the extension out. */
  purposes?: readonly string[];
  /** Leaves keyUsage out. */
  noKeyUsage?: boolean;
}>;

/** A CA of a test: a root, and perhaps intermediates below it, the last of which signs. */
export type TestCa = Readonly<{
  rootPem: string;
  /** The last first, without the root. */
  intermediatesPem: readonly string[];
  signer: Signer;
  /** The key of the signer. */
  keys: KeyPair;
  issue(identity: string, options?: TestCertificateOptions): WorkloadCertificate;
}>;

/** Makes a CA in some milliseconds. Two of them never trust each other. */
export function makeTestCa(
  options: Readonly<{
    trustDomain?: string;
    intermediates?: number;
    key?: 'ec' | 'rsa';
    /** Of every intermediate. */
    pathLength?: number;
    /** Leaves basicConstraints out of every intermediate, so that they are no CAs. */
    plainIntermediates?: boolean;
  }> = {},
): TestCa {
  const trustDomain = parseTrustDomain(options.trustDomain ?? 'cluster.local');
  const nowMs = Date.now();
  let keys = makeKeys(options.key ?? 'ec');
  const root = issueRoot(keys, { trustDomain, ttlMs: ROOT_TTL_MS, nowMs });
  let signer = makeSigner(root.pem, keys.privateKey);
  const intermediatesPem: string[] = [];
  for (let level = 1; level <= (options.intermediates ?? 0); level++) {
    keys = makeKeys(options.key ?? 'ec');
    const publicKey = publicKeyDer(keys.publicKey);
    const commonName = `intermediate ${level}`;
    if (options.plainIntermediates) {
      const subject = makeName(trustDomain, commonName);
      const { pem, notAfterMs } = signCertificate(signer, {
        ...{ subject, publicKey, notBeforeMs: nowMs - CLOCK_SKEW_MS },
        ...{ notAfterMs: nowMs + ROOT_TTL_MS, extensions: [] },
      });
      signer = { privateKey: keys.privateKey, name: subject, notAfterMs };
      intermediatesPem.unshift(pem);
      continue;
    }
    const { pem } = issueIntermediate(signer, {
      ...{ trustDomain, commonName, publicKey, ttlMs: ROOT_TTL_MS, nowMs },
      pathLength: options.pathLength ?? 8,
    });
    signer = makeSigner(pem, keys.privateKey);
    intermediatesPem.unshift(pem);
  }
  const base = { rootPem: root.pem, intermediatesPem, signer, keys };
  return { ...base, issue: (identity, odd = {}) => issueTest(base, parseSpiffeId(identity), odd) };
}

/** The issuing side of a CA whose material is there already. */
export function issueBy(
  ca: Pick<TestCa, 'rootPem' | 'intermediatesPem' | 'signer'>,
): Pick<TestCa, 'issue'> {
  return { issue: (identity, odd = {}) => issueTest(ca, parseSpiffeId(identity), odd) };
}

/** A pair of keys without waiting: RSA of 2048 bits takes tenths of a second. */
export function makeKeys(kind: 'ec' | 'rsa' = 'ec'): KeyPair {
  return kind === 'ec'
    ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
    : generateKeyPairSync('rsa', { modulusLength: 2048 });
}

function issueTest(
  ca: Pick<TestCa, 'rootPem' | 'intermediatesPem' | 'signer'>,
  identity: SpiffeId,
  odd: TestCertificateOptions,
): WorkloadCertificate {
  const keys = makeKeys(odd.key ?? 'ec');
  const nowMs = Date.now();
  const { uris = [identity], dnsNames = [], isCa = false } = odd;
  const purposes = odd.purposes ?? [Oid.serverAuth, Oid.clientAuth];
  const leaf = signCertificate(ca.signer, {
    subject: derSequence(),
    publicKey: publicKeyDer(keys.publicKey),
    notBeforeMs: nowMs + (odd.notBeforeInMs ?? -CLOCK_SKEW_MS - Math.max(0, -(odd.ttlMs ?? 0))),
    notAfterMs: nowMs + (odd.ttlMs ?? TTL_MS),
    extensions: [
      ...(odd.noKeyUsage
        ? []
        : [
            makeKeyUsage(
              KeyUsage.digitalSignature,
              ...(isCa ? [KeyUsage.keyCertSign] : [KeyUsage.keyEncipherment]),
            ),
          ]),
      ...(purposes.length > 0 ? [makeExtKeyUsage(...purposes)] : []),
      makeBasicConstraints(isCa),
      ...(uris.length + dnsNames.length > 0 ? [makeSubjectAltName({ uris, dnsNames }, true)] : []),
    ],
  });
  return {
    identity,
    privateKeyPem: privateKeyPem(keys.privateKey),
    chainPem: [leaf.pem, ...ca.intermediatesPem],
    rootsPem: [ca.rootPem],
    serialNumber: leaf.serialNumber,
    notBeforeMs: leaf.notBeforeMs,
    notAfterMs: leaf.notAfterMs,
  };
}
