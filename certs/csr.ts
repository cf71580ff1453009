import { sign, verify } from 'node:crypto';
import {
  derBitString,
  derContext,
  derOid,
  derSequence,
  derSet,
  derUnsigned,
} from '../base/der-write.ts';
import {
  DerReader,
  Tag,
  contextTag,
  readBitFlags,
  readBitStringBytes,
  readBoolean,
  readDer,
  readOid,
} from '../base/der.ts';
import { MeshError } from '../base/errors.ts';
import type { SpiffeId } from '../mesh/model/identity.ts';
import {
  KeyUsage,
  makeSubjectAltName,
  readExtensions,
  readSubjectAltNames,
  type Extensions,
  type SubjectAltNames,
} from './extensions.ts';
import {
  publicKeyDer,
  readPublicKey,
  signatureAlgorithm,
  signatureDigest,
  type KeyPair,
} from './keys.ts';
import { Oid } from './oids.ts';
import { formatPem, parsePem } from './pem.ts';

/** What a request asks for. Nothing but the key is ever copied into a certificate. */
export type CertificateRequest = Readonly<{
  /** DER of SubjectPublicKeyInfo; strong, and the request is signed with its private half. */
  publicKey: Buffer;
  /** The common names of its subject; other parts of a subject mean nothing here. */
  commonNames: readonly string[];
  names: SubjectAltNames;
  /** CA:true, or the right to sign certificates or revocation lists. */
  wantsCa: boolean;
}>;

/** A request with an RSA key of 4096 bits has 1.7 KiB, 2.4 as PEM. */
const MAX_CSR_BYTES = 16 * 1024;
const MAX_SUBJECT_PARTS = 16;
const MAX_ATTRIBUTES = 8;
const WHAT = 'certificate request';

/** PEM of a request for one identity: empty subject, one critical SAN, no other extension, signed with SHA-256. */
export function makeCsr(identity: SpiffeId, keys: KeyPair): string {
  const extensions = derSequence(makeSubjectAltName({ uris: [identity] }, true));
  const attribute = derSequence(derOid(Oid.extensionRequest), derSet(extensions));
  const body = derSequence(
    derUnsigned(Uint8Array.of(0)),
    derSequence(),
    publicKeyDer(keys.publicKey),
    derContext(0, attribute),
  );
  const signature = sign('sha256', body, keys.privateKey);
  const request = derSequence(body, signatureAlgorithm(keys.privateKey), derBitString(signature));
  return formatPem('CERTIFICATE REQUEST', request);
}

/**
 * Reads a request and verifies that who made it holds the key: strictly DER, nothing behind it, a strong key, a signature
 * of today, no attribute or extension twice, no critical extension that we do not know.
 *
 * @param request DER, or PEM with exactly one block.
 * @throws {MeshError} ERR_CSR, ERR_PEM, ERR_DER, ERR_CERTIFICATE, ERR_WEAK_KEY or ERR_WEAK_SIGNATURE
 */
export function parseCsr(request: Uint8Array | string): CertificateRequest {
  if (request.length > MAX_CSR_BYTES)
    throw csrError(`${request.length} bytes, at most ${MAX_CSR_BYTES} are allowed`);
  const [bytes = Buffer.alloc(0)] =
    typeof request === 'string' ? parsePem(request, 'CERTIFICATE REQUEST', 1) : [request];
  const outer = new DerReader(readDer(bytes, Tag.sequence, WHAT).content, WHAT);
  const body = outer.next(Tag.sequence);
  const algorithm = outer.enter(Tag.sequence);
  const signature = readBitStringBytes(outer.next(Tag.bitString), WHAT);
  outer.end();

  const fields = new DerReader(body.content, WHAT);
  if (fields.next(Tag.integer).content.toString('hex') !== '00')
    throw csrError('another version than 1');
  const commonNames = readCommonNames(fields.enter(Tag.sequence));
  const publicKey = fields.next(Tag.sequence).bytes;
  const extensions = readAttributes(fields.enter(contextTag(0, true)));
  fields.end();

  const key = readPublicKey(publicKey);
  if (!verify(signatureDigest(algorithm, key), body.bytes, key, signature))
    throw csrError('a signature that its key did not make');
  return {
    publicKey,
    commonNames,
    names: readSubjectAltNames(extensions, WHAT),
    wantsCa: wantsCa(extensions),
  };
}

