import { ok, strictEqual } from 'node:assert';
import { MeshError } from '../../../base/errors.ts';
import { Regex, regexProblem } from '../../../mesh/model/regex.ts';
import { literalPrefix } from '../../../waypoint/match/literal-prefix.ts';
import type { Target } from '../oracle.ts';

/** What RE2 and JavaScript read alike, as long as no repetition stands inside of another one. */
const SHARED_SYNTAX =
  /^(?:[a-c.]|\[\^?[a-c]+\]|\((?:[a-c.]\|?)*\)|\|)(?:[*+?]?(?:[a-c.]|\[\^?[a-c]+\]|\((?:[a-c.]\|?)*\)|\|))*[*+?]?$/;
const MAX_SHARED = 40;

/** A pattern is used or refused in words; what it matches is what JavaScript's engine finds, where that reads it alike. */
export const target: Target = {
  maxBytes: 2 << 10,
  check(input) {
    const [pattern = '', value = ''] = input.toString('latin1').split('\n');
    const problem = regexProblem(pattern);
    try {
      const found = new Regex(pattern).matches(value);
      strictEqual(problem, undefined);
      if (found) ok(value.startsWith(literalPrefix(pattern)), 'it begins as it must');
      if (pattern.length + value.length <= MAX_SHARED && isShared(pattern, value))
        strictEqual(found, new RegExp(`^(?:${pattern})$`, 'u').test(value));
    } catch (error) {
      if (!(error instanceof MeshError)) throw error;
      if (error.code === 'ERR_REGEX') strictEqual(problem, error.message);
      else strictEqual(error.code, 'ERR_REGEX_INPUT');
      ok(!error.message.includes('\n'));
    }
  },
};

/** Values of ASCII: bytes beyond are UTF-8 here. A line's end ends `.` in one and not in the other. */
function isShared(pattern: string, value: string): boolean {
  return SHARED_SYNTAX.test(pattern) && /^[\x20-\x7e]*$/.test(value);
}
