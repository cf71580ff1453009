import type { RE2JS } from 're2js';
import { describeError, MeshError } from '../../base/errors.ts';
import { compileBounded, MAX_COST, quotePattern, readUtf8 } from './regex.ts';
import { wireText } from './wire-text.ts';

/** A part of what is put in: text, or the number of a group. */
type Part = string | number;

/** Puts a text in the place of everything that a pattern of RE2 matches. Its groups are `\1` to `\9`, as RE2 writes them. */
export class RegexSubstitution {
  readonly #regex: RE2JS;
  readonly #parts: readonly Part[];
  readonly #instructions: number;

  /** @throws {MeshError} ERR_REGEX for what is no pattern, ERR_SUBSTITUTION for a text that names a group that it has not. */
  constructor(pattern: string, substitution: string) {
    this.#regex = compileBounded(pattern);
    this.#instructions = this.#regex.programSize();
    this.#parts = parseSubstitution(substitution, pattern, this.#regex.groupCount());
  }

  /**
   * @param value a character a byte, as in header lists; what is no UTF-8 has nothing to match, and stays as it is.
   * @returns `undefined` when it would take longer than one match may, or grow past what a header list can carry.
   */
  replaceAll(value: string): string | undefined {
    const text = readUtf8(value);
    if (text === undefined) return value;
    // Every search may look at all that is left, so each is counted as if it looked at everything.
    const costOfSearch = text.length * this.#instructions;
    let cost = costOfSearch;
    if (cost > MAX_COST) return undefined;
    let replaced = '';
    let end = 0;
    for (const found of this.#regex.matchAll(text)) {
      const { index = end } = found;
      replaced += text.slice(end, index);
      for (const part of this.#parts)
        replaced += typeof part === 'string' ? part : (found[part] ?? '');
      end = index + found[0].length;
      cost += costOfSearch;
      if (cost > MAX_COST || replaced.length > MAX_LENGTH) return undefined;
    }
    return wireText(replaced + text.slice(end));
  }
}

/** No longer path would find a server that takes it. */
const MAX_LENGTH = 8 << 10;

/** Why a substitution cannot be done, as the end of a sentence; `undefined` when it can. */
export function substitutionProblem(pattern: string, substitution: string): string | undefined {
  try {
    const regex = compileBounded(pattern);
    parseSubstitution(substitution, pattern, regex.groupCount());
    return undefined;
  } catch (error) {
    return describeError(error);
  }
}

function parseSubstitution(text: string, pattern: string, groups: number): Part[] {
  const parts: Part[] = [];
  for (const [whole, escaped] of text.matchAll(/\\([^]?)|[^\\]+/g)) {
    if (escaped === undefined) parts.push(whole);
    else if (escaped === '\\') parts.push('\\');
    else if (/^[0-9]$/.test(escaped) && Number(escaped) <= groups) parts.push(Number(escaped));
    else {
      const message = `Cannot put ${JSON.stringify(text.slice(0, 80))} in the place of ${quotePattern(pattern)}: it has no group ${JSON.stringify(whole)}`;
      throw new MeshError('ERR_SUBSTITUTION', 'local', message);
    }
  }
  return parts;
}
