import { deepStrictEqual, ok } from 'node:assert';
import type { PathNormalization } from '../../../mesh/model/path-normalization.ts';
import { normalizePath } from '../../../waypoint/normalize-path.ts';
import { splitChoice, type Target } from '../oracle.ts';

const MODES: readonly PathNormalization[] = [
  ...(['STRICT', 'NONE', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES'] as const),
];

/** A path that was normalised is normal, and STRICT leaves nothing that is read in two ways. */
export const target: Target = {
  maxBytes: 8192,
  check(input) {
    const [choice, rest] = splitChoice(input);
    const how = MODES[choice % MODES.length] ?? 'STRICT';
    const once = normalizePath(rest.toString('latin1'), how);
    if (once.kind === 'refused') return;
    deepStrictEqual(normalizePath(once.target, how), once);
    ok(!once.target.includes('#'));
    if (how !== 'STRICT' || once.target === '*') return;
    ok(!/\/\/|\/\.{1,2}(?:\/|;|$)|\\|%(?:2f|5c|00)/i.test(once.path), once.path);
    deepStrictEqual(once.path + once.query, once.target);
  },
};
