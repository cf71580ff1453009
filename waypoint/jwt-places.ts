import type { JwtRule } from '../mesh/model/request-authentication.ts';

/** Where in a request a token stood. */
export type TokenPlace = Readonly<
  | { kind: 'header'; index: number }
  | { kind: 'param'; name: string }
  | { kind: 'cookie'; name: string }
>;

/** A token, and the rules that look for one where it stood. */
export type FoundToken = Readonly<{ text: string; place: TokenPlace; rules: readonly JwtRule[] }>;

/** So many tokens are looked at; a request with more has none that can be believed. */
const MAX_TOKENS = 8;

/** Whether a rule says where its tokens are, instead of looking at the usual places. */
function hasOwnPlaces({ fromHeaders, fromParams, fromCookies }: JwtRule): boolean {
  return fromHeaders.length + fromParams.length + fromCookies.length > 0;
}

/** Every text that stands where one of the rules looks for a token. */
export function findTokens(
  rules: readonly JwtRule[],
  headers: readonly string[],
): readonly FoundToken[] {
  const found: FoundToken[] = [];
  const add = (text: string, place: TokenPlace, rule: JwtRule): void => {
    const at = found.findIndex((one) => one.text === text && isSamePlace(one.place, place));
    const before = found[at];
    if (before !== undefined) found[at] = { ...before, rules: [...before.rules, rule] };
    else if (found.length < MAX_TOKENS) found.push({ text, place, rules: [rule] });
    // What cannot be read at all is refused, as one token too many must be.
    else found[MAX_TOKENS - 1] = { text: '', place, rules: [rule] };
  };
  for (const rule of rules) {
    const own = hasOwnPlaces(rule);
    const names = own ? rule.fromParams : ['access_token'];
    for (let index = 0; index < headers.length; index += 2) {
      const name = headers[index] ?? '';
      const value = headers[index + 1] ?? '';
      if (name === ':path' && names.length > 0) {
        for (const [param, text] of queryOf(value))
          if (names.includes(param)) add(text, { kind: 'param', name: param }, rule);
      } else if (name === 'cookie' && rule.fromCookies.length > 0) {
        for (const [cookie, text] of cookiesOf(value))
          if (rule.fromCookies.includes(cookie)) add(text, { kind: 'cookie', name: cookie }, rule);
      }
      const text = own ? fromHeader(rule, name, value) : fromAuthorization(name, value);
      if (text !== undefined) add(text, { kind: 'header', index }, rule);
    }
  }
  return found;
}

function isSamePlace(one: TokenPlace, other: TokenPlace): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

/** Schemes are case-insensitive: a backend takes `bearer` for what we would have let pass unseen. */
function fromAuthorization(name: string, value: string): string | undefined {
  if (name !== 'authorization') return undefined;
  return /^bearer +(.*)$/i.exec(value)?.[1]?.trim();
}

function fromHeader(rule: JwtRule, name: string, value: string): string | undefined {
  for (const place of rule.fromHeaders) {
    if (place.name !== name) continue;
    if (value.startsWith(place.prefix)) return value.slice(place.prefix.length).trim();
    // As above, where it is a scheme that stands in front.
    const isScheme = place.prefix.toLowerCase().trim() === 'bearer';
    if (isScheme && /^bearer +/i.test(value)) return value.replace(/^bearer +/i, '').trim();
  }
  return undefined;
}

/** Names and values of a target's query, decoded. */
function queryOf(target: string): Iterable<[name: string, value: string]> {
  const question = target.indexOf('?');
  return question === -1 ? [] : new URLSearchParams(target.slice(question + 1)).entries();
}

/** Names and values of a `cookie` field. */
export function* cookiesOf(value: string): Iterable<[name: string, value: string]> {
  for (const pair of value.split(';')) {
    const equals = pair.indexOf('=');
    if (equals === -1) continue;
    const text = pair.slice(equals + 1).trim();
    yield [pair.slice(0, equals).trim(), text.replace(/^"(.*)"$/, '$1')];
  }
}
