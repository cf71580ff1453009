import type { CorsPolicy } from '../../mesh/model/http-filter.ts';
import { wireText } from '../../mesh/model/wire-text.ts';
import { findHeader, type HeaderList } from '../../net/h2/headers.ts';
import { headerValue } from '../match/header-value.ts';
import { compileOrigin, type OriginTest } from './cors-origin.ts';
import { HeaderEdit } from './header-edit.ts';
import { NO_BODY, type FilterAnswer } from './respond.ts';

/** What becomes of a request, and for those that go on, what their response is told. */
export type CorsDecision = Readonly<
  | { kind: 'answer'; answer: FilterAnswer }
  /** `origin`: allowed; `foreign`: not allowed; `same`: the request came from no other origin. */
  | { kind: 'allowed'; origin: string }
  | { kind: 'foreign' | 'same' }
>;

/** Whatever the backend says of these is its word against the policy's. */
const CORS_FIELDS = [
  ...['access-control-allow-origin', 'access-control-allow-credentials'],
  ...['access-control-allow-methods', 'access-control-allow-headers'],
  ...['access-control-expose-headers', 'access-control-max-age'],
  'access-control-allow-private-network',
];

/** A CorsPolicy, made to be asked. It says who may read a response in a browser; it keeps no request from the backend. */
export class Cors {
  readonly #policy: CorsPolicy;
  readonly #origins: readonly OriginTest[];
  /** Every response is for everyone, so that none needs the origin of its request. */
  readonly #isForAll: boolean;

  /** @throws {MeshError} ERR_REGEX for a pattern of an origin. */
  constructor(policy: CorsPolicy) {
    this.#policy = policy;
    this.#origins = policy.allowOrigins.map(compileOrigin);
    this.#isForAll =
      !policy.allowCredentials &&
      policy.allowOrigins.some(({ kind, value }) => kind === 'wildcard' && value === '*');
  }

  /** @throws {MeshError} ERR_REGEX_INPUT for an origin that is too long for a pattern. */
  decide(headers: HeaderList): CorsDecision {
    const origin = headerValue(headers, 'origin');
    if (origin === undefined) return { kind: 'same' };
    const isAllowed = this.#origins.some((test) => test(origin));
    const method = headerValue(headers, 'access-control-request-method');
    const isPreflight = findHeader(headers, ':method') === 'OPTIONS' && method !== undefined;
    if (!isPreflight) return isAllowed ? { kind: 'allowed', origin } : { kind: 'foreign' };
    if (isAllowed) return { kind: 'answer', answer: this.#grant(headers, origin, method) };
    if (this.#policy.forwardUnmatchedPreflights) return { kind: 'foreign' };
    return { kind: 'answer', answer: preflightAnswer(['vary', 'Origin'], 'cors_origin_refused') };
  }

  /** The backend's response, with what the policy says of its readers. */
  changeResponse(headers: HeaderList, decision: CorsDecision): HeaderList {
    const edit = new HeaderEdit(headers);
    // Where unmatched preflights go on, the backend has rules of its own for those origins.
    const isOurs = decision.kind !== 'foreign' || !this.#policy.forwardUnmatchedPreflights;
    if (decision.kind !== 'same' && isOurs) for (const name of CORS_FIELDS) edit.remove(name);
    if (decision.kind === 'allowed') this.#allow(edit, decision.origin, headers);
    if (!this.#isForAll) varyByOrigin(edit);
    return edit.headers;
  }

  #allow(edit: HeaderEdit, origin: string, headers: HeaderList): void {
    const { allowCredentials } = this.#policy;
    edit.set('access-control-allow-origin', this.#isForAll ? '*' : origin);
    if (allowCredentials) edit.set('access-control-allow-credentials', 'true');
    const exposed = this.#exposed(headers);
    if (exposed !== '') edit.set('access-control-expose-headers', exposed);
  }

  /** With credentials a star is not a wildcard but a name, so the names that there are stand for it. */
  #exposed(headers: HeaderList): string {
    const { exposeHeaders, allowCredentials } = this.#policy;
    if (!exposeHeaders.includes('*')) return wireText(exposeHeaders.join(', '));
    if (!allowCredentials) return '*';
    const names = headers.filter((name, index) => index % 2 === 0 && isExposable(name));
    return [...new Set(names)].join(', ');
  }

  #grant(headers: HeaderList, origin: string, method: string): FilterAnswer {
    const { allowMethods, allowHeaders, allowCredentials, maxAgeSeconds } = this.#policy;
    const wanted = headerValue(headers, 'access-control-request-headers') ?? '';
    const fields = ['access-control-allow-origin', this.#isForAll ? '*' : origin];
    if (allowCredentials) fields.push('access-control-allow-credentials', 'true');
    const methods = listOrEcho(allowMethods, allowCredentials, method);
    if (methods !== '') fields.push('access-control-allow-methods', methods);
    const names = wanted === '' ? '' : listOrEcho(allowHeaders, allowCredentials, wanted);
    if (names !== '') fields.push('access-control-allow-headers', names);
    fields.push('access-control-max-age', String(maxAgeSeconds));
    if (!this.#isForAll) fields.push('vary', 'Origin');
    return preflightAnswer(fields, 'cors_preflight');
  }
}

function listOrEcho(allowed: readonly string[], credentials: boolean, wanted: string): string {
  if (!allowed.includes('*')) return wireText(allowed.join(', '));
  return credentials ? wanted : '*';
}

/** 200, which every browser takes, as Envoy. */
function preflightAnswer(fields: readonly string[], reason: string): FilterAnswer {
  const headers = [':status', '200', ...fields, 'content-length', '0'];
  return { headers, body: NO_BODY, reason };
}

/** No script sees cookies that are set, or what is said to the browser itself. */
function isExposable(name: string): boolean {
  return !name.startsWith(':') && name !== 'set-cookie' && !CORS_FIELDS.includes(name);
}

/** A cache must not give one origin what was for another. */
function varyByOrigin(edit: HeaderEdit): void {
  const names = (headerValue(edit.headers, 'vary') ?? '').toLowerCase().split(',');
  if (names.some((name) => name.trim() === 'origin' || name.trim() === '*')) return;
  edit.add('vary', 'Origin');
}
