/** 2 ** 32. */
const RANGE = 0x1_0000_0000;

/**
 * Random numbers for choosing endpoints: as whole numbers of 32 bits, which V8 passes on without allocating, as it must for
 * fractions. The generator sfc32 of PractRand, well enough distributed, and no secret: nobody gains by guessing an endpoint.
 */
export class RandomSource {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  /** @param random gives the seed; from 0 to below 1. */
  constructor(random: () => number) {
    this.#a = (random() * RANGE) | 0;
    this.#b = (random() * RANGE) | 0;
    this.#c = (random() * RANGE) | 0;
    for (let round = 0; round < 12; round++) this.next(); // until the seed has reached every bit
  }

  /** A whole number of 32 bits, with a sign. */
  next(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0;
    return sum;
  }

  /** A whole number from 0 to below `count`. */
  below(count: number): number {
    return Math.floor(asFraction(this.next()) * count);
  }
}

/** A number of 32 bits, with a sign, as one from 0 to below 1. */
export function asFraction(word: number): number {
  return (word >>> 0) / RANGE;
}
