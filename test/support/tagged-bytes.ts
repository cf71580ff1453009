/**
 * What a tagged connection carries: a line that says who calls whom, and then bytes that anybody who has read that line
 * can foretell. A byte that is lost, repeated, changed or another connection's is found by comparing.
 */

export type Tag = Readonly<{
  /** Who calls, `<namespace>/<pod>`, and from which address. */
  source: string;
  sourceIp: string;
  /** Who is meant, `<namespace>/<pod>`. */
  target: string;
  nonce: number;
  /** Of the payload, either way. */
  length: number;
}>;

/** A prime, so that no power of two after which buffers wrap repeats the pattern. */
const PATTERN_BYTES = 1_048_573;
const pattern = makePattern();

/** The payload of one direction of one connection, in order. */
export class ExpectedBytes {
  readonly length: number;
  #at: number;
  #done = 0;

  /** @param direction 1 for the answer, so that bytes sent back are not taken for an answer. */
  constructor({ nonce, length }: Pick<Tag, 'nonce' | 'length'>, direction: 0 | 1) {
    this.length = length;
    this.#at = (Math.imul(nonce * 2 + direction, 0x9e3779b1) >>> 0) % PATTERN_BYTES;
  }

  get done(): number {
    return this.#done;
  }

  /** The next bytes to send, at most so many; they are not to be written to. */
  next(most: number): Buffer {
    const length = Math.min(most, this.length - this.#done, PATTERN_BYTES - this.#at);
    const bytes = pattern.subarray(this.#at, this.#at + length);
    this.#advance(length);
    return bytes;
  }

  /** What is wrong with the bytes that came next, if anything. */
  check(chunk: Buffer): string | undefined {
    for (let offset = 0; offset < chunk.length; ) {
      const place = this.#done;
      const wanted = this.next(chunk.length - offset);
      if (wanted.length === 0) return `more than ${this.length} bytes`;
      if (chunk.compare(wanted, 0, wanted.length, offset, offset + wanted.length) !== 0)
        return `another byte than was sent between ${place} and ${place + wanted.length}`;
      offset += wanted.length;
    }
    return undefined;
  }

  #advance(length: number): void {
    this.#done += length;
    this.#at = (this.#at + length) % PATTERN_BYTES;
  }
}

/** Collects the line in front of the payload. */
export class LineReader {
  #text = '';

  /** The line, and what of the chunk comes after it; `undefined` while it is not whole. */
  take(chunk: Buffer): Readonly<{ line: string; rest: Buffer }> | undefined {
    const end = chunk.indexOf(10);
    this.#text += chunk.toString('latin1', 0, end < 0 ? chunk.length : end);
    return end < 0 ? undefined : { line: this.#text, rest: chunk.subarray(end + 1) };
  }
}

/** Milliseconds of the system's monotonic clock, the same in all processes of the machine. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1000n) / 1000;
}

/** Xorshift with a fixed seed: the same in every process. */
function makePattern(): Buffer {
  const bytes = Buffer.alloc(PATTERN_BYTES);
  let state = 0x2545f491;
  for (let at = 0; at < PATTERN_BYTES; at++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[at] = state >>> 24;
  }
  return bytes;
}
