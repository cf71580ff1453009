import { createHash, randomBytes, sign, type KeyObject } from 'node:crypto';
import { Tag } from '../base/der.ts';
import {
  der,
  derBitFlags,
  derBitString,
  derBoolean,
  derContext,
  derOid,
  derSequence,
  derSet,
  derTime,
  derUnsigned,
} from '../base/der-write.ts';
import { MeshError } from '../base/errors.ts';
import type { SpiffeId, TrustDomain } from '../mesh/model/identity.ts';
import { KeyUsage, makeExtension, makeSubjectAltName } from './extensions.ts';
import { publicKeyDer, signatureAlgorithm, type KeyPair } from './keys.ts';
import { Oid } from './oids.ts';
import { formatPem } from './pem.ts';
import { maySignCertificates, readCertificate } from './x509.ts';

/** What signs: a CA's key with what its certificate puts into those that it signs. */
export type Signer = Readonly<{
  privateKey: KeyObject;
  /** DER of the Name. */
  name: Buffer;
  /** Absent: its certificate has none. */
  keyId?: Buffer;
  notAfterMs: number;
}>;

export type IssuedCertificate = Readonly<{
  pem: string;
  /** Lower-case hexadecimal. */
  serialNumber: string;
  /** Milliseconds since the epoch, whole seconds. */
  notBeforeMs: number;
  notAfterMs: number;
}>;

/** How far a peer's clock may be behind ours, as istio/istio security/pkg/pki/util ClockSkewGracePeriod. */
export const CLOCK_SKEW_MS = 2 * 60_000;

/** Random bits that no one guesses; istio/istio uses 128. */
const SERIAL_BYTES = 16;

/**
 * Makes a signer of a CA's certificate and private key.
 *
 * @throws {MeshError} ERR_CA for a certificate that may not sign others.
 */
export function makeSigner(certificatePem: string, privateKey: KeyObject): Signer {
  const certificate = readCertificate(certificatePem);
  if (!maySignCertificates(certificate))
    throw new MeshError('ERR_CA', 'local', 'Cannot sign with certificate: it is not one of a CA');
  const { subject: name, subjectKeyId: keyId, notAfterMs } = certificate;
  return { privateKey, name, notAfterMs, ...(keyId && { keyId }) };
}

/**
 * How long a certificate shall live.
 *
 * @param requestedSeconds 0 or less asks for the default.
 * @throws {MeshError} ERR_CERTIFICATE_TTL for more than the longest: refused rather than cut, so that who asked knows.
 */
export function chooseTtlMs(
  requestedSeconds: bigint,
  limits: Readonly<{ defaultTtlMs: number; maxTtlMs: number }>,
): number {
  if (requestedSeconds <= 0n) return limits.defaultTtlMs;
  if (requestedSeconds * 1000n <= BigInt(limits.maxTtlMs)) return Number(requestedSeconds) * 1000;
  const found = `${requestedSeconds} s, at most ${Math.floor(limits.maxTtlMs / 1000)} s are allowed`;
  throw new MeshError(
    'ERR_CERTIFICATE_TTL',
    'downstream',
    `Cannot issue certificate: found a lifetime of ${found}`,
  );
}

/** A workload's certificate: one identity, both ends of TLS, never a CA; it does not outlive its signer's. */
export function issueWorkloadCertificate(
  signer: Signer,
  request: Readonly<{ identity: SpiffeId; publicKey: Uint8Array; ttlMs: number; nowMs: number }>,
): IssuedCertificate {
  return signCertificate(signer, {
    subject: derSequence(),
    publicKey: request.publicKey,
    ...validity(signer, request),
    extensions: [...LEAF_EXTENSIONS, makeSubjectAltName({ uris: [request.identity] }, true)],
  });
}

/** A server's certificate, for its host names and addresses. */
export function issueServerCertificate(
  signer: Signer,
  request: Readonly<{
    dnsNames: readonly string[];
    /** 4 or 16 bytes each. */
    ips: readonly Uint8Array[];
    publicKey: Uint8Array;
    ttlMs: number;
    nowMs: number;
  }>,
): IssuedCertificate {
  return signCertificate(signer, {
    subject: derSequence(),
    publicKey: request.publicKey,
    ...validity(signer, request),
    extensions: [...LEAF_EXTENSIONS, makeSubjectAltName(request, true)],
  });
}

/** A root: signed by its own key, named after its trust domain and, so that several can be told apart, its key. */
export function issueRoot(
  keys: KeyPair,
  request: Readonly<{ trustDomain: TrustDomain; ttlMs: number; nowMs: number }>,
): IssuedCertificate {
  const publicKey = publicKeyDer(keys.publicKey);
  const keyId = makeKeyId(publicKey);
  const name = makeName(request.trustDomain, `Halo root ${keyId.toString('hex', 0, 4)}`);
  const notAfterMs = request.nowMs + request.ttlMs;
  const signer = { privateKey: keys.privateKey, name, keyId, notAfterMs };
  return signCertificate(signer, {
    subject: name,
    publicKey,
    ...validity(signer, request),
    extensions: makeAuthorityExtensions(keyId),
  });
}

