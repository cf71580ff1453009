import { strictEqual } from 'node:assert';
import { MeshError } from '../../base/errors.ts';

/** What a fuzz target is: a check that throws when the parser under it does what it must not. */
export type Target = Readonly<{
  /** Longer inputs are not made: what the transport in front of the parser lets through, at most 64 KiB. */
  maxBytes: number;
  check(input: Buffer): void;
}>;

/** The most that a parser may take for an input of 64 KiB: attacks are refused before they are felt. */
export const MAX_CHECK_MS = 50;
/** A pause of the machine or the collector is not the parser's: the fastest of these counts. */
const ATTEMPTS = 5;

/** Runs a check, more than once only where it took long. @throws what it found. */
export function checkInput(target: Target, input: Buffer, maxMs = MAX_CHECK_MS): void {
  let fastestMs = Number.POSITIVE_INFINITY;
  for (let attempt = 0; attempt < ATTEMPTS && fastestMs > maxMs; attempt++) {
    const startMs = performance.now();
    target.check(input);
    fastestMs = Math.min(fastestMs, performance.now() - startMs);
  }
  if (fastestMs > maxMs)
    throw new Error(`took ${fastestMs.toFixed(0)} ms for ${input.length} bytes`);
}

/** The outcome of a parser, `undefined` where it refused with one of these codes. @throws any other error as it is. */
export function unlessRefused<T>(codes: readonly string[], parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (error instanceof MeshError && codes.includes(error.code)) return undefined;
    throw error;
  }
}

/** The first byte, which chooses how the rest is used, and the rest; so one file of the corpus says all. */
export function splitChoice(input: Buffer): readonly [choice: number, rest: Buffer] {
  return [input[0] ?? 0, input.subarray(1)];
}

/** Nothing was added to what all objects share. */
export function checkPrototypes(): void {
  for (const prototype of [Object.prototype, Array.prototype, Function.prototype])
    strictEqual(Object.keys(prototype).length, 0, 'a prototype was changed');
}
