import type { SharedBytes } from '../byte-stream.ts';

/** Which bytes may stand where in HTTP/1.1: tables with 1 for a byte that may. */

const DIGITS = '0123456789';
const UPPER = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ';
const LOWER = UPPER.toLowerCase();

function tableOf(characters: string): Uint8Array {
  const table = new Uint8Array(256);
  for (const character of characters) table[character.charCodeAt(0)] = 1;
  return table;
}

function tableOfRange(first: number, last: number, more = ''): Uint8Array {
  return tableOf(more).fill(1, first, last + 1);
}

export const DIGIT = tableOf(DIGITS);

/** token. RFC 9110 section 5.6.2. */
export const TOKEN = tableOf(`!#$%&'*+-.^_\`|~${DIGITS}${UPPER}${LOWER}`);

/** A token without `_`, which some servers take for `-` (attack M3). */
export const PLAIN_NAME = tableWithout(TOKEN.slice(), '_');

/** field-value: visible characters, space, tab and bytes from 0x80 on. RFC 9110 section 5.5. */
export const FIELD_VALUE = tableOfRange(0x20, 0x7e, '\t').fill(1, 0x80, 0x100);

/**
 * The first byte of `from .. to` that no field value may hold, or `to`.
 *
 * Of four bytes at once it is seen whether one of them is below 0x20 or is 0x7f (the test for a byte below n, or 0, of Anderson,
 * Bit Twiddling Hacks): that takes a third of the time. The bytes around such a one, and around a tab, are looked at one by one.
 */
export function endOfValue({ buffer, view }: SharedBytes, from: number, to: number): number {
  let at = from;
  for (; at + 4 <= to; at += 4) {
    const four = view.getInt32(at, true);
    const deleted = four ^ 0x7f7f7f7f;
    const low = ((four - 0x20202020) & ~four) | ((deleted - 0x01010101) & ~deleted);
    if ((low & 0x80808080) !== 0) break;
  }
  while (at < to && FIELD_VALUE[buffer[at] ?? 0] === 1) at++;
  return at;
}

/** What a request line may hold at all: visible US-ASCII, and the spaces between its parts. */
export const REQUEST_LINE = tableOfRange(0x20, 0x7e);

/**
 * A method: upper case only. Methods are case-sensitive, but some servers take `get` for GET, and a policy about GET
 * would then not have been asked (attack S9).
 */
export const METHOD = tableOf(`!#$%&'*+-.^_\`|~${DIGITS}${UPPER}`);

/**
 * The path of a request target. RFC 3986 allows less; `[`, `]`, `^`, `` ` ``, `{`, `|` and `}` are what browsers send as
 * they are. A fragment (`#`, attack A2) and a backslash, which some servers take for a slash, are refused.
 */
export const PATH = tableWithout(tableOfRange(0x21, 0x7e), '"#<>\\');

/** What follows the first `?`: the same with the backslash, which browsers send there, and which separates nothing. */
export const QUERY = tableWithout(tableOfRange(0x21, 0x7e), '"#<>');

/** A host that is a name or an IPv4 address: what DNS and Kubernetes know, and no percent-encoding. */
export const HOST_NAME = tableOf(`-._~${DIGITS}${UPPER}${LOWER}`);

function tableWithout(table: Uint8Array, characters: string): Uint8Array {
  for (const character of characters) table[character.charCodeAt(0)] = 0;
  return table;
}

/** Whether all of `text` (latin1) is in the table. */
export function isAllOf(table: Uint8Array, text: string, from = 0, to = text.length): boolean {
  for (let index = from; index < to; index++) if (table[text.charCodeAt(index)] !== 1) return false;
  return true;
}
