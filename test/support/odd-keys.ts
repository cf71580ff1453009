import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { Tag, DerReader, readDer } from '../../base/der.ts';
import { derBitString, derSequence } from '../../base/der-write.ts';
import { formatPem, parsePem } from '../../certs/pem.ts';
import type { KeyPair } from '../../certs/keys.ts';

/** Exponents of Mersenne primes: keys of any length without a search for primes. */
const MERSENNE = { 8676: [4253, 4423], 15636: [4423, 11213] } as const;

/** RSA keys of 8,676 or 15,636 bits, at once. */
export function giantRsaKeys(bits: keyof typeof MERSENNE): KeyPair {
  const [p, q] = MERSENNE[bits];
  return makeRsaKeys(2n ** BigInt(p) - 1n, 2n ** BigInt(q) - 1n, 65537n);
}

/** RSA keys of 2,048 bits whose public exponent is that one, which must be odd. */
export function rsaKeysWithExponent(exponent: bigint): KeyPair {
  for (;;) {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const { p = '', q = '' } = privateKey.export({ format: 'jwk' });
    const [first, second] = [toNumber(p), toNumber(q)];
    if (inverse(exponent, (first - 1n) * (second - 1n)) !== undefined)
      return makeRsaKeys(first, second, exponent);
  }
}

function makeRsaKeys(p: bigint, q: bigint, exponent: bigint): KeyPair {
  const d = inverse(exponent, (p - 1n) * (q - 1n)) ?? 0n;
  const numbers = {
    ...{ n: p * q, e: exponent, d, p, q },
    ...{ dp: d % (p - 1n), dq: d % (q - 1n), qi: inverse(q, p) ?? 0n },
  };
  const texts = Object.entries(numbers).map(([name, value]) => [name, toText(value)] as const);
  const key = { kty: 'RSA', ...Object.fromEntries(texts) };
  const privateKey = createPrivateKey({ format: 'jwk', key });
  return { privateKey, publicKey: createPublicKey(privateKey) };
}

/** A private key that says it belongs to the public key of another. */
export function mismatchedKeys(): KeyPair {
  const [own, other] = [0, 1].map(() => generateKeyPairSync('ec', { namedCurve: 'P-256' }));
  if (own === undefined || other === undefined) throw new Error('Cannot make keys');
  const { d = '' } = other.privateKey.export({ format: 'jwk' });
  const bytes = own.privateKey.export({ format: 'der', type: 'pkcs8' });
  const mine = Buffer.from(own.privateKey.export({ format: 'jwk' }).d ?? '', 'base64url');
  bytes.set(Buffer.from(d, 'base64url'), bytes.indexOf(mine));
  const privateKey = createPrivateKey({ key: bytes, format: 'der', type: 'pkcs8' });
  return { privateKey, publicKey: own.publicKey };
}

/** The certificate with another algorithm and signature, made of what it signs; `signature` may change that first. */
export function signAgain(
  pem: string,
  algorithm: Uint8Array,
  signature: (body: Buffer) => Uint8Array,
): string {
  const [bytes = Buffer.alloc(0)] = parsePem(pem, 'CERTIFICATE', 1);
  const outer = new DerReader(readDer(bytes, Tag.sequence, 'certificate').content, 'certificate');
  const { content } = outer.next(Tag.sequence);
  const before = outer.next(Tag.sequence).bytes;
  const at = content.indexOf(before);
  const body = derSequence(
    content.subarray(0, at),
    algorithm,
    content.subarray(at + before.length),
  );
  return formatPem('CERTIFICATE', derSequence(body, algorithm, derBitString(signature(body))));
}

function inverse(value: bigint, modulus: bigint): bigint | undefined {
  let [rest, next, factor, nextFactor] = [modulus, value % modulus, 0n, 1n];
  while (next !== 0n) {
    const quotient = rest / next;
    [rest, next] = [next, rest - quotient * next];
    [factor, nextFactor] = [nextFactor, factor - quotient * nextFactor];
  }
  return rest === 1n ? ((factor % modulus) + modulus) % modulus : undefined;
}

function toNumber(text: string): bigint {
  return BigInt(`0x${Buffer.from(text, 'base64url').toString('hex')}`);
}

function toText(value: bigint): string {
  const hex = value.toString(16);
  return Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex').toString('base64url');
}
