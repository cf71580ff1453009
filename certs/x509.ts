import { DerReader, Tag, contextTag, readBitFlags, readBoolean, readDer } from '../base/der.ts';
import { readOid, readTime, readUnsigned } from '../base/der.ts';
import { MeshError } from '../base/errors.ts';
import { parseSpiffeId, type SpiffeId } from '../mesh/model/identity.ts';
import {
  KeyUsage,
  readExtensions,
  readSubjectAltNames,
  type Extensions,
  type SubjectAltNames,
} from './extensions.ts';
import { Oid } from './oids.ts';
import { parsePem } from './pem.ts';

/** What we read of a certificate ourselves. Whether its signatures hold is for OpenSSL to say. */
export type CertificateFields = Readonly<{
  der: Buffer;
  /** Lower-case hexadecimal. */
  serialNumber: string;
  /** Milliseconds since the epoch. */
  notBeforeMs: number;
  notAfterMs: number;
  /** DER of the Name, compared as bytes. */
  issuer: Buffer;
  subject: Buffer;
  /** DER of SubjectPublicKeyInfo. */
  publicKey: Buffer;
  names: SubjectAltNames;
  isCa: boolean;
  /** How many intermediates may stand below it; absent: any number. */
  pathLength?: number;
  /** Absent: any use. */
  keyUsage?: ReadonlySet<number>;
  extKeyUsage?: ReadonlySet<string>;
  subjectKeyId?: Buffer;
}>;

const WHAT = 'certificate';

/**
 * Reads a certificate, strictly DER and version 3.
 *
 * @param certificate DER, or PEM with exactly one block.
 * @throws {MeshError} ERR_PEM, ERR_DER or ERR_CERTIFICATE
 */
export function readCertificate(certificate: Uint8Array | string): CertificateFields {
  const [bytes = Buffer.alloc(0)] =
    typeof certificate === 'string' ? parsePem(certificate, 'CERTIFICATE', 1) : [certificate];
  const whole = readDer(bytes, Tag.sequence, WHAT);
  const outer = new DerReader(whole.content, WHAT);
  const body = outer.enter(Tag.sequence);
  const algorithm = outer.next(Tag.sequence).bytes;
  outer.next(Tag.bitString);
  outer.end();
  if (body.enter(contextTag(0, true)).next(Tag.integer).content.toString('hex') !== '02')
    throw certificateError('another version than 3');
  const serialNumber = readUnsigned(body.next(Tag.integer), WHAT).toString('hex');
  if (!body.next(Tag.sequence).bytes.equals(algorithm))
    throw certificateError('two signature algorithms');
  const issuer = body.next(Tag.sequence).bytes;
  const validity = body.enter(Tag.sequence);
  const notBeforeMs = readTime(validity.any(), WHAT);
  const notAfterMs = readTime(validity.any(), WHAT);
  validity.end();
  const subject = body.next(Tag.sequence).bytes;
  const publicKey = body.next(Tag.sequence).bytes;
  const extensions = readCertificateExtensions(body);
  return {
    der: whole.bytes,
    ...{ serialNumber, notBeforeMs, notAfterMs, issuer, subject, publicKey },
    names: readSubjectAltNames(extensions, WHAT),
    ...readBasicConstraints(extensions),
    ...readUsages(extensions),
  };
}

function readCertificateExtensions(body: DerReader): Extensions {
  const wrapper = body.peek() === undefined ? undefined : body.enter(contextTag(3, true));
  body.end(); // the unique identifiers of version 2 are in no certificate of today
  if (wrapper === undefined) return new Map();
  const list = wrapper.enter(Tag.sequence);
  wrapper.end();
  return readExtensions(list, WHAT);
}

function readBasicConstraints(extensions: Extensions): { isCa: boolean; pathLength?: number } {
  const value = extensions.get(Oid.basicConstraints)?.value;
  if (value === undefined) return { isCa: false };
  const outer = new DerReader(value, WHAT);
  const fields = outer.enter(Tag.sequence);
  outer.end();
  const flag = fields.optional(Tag.boolean);
  const length = fields.optional(Tag.integer);
  fields.end();
  const isCa = flag !== undefined && readBoolean(flag, WHAT);
  if (length === undefined) return { isCa };
  const bytes = readUnsigned(length, WHAT);
  return { isCa, pathLength: bytes.length > 1 ? 255 : (bytes[0] ?? 0) };
}

function readUsages(
  extensions: Extensions,
): Pick<CertificateFields, 'keyUsage' | 'extKeyUsage' | 'subjectKeyId'> {
  const keyUsage = extensions.get(Oid.keyUsage)?.value;
  const extKeyUsage = extensions.get(Oid.extKeyUsage)?.value;
  const keyId = extensions.get(Oid.subjectKeyIdentifier)?.value;
  return {
    ...(keyUsage && { keyUsage: readBitFlags(readDer(keyUsage, Tag.bitString, WHAT), WHAT) }),
    ...(extKeyUsage && { extKeyUsage: readPurposes(extKeyUsage) }),
    ...(keyId && { subjectKeyId: readDer(keyId, Tag.octetString, WHAT).content }),
  };
}

function readPurposes(value: Buffer): ReadonlySet<string> {
  const list = new DerReader(readDer(value, Tag.sequence, WHAT).content, WHAT);
  const purposes = new Set<string>();
  while (!list.done) purposes.add(readOid(list.next(Tag.oid), WHAT));
  return purposes;
}

/**
 * The identity that a workload's certificate proves, once its chain is verified: its only name is one URI, a SPIFFE id.
 *
 * @throws {MeshError} ERR_CERTIFICATE or ERR_SPIFFE_ID
 */
export function certificateIdentity(certificate: CertificateFields): SpiffeId {
  const { uris, dnsNames, ips, others } = certificate.names;
  const [uri] = uris;
  const count = uris.length + dnsNames.length + ips.length + others;
  if (uri === undefined || count !== 1)
    throw certificateError(
      `${uris.length} URIs and ${count - uris.length} other names, not one URI`,
    );
  if (certificate.isCa) throw certificateError('a CA certificate in place of a workload');
  return parseSpiffeId(uri);
}

/** Whether it may sign certificates; without keyUsage nothing forbids it. */
export function maySignCertificates(certificate: CertificateFields): boolean {
  return certificate.isCa && (certificate.keyUsage?.has(KeyUsage.keyCertSign) ?? true);
}

function certificateError(found: string): MeshError {
  return new MeshError('ERR_CERTIFICATE', 'local', `Cannot read ${WHAT}: found ${found}`);
}
