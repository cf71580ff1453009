import type { PathNormalization } from '../mesh/model/path-normalization.ts';
import { canonicalPercentEncoding, encodedByte } from '../mesh/model/percent-encoding.ts';

/** Why a path is refused with 400. */
export type PathFault =
  | 'no leading slash'
  | 'fragment'
  | 'character that must be encoded'
  | 'broken percent-encoding'
  | 'encoded slash or backslash'
  | 'encoded NUL'
  | 'overlong UTF-8'
  | 'dot segment with parameters';

export type NormalizedPath = Readonly<
  | {
      kind: 'path';
      /** For policy and routing. */
      path: string;
      /** From the `?` on; '' without one. */
      query: string;
      /** Path and query: what goes on. The text that came, where nothing had to be changed. */
      target: string;
    }
  | { kind: 'refused'; fault: PathFault }
>;

const SLASH = 0x2f;
const DOT = 0x2e;
const QUESTION = 0x3f;

/** Characters by which a path may need to be looked at more closely, anywhere in it. */
const PLAIN = new Uint8Array(256);
for (const character of "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,=:@[]^`{|}")
  PLAIN[character.charCodeAt(0)] = 1;

/** Attack A2: servers cut a path at it, or not. */
const FRAGMENT = '#';

/**
 * The path that a request is judged by and goes on with. Normalising the result again changes nothing.
 *
 * @param target `:path`: a path with its query, or `*`.
 */
export function normalizePath(target: string, how: PathNormalization): NormalizedPath {
  if (target.includes(FRAGMENT)) return { kind: 'refused', fault: 'fragment' };
  if (target === '*') return { kind: 'path', path: target, query: '', target };
  if (target.charCodeAt(0) !== SLASH) return { kind: 'refused', fault: 'no leading slash' };
  const plainEnd = endOfPlain(target);
  if (plainEnd !== -1) {
    const path = plainEnd === target.length ? target : target.slice(0, plainEnd);
    if (how !== 'STRICT' || isVisible(target, plainEnd))
      return { kind: 'path', path, query: target.slice(plainEnd), target };
  }
  const question = target.indexOf('?');
  const pathEnd = question === -1 ? target.length : question;
  const raw = target.slice(0, pathEnd);
  const query = target.slice(pathEnd);
  if (how === 'STRICT') {
    const fault = faultOf(raw) ?? (isVisible(query, 0) ? undefined : CHARACTER);
    if (fault !== undefined) return { kind: 'refused', fault };
  }
  // What decoding makes of "%%61b" is an encoding again.
  if (how !== 'NONE' && hasBrokenEncoding(raw)) return { kind: 'refused', fault: BROKEN };
  const path = rewrite(raw, how);
  if (how !== 'NONE') return { kind: 'path', path, query, target: path + query };
  // Policies are about what a path means: how its letters are written is no way around them.
  return { kind: 'path', path: canonicalPercentEncoding(path), query, target };
}

const CHARACTER: PathFault = 'character that must be encoded';
const BROKEN: PathFault = 'broken percent-encoding';

function hasBrokenEncoding(path: string): boolean {
  for (let at = path.indexOf('%'); at !== -1; at = path.indexOf('%', at + 1))
    if (encodedByte(path, at) < 0) return true;
  return false;
}

/** Where the path ends, of one that no way of normalising would change; -1 for others. */
function endOfPlain(target: string): number {
  let afterSlash = false;
  for (let index = 0; index < target.length; index++) {
    const code = target.charCodeAt(index);
    if (code === SLASH) {
      if (afterSlash) return -1;
      afterSlash = true;
    } else if (code === QUESTION) {
      return index;
    } else {
      if (PLAIN[code] !== 1 || (afterSlash && code === DOT)) return -1;
      afterSlash = false;
    }
  }
  return target.length;
}

/** Whether it is all visible US-ASCII, as a URI is. */
function isVisible(text: string, from: number): boolean {
  for (let index = from; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code <= 0x20 || code >= 0x7f) return false;
  }
  return true;
}

function faultOf(path: string): PathFault | undefined {
  if (!isVisible(path, 0) || /["<>\\]/.test(path)) return CHARACTER;
  for (let at = path.indexOf('%'); at !== -1; at = path.indexOf('%', at + 1)) {
    const byte = encodedByte(path, at);
    if (byte === SLASH || byte === 0x5c) return 'encoded slash or backslash';
    if (byte === 0) return 'encoded NUL';
    if (isOverlong(byte, path, at)) return 'overlong UTF-8';
  }
  // Some servers take the parameters away after policy was asked, and then resolve what is left (attack A3).
  return DOTS_WITH_PARAMETERS.test(path) ? 'dot segment with parameters' : undefined;
}

const DOTS_WITH_PARAMETERS = /\/(?:\.|%2e){1,2}(?:;|%3b)/i;

/** Beginnings of sequences that write a character in more bytes than it has; some decoders read `%c0%af` as a slash. */
function isOverlong(byte: number, path: string, at: number): boolean {
  if (byte === 0xc0 || byte === 0xc1) return true;
  if (byte !== 0xe0 && byte !== 0xf0) return false;
  const next = path.charCodeAt(at + 3) === 0x25 ? encodedByte(path, at + 3) : -1;
  return next >= 0x80 && next < (byte === 0xe0 ? 0xa0 : 0x90);
}

function rewrite(raw: string, how: PathNormalization): string {
  switch (how) {
    case 'NONE':
      return raw;
    case 'BASE':
      return resolveDots(canonicalPercentEncoding(raw.replaceAll('\\', '/')));
    case 'STRICT':
    case 'MERGE_SLASHES':
      return mergeSlashes(resolveDots(canonicalPercentEncoding(raw.replaceAll('\\', '/'))));
    case 'DECODE_AND_MERGE_SLASHES': {
      const slashes = raw.replaceAll(/\\|%2f|%5c/gi, '/');
      return mergeSlashes(resolveDots(canonicalPercentEncoding(slashes)));
    }
  }
}

function mergeSlashes(path: string): string {
  return path.replaceAll(/\/{2,}/g, '/');
}

/** RFC 3986 section 5.2.4: `..` takes a segment away, also an empty one; above the root there is nothing to take. */
function resolveDots(path: string): string {
  if (!path.includes('/.')) return path;
  const kept: string[] = [];
  const segments = path.slice(1).split('/');
  for (const [index, segment] of segments.entries()) {
    const isLast = index === segments.length - 1;
    if (segment === '..') kept.pop();
    if (segment !== '.' && segment !== '..') kept.push(segment);
    // What ends in a dot segment is a folder.
    else if (isLast) kept.push('');
  }
  return `/${kept.join('/')}`;
}
