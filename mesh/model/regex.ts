import { isUtf8 } from 'node:buffer';
import { RE2JS, RE2JSException, RE2Set } from 're2js';
import { describeError, MeshError } from '../../base/errors.ts';

/** Of a pattern, in characters (attack C2); Gateway API bounds them in the same way. */
export const MAX_REGEX_LENGTH = 1024;

/** Instructions of a compiled pattern. 1024 characters without a counted repetition stay far below. */
export const MAX_REGEX_PROGRAM = 2000;

/**
 * Characters times instructions that one match may cost. Matching is linear, but a pattern with alternatives that differ
 * only later is carried on with many of its instructions at once: 5 to 8 ns each, so that this is about 30 ms.
 */
export const MAX_COST = 4 << 20;

/** No header list is longer, so neither is anything in it. */
const MAX_INPUT = 64 << 10;

/** Of the states that a pattern keeps for reuse; where they do not suffice it goes on without, more slowly. */
const STATES_BYTES = 256 << 10;

/** A pattern of RE2, matched in linear time against whole values: `(a|ab)` matches `ab`, and `b` does not. */
export class Regex {
  readonly pattern: string;
  /** The longest value that it is matched against: what is longer would hold up everything else. */
  readonly maxInputLength: number;
  readonly #instructions: number;
  readonly #set: RE2Set;

  /** @throws {MeshError} ERR_REGEX for what is no pattern, or one too large. */
  constructor(pattern: string) {
    this.pattern = pattern;
    this.#instructions = programSize(pattern);
    this.maxInputLength = Math.min(MAX_INPUT, Math.floor(MAX_COST / this.#instructions));
    // A set of one: it is what lets the memory of its states be bounded.
    this.#set = new RE2Set(RE2Set.ANCHOR_BOTH, 0, STATES_BYTES);
    this.#set.add(pattern);
    this.#set.compile();
  }

  /** The most that a match may cost, in characters times instructions: see MAX_COST for what that is in time. */
  costOf(value: string): number {
    return value.length * this.#instructions;
  }

  /**
   * @param value a character a byte, as in header lists. It is read as UTF-8; what is none has no characters to match.
   * @throws {MeshError} ERR_REGEX_INPUT for a value that is too long. Neither answer would be safe: a rule that refuses may
   *   need a match, another that it does not.
   */
  matches(value: string): boolean {
    if (value.length > this.maxInputLength)
      throw new MeshError(
        'ERR_REGEX_INPUT',
        'downstream',
        `Cannot match ${quotePattern(this.pattern)}: ${value.length} characters, more than ${this.maxInputLength}`,
      );
    const text = isAscii(value) ? value : readUtf8(value);
    return text !== undefined && this.#set.match(text).length > 0;
  }
}

/** What is wrong with a pattern, as the end of a sentence; `undefined` for one that can be used. */
export function regexProblem(pattern: string): string | undefined {
  try {
    programSize(pattern);
    return undefined;
  } catch (error) {
    return describeError(error);
  }
}

function programSize(pattern: string): number {
  return compileBounded(pattern).programSize();
}

/** @throws {MeshError} ERR_REGEX for what is no pattern, or one too large. */
export function compileBounded(pattern: string): RE2JS {
  if (pattern.length > MAX_REGEX_LENGTH)
    throw refused(pattern, `${pattern.length} characters, more than ${MAX_REGEX_LENGTH}`);
  const compiled = compile(pattern);
  const size = compiled.programSize();
  if (size > MAX_REGEX_PROGRAM)
    throw refused(pattern, `${size} instructions, more than ${MAX_REGEX_PROGRAM}`);
  return compiled;
}

function compile(pattern: string): RE2JS {
  try {
    return RE2JS.compile(pattern);
  } catch (error) {
    if (!(error instanceof RE2JSException)) throw error;
    throw refused(pattern, error.message);
  }
}

function refused(pattern: string, found: string): MeshError {
  const message = `Cannot use ${quotePattern(pattern)} as a regular expression: ${found}`;
  return new MeshError('ERR_REGEX', 'local', message);
}

export function quotePattern(pattern: string): string {
  return JSON.stringify(pattern.length > 80 ? `${pattern.slice(0, 80)}...` : pattern);
}

function isAscii(value: string): boolean {
  for (let index = 0; index < value.length; index++)
    if (value.charCodeAt(index) > 0x7f) return false;
  return true;
}

/** Bytes, a character each, as text; `undefined` for what is no UTF-8. */
export function readUtf8(value: string): string | undefined {
  const bytes = Buffer.from(value, 'latin1');
  return isUtf8(bytes) ? bytes.toString('utf8') : undefined;
}
