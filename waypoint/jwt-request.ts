import { isValidField, type HeaderList } from '../net/h2/headers.ts';
import { cookiesOf } from './jwt-places.ts';
import type { JwtFault } from './jwt-fault.ts';
import type { JwtAuthenticator, JwtOutcome } from './jwt.ts';

/**
 * The request's fields as they go on: without what a client says in our name, without the tokens that are not to be
 * forwarded, and with what rules tell of those that were verified.
 *
 * @param outcome of these same headers.
 */
export function applyTokens(
  authenticator: JwtAuthenticator,
  outcome: Exclude<JwtOutcome, { kind: 'refused' }>,
  headers: HeaderList,
): HeaderList {
  const { outputHeaders } = authenticator;
  const tokens = outcome.kind === 'verified' ? outcome.tokens : [];
  if (tokens.length === 0 && outputHeaders.size === 0) return headers;
  const taken = tokens.filter(({ rule }) => !rule.forwardOriginalToken).map(({ place }) => place);
  const isTaken = (kind: 'param' | 'cookie', name: string): boolean =>
    taken.some((place) => place.kind === kind && place.name === name);
  const kept: string[] = [];
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index] ?? '';
    let value: string | undefined = headers[index + 1] ?? '';
    if (outputHeaders.has(name)) continue;
    if (taken.some((place) => place.kind === 'header' && place.index === index)) continue;
    if (name === ':path') value = withoutParams(value, (param) => isTaken('param', param));
    else if (name === 'cookie')
      value = withoutCookies(value, (cookie) => isTaken('cookie', cookie));
    if (value !== undefined) kept.push(name, value);
  }
  for (const { rule, verified } of tokens) {
    const add = (name: string, value: string): void => {
      if (name !== '' && isValidField(name, value)) kept.push(name, value);
    };
    add(rule.outputPayloadToHeader, verified.payload);
    for (const { header, claim } of rule.outputClaimToHeaders) {
      const value = scalarClaim(verified.written, claim);
      if (value !== undefined) add(header, value);
    }
  }
  return kept;
}

/** The target without parameters that hold tokens; otherwise as it was written. */
function withoutParams(target: string, isTaken: (name: string) => boolean): string {
  const question = target.indexOf('?');
  if (question === -1) return target;
  const pairs = target.slice(question + 1).split('&');
  const kept = pairs.filter((pair) => ![...new URLSearchParams(pair).keys()].some(isTaken));
  if (kept.length === pairs.length) return target;
  const path = target.slice(0, question);
  return kept.length === 0 ? path : `${path}?${kept.join('&')}`;
}

function withoutCookies(value: string, isTaken: (name: string) => boolean): string | undefined {
  const pairs = value.split(';');
  const kept = pairs.filter((pair) => ![...cookiesOf(pair)].some(([name]) => isTaken(name)));
  if (kept.length === pairs.length) return value;
  const rest = kept.join(';').trim();
  return rest === '' ? undefined : rest;
}

/** A text, number or truth value, as a field's value: UTF-8, a character for each byte. */
function scalarClaim(claims: object, path: readonly string[]): string | undefined {
  let at: unknown = claims;
  for (const name of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, name)) return undefined;
    at = Reflect.get(at, name);
  }
  switch (typeof at) {
    case 'string':
      return Buffer.from(at, 'utf8').toString('latin1');
    case 'number':
    case 'boolean':
      return String(at);
    default:
      return undefined;
  }
}

/** The answer to a request with a token that is not right. RFC 6750 section 3. */
export function jwtRefusal(
  fault: JwtFault,
  request: Readonly<{ scheme: string; authority: string; target: string }>,
): Readonly<{ status: 401; headers: readonly string[]; body: string; details: string }> {
  const path = request.target.split('?', 1)[0] ?? '';
  const realm = `${request.scheme}://${request.authority}${path}`.slice(0, 1024);
  const quoted = realm.replaceAll(/["\\]/g, (character) => encodeURIComponent(character));
  return {
    status: 401,
    headers: ['www-authenticate', `Bearer realm="${quoted}", error="invalid_token"`],
    body: fault,
    details: `jwt_authn_access_denied{${fault.replaceAll(' ', '_')}}`,
  };
}