/** A CA below another one; `pathLength` says how many may stand below it. */
export function issueIntermediate(
  signer: Signer,
  request: Readonly<{
    trustDomain: TrustDomain;
    commonName: string;
    publicKey: Uint8Array;
    pathLength: number;
    ttlMs: number;
    nowMs: number;
  }>,
): IssuedCertificate {
  return signCertificate(signer, {
    subject: makeName(request.trustDomain, request.commonName),
    publicKey: request.publicKey,
    ...validity(signer, request),
    extensions: makeAuthorityExtensions(makeKeyId(request.publicKey), request.pathLength),
  });
}

/** What signCertificate() puts into a certificate as it is. */
export type CertificateTemplate = Readonly<{
  /** DER of the Name. */
  subject: Uint8Array;
  /** DER of SubjectPublicKeyInfo. */
  publicKey: Uint8Array;
  notBeforeMs: number;
  notAfterMs: number;
  /** DER of an Extension each; the authority's key identifier is added. */
  extensions: readonly Uint8Array[];
}>;

/** Builds and signs a certificate of any content; the functions above choose content that is right. */
export function signCertificate(signer: Signer, template: CertificateTemplate): IssuedCertificate {
  const serial = randomBytes(SERIAL_BYTES);
  // Never zero, and never a byte shorter: the two highest bits are 01.
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40;
  const algorithm = signatureAlgorithm(signer.privateKey);
  const keyId = signer.keyId === undefined ? [] : [makeAuthorityKeyId(signer.keyId)];
  const body = derSequence(
    VERSION_3,
    derUnsigned(serial),
    algorithm,
    signer.name,
    derSequence(derTime(template.notBeforeMs), derTime(template.notAfterMs)),
    template.subject,
    template.publicKey,
    derContext(3, derSequence(...template.extensions, ...keyId)),
  );
  const signature = derBitString(sign('sha256', body, signer.privateKey));
  return {
    pem: formatPem('CERTIFICATE', derSequence(body, algorithm, signature)),
    serialNumber: serial.toString('hex'),
    notBeforeMs: wholeSeconds(template.notBeforeMs),
    notAfterMs: wholeSeconds(template.notAfterMs),
  };
}

/** The identifier of a key: 160 bits of a SHA-256 of its SubjectPublicKeyInfo. RFC 5280 section 4.2.1.2 leaves the method free. */
function makeKeyId(publicKey: Uint8Array): Buffer {
  return createHash('sha256').update(publicKey).digest().subarray(0, 20);
}

/** DER of a Name with an organization and a common name. */
export function makeName(organization: string, commonName: string): Buffer {
  const part = (oid: string, text: string): Buffer =>
    derSet(derSequence(derOid(oid), der(Tag.utf8String, Buffer.from(text, 'utf8'))));
  return derSequence(part(Oid.organization, organization), part(Oid.commonName, commonName));
}

/** keyUsage for TLS and, never in a leaf, for signing certificates. */
export function makeKeyUsage(...bits: readonly number[]): Buffer {
  return makeExtension(Oid.keyUsage, true, derBitFlags(...bits));
}

export function makeExtKeyUsage(...purposes: readonly string[]): Buffer {
  return makeExtension(Oid.extKeyUsage, false, derSequence(...purposes.map(derOid)));
}

/** basicConstraints; DER leaves CA:false out. */
export function makeBasicConstraints(isCa: boolean, pathLength?: number): Buffer {
  const length = pathLength === undefined ? [] : [derUnsigned(Uint8Array.of(pathLength))];
  const fields = isCa ? [derBoolean(true), ...length] : [];
  return makeExtension(Oid.basicConstraints, true, derSequence(...fields));
}

function makeAuthorityExtensions(keyId: Buffer, pathLength?: number): Buffer[] {
  return [
    makeKeyUsage(KeyUsage.keyCertSign, KeyUsage.crlSign),
    makeBasicConstraints(true, pathLength),
    makeExtension(Oid.subjectKeyIdentifier, false, der(Tag.octetString, keyId)),
  ];
}

function makeAuthorityKeyId(keyId: Buffer): Buffer {
  return makeExtension(Oid.authorityKeyIdentifier, false, derSequence(der(0x80, keyId)));
}

function validity(
  signer: Pick<Signer, 'notAfterMs'>,
  request: Readonly<{ ttlMs: number; nowMs: number }>,
): { notBeforeMs: number; notAfterMs: number } {
  return {
    notBeforeMs: request.nowMs - CLOCK_SKEW_MS,
    notAfterMs: Math.min(request.nowMs + request.ttlMs, signer.notAfterMs),
  };
}

function wholeSeconds(timeMs: number): number {
  return Math.floor(timeMs / 1000) * 1000;
}

const VERSION_3 = derContext(0, derUnsigned(Uint8Array.of(2)));

/** As istio/istio has them; keyEncipherment serves RSA keys of old peers. */
const LEAF_EXTENSIONS: readonly Buffer[] = [
  makeKeyUsage(KeyUsage.digitalSignature, KeyUsage.keyEncipherment),
  makeExtKeyUsage(Oid.serverAuth, Oid.clientAuth),
  makeBasicConstraints(false),
];
