/**
 * xxHash, 32 bits, of text whose characters are bytes, as header values have them (of other characters the low byte
 * counts). No allocation: it runs for every request that is balanced by a hash. https://xxhash.com, specification 0.1.1.
 */
const PRIME_1 = 0x9e37_79b1;
const PRIME_2 = 0x85eb_ca77;
const PRIME_3 = 0xc2b2_ae3d;
const PRIME_4 = 0x27d4_eb2f;
const PRIME_5 = 0x1656_67b1;

/** A second hash of a text, with this seed, is independent of the first: two texts hardly ever share both. */
export const SECOND_SEED = 0x51ed_270b;

/** @returns a whole number of 32 bits, with a sign: V8 keeps those without allocating. */
export function hashText(text: string, seed = 0): number {
  const { length } = text;
  let at = 0;
  let hash: number;
  if (length >= 16) {
    let a = (seed + PRIME_1 + PRIME_2) | 0;
    let b = (seed + PRIME_2) | 0;
    let c = seed | 0;
    let d = (seed - PRIME_1) | 0;
    for (; at <= length - 16; at += 16) {
      a = round(a, wordAt(text, at));
      b = round(b, wordAt(text, at + 4));
      c = round(c, wordAt(text, at + 8));
      d = round(d, wordAt(text, at + 12));
    }
    hash = rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18);
  } else hash = seed + PRIME_5;
  hash = (hash + length) | 0;
  for (; at <= length - 4; at += 4)
    hash = Math.imul(rotate((hash + Math.imul(wordAt(text, at), PRIME_3)) | 0, 17), PRIME_4);
  for (; at < length; at++)
    hash = Math.imul(
      rotate((hash + Math.imul(text.charCodeAt(at) & 0xff, PRIME_5)) | 0, 11),
      PRIME_1,
    );
  return scatter(hash);
}

/** A hash made of a hash and a number: of the points of an endpoint, of a second choice by one key. */
export function hashNumber(value: number, seed: number): number {
  const word = (seed + PRIME_5 + 4 + Math.imul(value, PRIME_3)) | 0;
  return scatter(Math.imul(rotate(word, 17), PRIME_4));
}

function round(sum: number, word: number): number {
  return Math.imul(rotate((sum + Math.imul(word, PRIME_2)) | 0, 13), PRIME_1);
}

function scatter(hash: number): number {
  let mixed = Math.imul(hash ^ (hash >>> 15), PRIME_2);
  mixed = Math.imul(mixed ^ (mixed >>> 13), PRIME_3);
  return mixed ^ (mixed >>> 16);
}

function wordAt(text: string, at: number): number {
  return (
    (text.charCodeAt(at) & 0xff) |
    ((text.charCodeAt(at + 1) & 0xff) << 8) |
    ((text.charCodeAt(at + 2) & 0xff) << 16) |
    ((text.charCodeAt(at + 3) & 0xff) << 24)
  );
}

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}
