/** What jazzer.js loads: the one target that the environment names. */
import { checkInput, MAX_CHECK_MS } from './oracle.ts';
import { TARGETS } from './targets.ts';

/** What counts edges and comparisons makes code so much slower. */
const SLOWDOWN = 5;

const name = process.env['HALO_FUZZ_TARGET'] ?? '';
const target = TARGETS.get(name);
if (target === undefined) throw new Error(`Cannot fuzz ${name}: no such target`);

export function fuzz(input: Buffer): void {
  if (target !== undefined) checkInput(target, input, MAX_CHECK_MS * SLOWDOWN);
}
