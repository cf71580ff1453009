import { checkInput, MAX_CHECK_MS, type Target } from './oracle.ts';

/** What counts edges and comparisons makes code so much slower. */
const SLOWDOWN = 5;

/** What jazzer.js calls with each input. */
export function fuzzFunction(target: Target): (input: Buffer) => void {
  return (input) => {
    checkInput(target, input, MAX_CHECK_MS * SLOWDOWN);
  };
}