/**
 * Refuses a request that names anyone but `identity`, or asks for more than a workload's certificate has.
 * A request without names is fine: who may have which identity does not come from it.
 *
 * @throws {MeshError} ERR_CSR
 */
export function checkRequestedNames(request: CertificateRequest, identity: SpiffeId): void {
  const { uris, dnsNames, ips, others } = request.names;
  if (dnsNames.length + ips.length + others > 0)
    throw csrError('a subject alternative name that is no URI');
  if (uris.length > 1) throw csrError('several URIs');
  const foreign = [...uris, ...request.commonNames].find((name) => name !== identity);
  if (foreign !== undefined) {
    const found = JSON.stringify(foreign.slice(0, 128));
    throw csrError(`the name ${found} where the caller may have ${identity}`);
  }
  if (request.wantsCa) throw csrError('a request for a CA certificate');
}

function readCommonNames(subject: DerReader): string[] {
  const names: string[] = [];
  for (let parts = 0; !subject.done; parts++) {
    if (parts === MAX_SUBJECT_PARTS) throw csrError('a subject of too many parts');
    const set = subject.enter(Tag.set);
    const entry = set.enter(Tag.sequence);
    set.end(); // a part of several values could hide a name from one reader or another
    const oid = readOid(entry.next(Tag.oid), WHAT);
    const value = entry.any();
    entry.end();
    if (oid === Oid.commonName) names.push(value.content.toString('latin1'));
  }
  return names;
}

function readAttributes(attributes: DerReader): Extensions {
  const seen = new Set<string>();
  let extensions: Extensions = new Map();
  while (!attributes.done) {
    const attribute = attributes.enter(Tag.sequence);
    const oid = readOid(attribute.next(Tag.oid), WHAT);
    const values = attribute.enter(Tag.set);
    attribute.end();
    if (seen.has(oid) || seen.size === MAX_ATTRIBUTES)
      throw csrError(seen.has(oid) ? `the attribute ${oid} twice` : 'too many attributes');
    seen.add(oid);
    if (oid !== Oid.extensionRequest) continue;
    extensions = readExtensions(values.enter(Tag.sequence), WHAT);
    values.end();
  }
  const unknown = [...extensions].find(([oid, { critical }]) => critical && !KNOWN.has(oid));
  if (unknown !== undefined) throw csrError(`the critical extension ${unknown[0]}`);
  return extensions;
}

const KNOWN: ReadonlySet<string> = new Set([
  Oid.subjectAltName,
  Oid.basicConstraints,
  Oid.keyUsage,
  Oid.extKeyUsage,
]);

function wantsCa(extensions: Extensions): boolean {
  const constraints = extensions.get(Oid.basicConstraints)?.value;
  if (constraints !== undefined) {
    const fields = new DerReader(readDer(constraints, Tag.sequence, WHAT).content, WHAT);
    const flag = fields.optional(Tag.boolean);
    if (flag !== undefined && readBoolean(flag, WHAT)) return true;
  }
  const usage = extensions.get(Oid.keyUsage)?.value;
  if (usage === undefined) return false;
  const flags = readBitFlags(readDer(usage, Tag.bitString, WHAT), WHAT);
  return flags.has(KeyUsage.keyCertSign) || flags.has(KeyUsage.crlSign);
}

function csrError(found: string): MeshError {
  return new MeshError('ERR_CSR', 'downstream', `Cannot accept ${WHAT}: found ${found}`);
}
