import { createPublicKey, generateKeyPair as generate, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import { derSequence, derOid, der } from '../base/der-write.ts';
import { DerReader, Tag, readBitStringBytes, readDer, readOid, readUnsigned } from '../base/der.ts';
import { MeshError } from '../base/errors.ts';
import { Oid } from './oids.ts';

export type KeyKind = 'ec-p256' | 'rsa-2048' | 'rsa-3072' | 'rsa-4096';

/** A private key with its public half, as node:crypto holds them. */
export type KeyPair = Readonly<{ privateKey: KeyObject; publicKey: KeyObject }>;

/** What we accept of others; we make P-256 and RSA ourselves. */
const CURVE_POINT_BYTES: ReadonlyMap<string, number> = new Map([
  [Oid.p256, 65],
  [Oid.p384, 97],
]);
const MIN_RSA_BITS = 2048;
const MAX_RSA_BITS = 4096;
/** F4. Smaller ones are weak, larger ones cost a verifier time. */
const RSA_EXPONENT = '010001';

const generateKeys = promisify(generate);

/** Makes a new key; RSA takes tenths of a second on another thread. */
export async function generateKeyPair(kind: KeyKind = 'ec-p256'): Promise<KeyPair> {
  if (kind === 'ec-p256') return generateKeys('ec', { namedCurve: 'P-256' });
  return generateKeys('rsa', { modulusLength: Number(kind.slice('rsa-'.length)) });
}

/** PKCS #8 PEM. */
export function privateKeyPem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' });
}

/** DER of SubjectPublicKeyInfo. */
export function publicKeyDer(key: KeyObject): Buffer {
  return key.export({ type: 'spki', format: 'der' });
}

/**
 * Reads a public key of someone else: EC P-256 or P-384 by name with an uncompressed point on the curve, or RSA of 2048
 * to 4096 bits with the exponent 65537. The encoding is judged before OpenSSL sees it, so that explicit curve parameters
 * (CVE-2022-0778) and giant numbers never get there.
 *
 * @param spki DER of SubjectPublicKeyInfo.
 * @throws {MeshError} ERR_WEAK_KEY, or ERR_DER where it is none.
 */
export function readPublicKey(spki: Uint8Array): KeyObject {
  const outer = new DerReader(readDer(spki, Tag.sequence, 'public key').content, 'public key');
  const algorithm = outer.enter(Tag.sequence);
  const bits = readBitStringBytes(outer.next(Tag.bitString), 'public key');
  outer.end();
  const kind = readOid(algorithm.next(Tag.oid), 'public key');
  if (kind === Oid.ecPublicKey) {
    if (algorithm.peek() !== Tag.oid) throw weakKey('EC parameters instead of the name of a curve');
    const curve = readOid(algorithm.next(Tag.oid), 'public key');
    const length = CURVE_POINT_BYTES.get(curve);
    if (length === undefined) throw weakKey(`the curve ${curve}`);
    if (bits.length !== length || bits[0] !== 0x04) throw weakKey('a point that is compressed');
  } else if (kind === Oid.rsaEncryption) {
    algorithm.next(Tag.null);
    checkRsa(bits);
  } else throw weakKey(`a key of the kind ${kind}`);
  algorithm.end();
  return importKey(spki);
}

function checkRsa(bits: Buffer): void {
  const numbers = new DerReader(readDer(bits, Tag.sequence, 'RSA key').content, 'RSA key');
  const modulus = readUnsigned(numbers.next(Tag.integer), 'RSA key');
  const exponent = readUnsigned(numbers.next(Tag.integer), 'RSA key').toString('hex');
  numbers.end();
  const length = modulus.length * 8 - Math.clz32(modulus[0] ?? 0) + 24;
  if (length < MIN_RSA_BITS || length > MAX_RSA_BITS) throw weakKey(`RSA of ${length} bits`);
  if (exponent !== RSA_EXPONENT) throw weakKey(`the RSA exponent 0x${exponent.slice(0, 32)}`);
  if (((modulus.at(-1) ?? 0) & 1) === 0) throw weakKey('an even RSA modulus');
}

function importKey(spki: Uint8Array): KeyObject {
  try {
    const der = Buffer.from(spki.buffer, spki.byteOffset, spki.length);
    return createPublicKey({ key: der, format: 'der', type: 'spki' });
  } catch (cause) {
    // A point off the curve ends here.
    throw weakKey('what OpenSSL refuses', cause);
  }
}

function weakKey(found: string, cause?: unknown): MeshError {
  const accepted = 'EC P-256 or P-384, or RSA of 2048 to 4096 bits with the exponent 65537';
  const message = `Cannot accept public key: found ${found}; it must be ${accepted}`;
  return new MeshError('ERR_WEAK_KEY', 'downstream', message, { cause });
}

const NULL = der(Tag.null);
/** The AlgorithmIdentifiers that we sign with. */
const ECDSA_SHA256 = derSequence(derOid(Oid.ecdsaWithSha256));
const RSA_SHA256 = derSequence(derOid(Oid.rsaWithSha256), NULL);

/** Signature algorithms that we accept, with the kind of key and the digest that they need. SHA-1 and MD5 are not here. */
const SIGNATURES: ReadonlyMap<string, readonly ['ec' | 'rsa', string]> = new Map([
  [Oid.ecdsaWithSha256, ['ec', 'sha256']],
  [Oid.ecdsaWithSha384, ['ec', 'sha384']],
  [Oid.ecdsaWithSha512, ['ec', 'sha512']],
  [Oid.rsaWithSha256, ['rsa', 'sha256']],
  [Oid.rsaWithSha384, ['rsa', 'sha384']],
  [Oid.rsaWithSha512, ['rsa', 'sha512']],
]);

/** DER of the AlgorithmIdentifier with which that key signs; the digest is SHA-256. */
export function signatureAlgorithm(key: KeyObject): Buffer {
  return key.asymmetricKeyType === 'ec' ? ECDSA_SHA256 : RSA_SHA256;
}

/**
 * The digest of a signature algorithm, for `crypto.verify`.
 *
 * @throws {MeshError} ERR_WEAK_SIGNATURE for another algorithm, or one that does not fit the key.
 */
export function signatureDigest(algorithm: DerReader, key: KeyObject): string {
  const oid = readOid(algorithm.next(Tag.oid), 'signature algorithm');
  const [kind, digest] = SIGNATURES.get(oid) ?? [];
  if (kind === undefined || digest === undefined || kind !== key.asymmetricKeyType) {
    const found = `${oid} with a key of the kind ${key.asymmetricKeyType ?? 'secret'}`;
    throw new MeshError(
      'ERR_WEAK_SIGNATURE',
      'downstream',
      `Cannot accept signature: found the algorithm ${found}`,
    );
  }
  if (kind === 'rsa') algorithm.next(Tag.null);
  algorithm.end();
  return digest;
}
