/**
 * The Huffman code of HPACK. RFC 7541 section 5.2 and appendix B.
 *
 * The code is canonical: symbols ordered by (length, value) have consecutive codes, so the lengths are the whole table.
 */
import { COMPRESSION_ERROR, Http2Violation } from './errors.ts';

/** Code lengths in bits of the 256 octets and then EOS; `7*28` is seven times 28. RFC 7541 appendix B. */
const lengthRuns = [
  '13 23 7*28 24 30 2*28 30 8*28 30 9*28 6 2*10 12 13 6 8 11 2*10 8 11 8 3*6 3*5 7*6 7 8 15',
  '6 12 10 13 6 22*7 8 7 8 13 19 13 14 6 15 5 6 5 6 5 3*6 5 2*7 3*6 5 6 7 6 2*5 6 5*7 15 11',
  '14 13 28 20 22 2*20 3*22 23 22 5*23 24 23 2*24 22 23 24 4*23 21 22 23 22 2*23 24 22 21',
  '20 2*22 2*23 21 23 2*22 24 21 22 2*23 2*21 22 21 23 22 2*23 20 3*22 23 2*22 23 2*26 20',
  '19 22 23 22 25 3*26 2*27 26 24 25 19 21 26 2*27 26 27 24 2*21 2*26 28 3*27 20 24 20 21',
  '22 2*21 23 2*22 2*25 2*24 26 23 26 27 2*26 5*27 28 5*27 26 30',
];

const EOS = 256;
const SYMBOLS = 257;
const LONGEST_CODE = 30;

/** Length of each symbol's code, by symbol. */
const lengths = Uint8Array.from(
  lengthRuns
    .join(' ')
    .split(' ')
    .flatMap((run) => {
      const [count, length] = run.includes('*') ? run.split('*') : ['1', run];
      return Array.from({ length: Number(count) }, () => Number(length));
    }),
);

/** Code of each symbol in its low bits, by symbol. */
const codes = makeCodes();

function makeCodes(): Uint32Array {
  const made = new Uint32Array(SYMBOLS);
  let next = 0;
  for (let length = 1; length <= LONGEST_CODE; length++) {
    next *= 2;
    for (let symbol = 0; symbol < SYMBOLS; symbol++)
      if (lengths[symbol] === length) made[symbol] = next++;
  }
  return made;
}

/*
 * Decoding is a machine that takes four bits a step. Its states are the inner nodes of the code tree (256 of them), and
 * the shortest code has five bits, so a step completes at most one symbol. A step is packed as
 * `next state | symbol << 8 | EMITS | FAILS`; 16 KiB in all, which stays in the first-level cache.
 */
const EMITS = 1 << 16;
const FAILS = 1 << 17;
const steps = new Uint32Array(256 * 16);
/** States in which the input may end: the root, and up to seven one-bits from it (a prefix of EOS). RFC 7541 section 5.2. */
const mayEnd = new Uint8Array(256);
buildMachine();

function buildMachine(): void {
  // children[node * 2 + bit]: another node, or -1 - symbol for a leaf. Node 0 is the root.
  const children = new Int32Array(256 * 2);
  let nodes = 1;
  for (let symbol = 0; symbol < SYMBOLS; symbol++) {
    let node = 0;
    const length = lengths[symbol] ?? 0;
    for (let bit = length - 1; bit >= 0; bit--) {
      const slot = node * 2 + (((codes[symbol] ?? 0) >>> bit) & 1);
      if (bit === 0) children[slot] = -1 - symbol;
      else if ((children[slot] ?? 0) === 0) children[slot] = nodes++;
      node = children[slot] ?? 0;
    }
  }
  for (let state = 0; state < 256; state++)
    for (let nibble = 0; nibble < 16; nibble++)
      steps[state * 16 + nibble] = makeStep(children, state, nibble);
  for (let ones = 0, node = 0; ones <= 7; ones++, node = children[node * 2 + 1] ?? 0)
    mayEnd[node] = 1;
}

function makeStep(children: Int32Array, state: number, nibble: number): number {
  let node = state;
  let emitted = 0;
  for (let bit = 3; bit >= 0; bit--) {
    const child = children[node * 2 + ((nibble >>> bit) & 1)] ?? 0;
    if (child >= 0) {
      node = child;
      continue;
    }
    const symbol = -1 - child;
    // EOS inside a string is an error, not an end. RFC 7541 section 5.2.
    if (symbol === EOS) return FAILS;
    emitted = EMITS | (symbol << 8);
    node = 0;
  }
  return emitted | node;
}

/** The scratch of this thread: decoded octets, before they become a string. */
let scratch = Buffer.allocUnsafeSlow(4096);

/**
 * Decodes `length` bytes at `at` into a latin1 string.
 *
 * @throws {Http2Violation} COMPRESSION_ERROR for EOS, padding of eight bits or more, or padding that is not ones.
 */
export function decodeHuffman(buffer: Buffer, at: number, length: number): string {
  // The shortest code has 5 bits.
  const most = Math.ceil((length * 8) / 5);
  if (scratch.length < most) scratch = Buffer.allocUnsafeSlow(most);
  const out = scratch;
  let end = 0;
  let state = 0;
  for (let index = at; index < at + length; index++) {
    const byte = buffer[index] ?? 0;
    let step = steps[(state << 4) | (byte >>> 4)] ?? FAILS;
    // A failing step leads nowhere: stay failed, and see it once at the end of the byte.
    if (step & EMITS) out[end++] = step >>> 8;
    let failed = step & FAILS;
    step = steps[((step & 0xff) << 4) | (byte & 15)] ?? FAILS;
    if (step & EMITS) out[end++] = step >>> 8;
    failed |= step & FAILS;
    if (failed) throw new Http2Violation(COMPRESSION_ERROR, 'EOS inside a Huffman string');
    state = step & 0xff;
  }
  if (mayEnd[state] !== 1) throw new Http2Violation(COMPRESSION_ERROR, 'wrong Huffman padding');
  return out.toString('latin1', 0, end);
}

/** How many bytes encodeHuffman() would write for a latin1 string. */
export function huffmanLength(text: string): number {
  let bits = 0;
  for (let index = 0; index < text.length; index++)
    bits += lengths[text.charCodeAt(index) & 0xff] ?? 0;
  return (bits + 7) >>> 3;
}

/** Writes a latin1 string at `at`; returns its end. */
export function encodeHuffman(buffer: Buffer, at: number, text: string): number {
  let end = at;
  // Up to 7 bits are waiting when a code of up to 30 comes: one that is long goes in two parts, to stay in 32 bits.
  let waiting = 0;
  let count = 0;
  for (let index = 0; index < text.length; index++) {
    const symbol = text.charCodeAt(index) & 0xff;
    let code = codes[symbol] ?? 0;
    let length = lengths[symbol] ?? 0;
    if (length > 24) {
      const tail = length - 16;
      waiting = (waiting << 16) | (code >>> tail);
      count += 16;
      while (count >= 8) buffer[end++] = waiting >>> (count -= 8);
      code &= (1 << tail) - 1;
      length = tail;
    }
    waiting = (waiting << length) | code;
    count += length;
    while (count >= 8) buffer[end++] = waiting >>> (count -= 8);
  }
  if (count > 0) buffer[end++] = (waiting << (8 - count)) | (0xff >>> count);
  return end;
}
