import { hash } from 'node:crypto';
import {
  createLocalJWKSet,
  errors,
  jwtVerify,
  type FlattenedJWSInput,
  type JSONWebKeySet,
  type JWTHeaderParameters,
  type JWTPayload,
} from 'jose';
import type { RequestIdentity } from '../mesh/model/http-policy-values.ts';
import type { JwtRule, RequestAuthentication } from '../mesh/model/request-authentication.ts';
import { BoundedCache } from './bounded-cache.ts';
import { findTokens, type FoundToken } from './jwt-places.ts';
import type { JwtFault } from './jwt-fault.ts';
import { readToken, type TokenParts } from './jwt-parts.ts';

/** Envoy's: `none` is not among them, and a shared secret verifies only what it is meant for. */
const ALGORITHMS = [
  ...['ES256', 'ES384', 'ES512', 'HS256', 'HS384', 'HS512', 'RS256', 'RS384', 'RS512'],
  ...['PS256', 'PS384', 'PS512', 'EdDSA'],
];
/** 60 s, as Envoy's jwt_authn. */
const CLOCK_SKEW_S = 60;
/** Tokens of a rule that are remembered; each is some kilobytes of claims. */
const MAX_KNOWN_TOKENS = 2048;
/** A token without an end is verified again after this long. */
const UNLIMITED_MS = 600_000;
/** Claims that are lists written as one text, as Istio reads them. */
const SPACE_DELIMITED = ['scope', 'permission'];

const NO_KEY: JwtFault = "Jwks doesn't have key to match kid or alg from Jwt";
const FAILS: JwtFault = 'Jwt verification fails';

/** A token that a rule has verified. */
export type VerifiedToken = Readonly<{
  identity: RequestIdentity;
  /** The payload as it was written: in base64url, and read. */
  payload: string;
  written: object;
  /** Milliseconds since 1970; from then on it is not valid. */
  expiresMs: number;
}>;

export type JwtOutcome = Readonly<
  | { kind: 'none' }
  | {
      kind: 'verified';
      identity: RequestIdentity;
      tokens: readonly (FoundToken & Readonly<{ rule: JwtRule; verified: VerifiedToken }>)[];
    }
  | { kind: 'refused'; fault: JwtFault }
>;

type Resolver = (header: JWTHeaderParameters, token: FlattenedJWSInput) => Promise<Key>;
type Key = Awaited<ReturnType<ReturnType<typeof createLocalJWKSet>>> | Uint8Array;

/** A rule with its keys and the tokens that it verified. */
class Provider {
  readonly rule: JwtRule;
  readonly #keys: readonly Resolver[];
  readonly #known = new BoundedCache<VerifiedToken>(MAX_KNOWN_TOKENS);

  constructor(rule: JwtRule) {
    this.rule = rule;
    this.#keys = resolversOf(rule.jwks);
  }

  /** What is remembered of a token; `undefined` when it has to be verified. */
  recall(token: string, nowMs: number): VerifiedToken | undefined {
    const known = this.#known.get(digestOf(token));
    return known !== undefined && known.expiresMs > nowMs ? known : undefined;
  }

  async verify(token: string, parts: TokenParts, nowMs: number): Promise<VerifiedToken | JwtFault> {
    let fault: JwtFault = NO_KEY;
    for (const key of this.#keys) {
      try {
        const { payload } = await jwtVerify(token, key, {
          algorithms: ALGORITHMS,
          issuer: this.rule.issuer,
          ...(this.rule.audiences.length > 0 && { audience: [...this.rule.audiences] }),
          clockTolerance: CLOCK_SKEW_S,
          currentDate: new Date(nowMs),
        });
        const verified = {
          identity: identityOf(payload, this.rule),
          payload: parts.payloadText,
          written: payload,
          expiresMs: endOf(payload, nowMs),
        };
        this.#known.set(digestOf(token), verified);
        return verified;
      } catch (error) {
        const found = faultOf(error);
        // What no other key could mend: the signature was right, and a claim is not.
        if (found !== FAILS && found !== NO_KEY) return found;
        if (found === FAILS) fault = found;
      }
    }
    return fault;
  }
}

/** The rules of one target's RequestAuthentications, compiled; with other keys or rules it is another object. */
export class JwtAuthenticator {
  readonly #providers: readonly Provider[];
  /** Names in lower case that only we may set. */
  readonly outputHeaders: ReadonlySet<string>;

  constructor(authentications: readonly RequestAuthentication[]) {
    const rules = authentications.flatMap(({ rules }) => rules);
    this.#providers = rules.map((rule) => new Provider(rule));
    this.outputHeaders = new Set(
      rules
        .flatMap((rule) => [
          rule.outputPayloadToHeader,
          ...rule.outputClaimToHeaders.map(({ header }) => header),
        ])
        .filter((name) => name !== ''),
    );
  }

  get isEmpty(): boolean {
    return this.#providers.length === 0;
  }

  /**
   * Looks for tokens and verifies them. Every token that a rule looks for must be right, and all must be of one subject:
   * a wrong one beside a right one would reach a backend that trusts us to have checked it.
   *
   * @param headers in the common form, with `:path`.
   * @returns a promise only for tokens that were not seen before.
   */
  authenticate(headers: readonly string[], nowMs: number): JwtOutcome | Promise<JwtOutcome> {
    if (this.isEmpty || isPreflight(headers)) return NONE;
    const found = findTokens(
      this.#providers.map(({ rule }) => rule),
      headers,
    );
    if (found.length === 0) return NONE;
    const recalled = found.map((token) => this.#recall(token, nowMs));
    if (recalled.every((one) => one !== undefined)) return joined(recalled);
    return this.#verifyAll(found, nowMs);
  }

  #recall(token: FoundToken, nowMs: number): VerifiedBy | undefined {
    for (const { rule, verified } of this.#known(token, nowMs)) return { ...token, rule, verified };
    return undefined;
  }

  *#known(
    token: FoundToken,
    nowMs: number,
  ): Iterable<Readonly<{ rule: JwtRule; verified: VerifiedToken }>> {
    for (const provider of this.#providers) {
      if (!token.rules.includes(provider.rule)) continue;
      const verified = provider.recall(token.text, nowMs);
      if (verified !== undefined) yield { rule: provider.rule, verified };
    }
  }

  async #verifyAll(found: readonly FoundToken[], nowMs: number): Promise<JwtOutcome> {
    const verified: VerifiedBy[] = [];
    for (const token of found) {
      const one = this.#recall(token, nowMs) ?? (await this.#verify(token, nowMs));
      if (typeof one === 'string') return { kind: 'refused', fault: one };
      verified.push(one);
    }
    return joined(verified);
  }

  async #verify(token: FoundToken, nowMs: number): Promise<VerifiedBy | JwtFault> {
    const parts = readToken(token.text);
    if (typeof parts === 'string') return parts;
    if (!ALGORITHMS.includes(parts.algorithm)) return 'Jwt header [alg] is not supported';
    let fault: JwtFault = 'Jwt issuer is not configured';
    for (const provider of this.#providers) {
      if (!token.rules.includes(provider.rule) || provider.rule.issuer !== parts.issuer) continue;
      const outcome = await provider.verify(token.text, parts, nowMs);
      if (typeof outcome !== 'string') return { ...token, rule: provider.rule, verified: outcome };
      fault = outcome;
    }
    return fault;
  }
}

type VerifiedBy = FoundToken & Readonly<{ rule: JwtRule; verified: VerifiedToken }>;

const NONE: JwtOutcome = { kind: 'none' };

function joined(tokens: readonly VerifiedBy[]): JwtOutcome {
  const [first] = tokens;
  if (first === undefined) return NONE;
  const { identity } = first.verified;
  const isOther = ({ verified }: VerifiedBy): boolean =>
    verified.identity.principal !== identity.principal;
  if (tokens.some(isOther)) return { kind: 'refused', fault: FAILS };
  return { kind: 'verified', identity, tokens };
}

function digestOf(token: string): string {
  return hash('sha256', token, 'base64');
}

/** Browsers ask with no token whether they may ask with one. */
function isPreflight(headers: readonly string[]): boolean {
  let [options, origin, method] = [false, false, false];
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index];
    if (name === ':method') options = headers[index + 1] === 'OPTIONS';
    else if (name === 'origin') origin = true;
    else if (name === 'access-control-request-method') method = true;
  }
  return options && origin && method;
}

/** How keys are found for a token's header: among the public keys, and among the shared secrets. */
function resolversOf(jwks: string): readonly Resolver[] {
  const set = readKeySet(jwks);
  const isSecret = (key: JSONWebKeySet['keys'][number]): boolean => key.kty === 'oct';
  const secrets = set.keys.filter(isSecret);
  const found: Resolver[] = [];
  // One by one: of several that match, the right one is found by trying.
  for (const key of set.keys.filter((each) => !isSecret(each)))
    found.push(createLocalJWKSet({ keys: [key] }));
  for (const { k, kid, alg } of secrets)
    found.push((header) => {
      // A public key is no secret (attack J1): only keys of the type "oct" come here.
      const matches =
        /^HS(?:256|384|512)$/.test(header.alg) &&
        (kid === undefined || header.kid === undefined || kid === header.kid) &&
        (alg === undefined || alg === header.alg);
      if (!matches || k === undefined) return Promise.reject(new errors.JWKSNoMatchingKey());
      return Promise.resolve(Buffer.from(k, 'base64url'));
    });
  return found;
}

function readKeySet(jwks: string): JSONWebKeySet {
  try {
    const set: unknown = JSON.parse(jwks);
    if (isKeySet(set)) return set;
  } catch {
    // As a set without keys: every token fails.
  }
  return { keys: [] };
}

function isKeySet(value: unknown): value is JSONWebKeySet {
  if (typeof value !== 'object' || value === null || !('keys' in value)) return false;
  const { keys } = value;
  return (
    Array.isArray(keys) && keys.every((key: unknown) => typeof key === 'object' && key !== null)
  );
}

function identityOf(payload: JWTPayload, rule: JwtRule): RequestIdentity {
  const { iss = '', sub = '', aud, azp } = payload as JWTPayload & { azp?: unknown };
  const audiences = typeof aud === 'string' ? [aud] : (aud ?? []);
  const claims = { ...payload };
  for (const name of [...SPACE_DELIMITED, ...rule.spaceDelimitedClaims]) {
    const value = Object.hasOwn(claims, name) ? claims[name] : undefined;
    if (typeof value !== 'string') continue;
    const parts = value.split(' ').filter((part) => part !== '');
    // Not by assignment: the name may be "__proto__".
    Object.defineProperty(claims, name, { value: parts, enumerable: true });
  }
  return {
    principal: iss === '' || sub === '' ? '' : `${iss}/${sub}`,
    audiences,
    presenter: typeof azp === 'string' ? azp : '',
    claims,
  };
}

function endOf({ exp }: JWTPayload, nowMs: number): number {
  const unlimited = nowMs + UNLIMITED_MS;
  return exp === undefined ? unlimited : Math.min((exp + CLOCK_SKEW_S) * 1000, unlimited);
}

function faultOf(error: unknown): JwtFault {
  if (error instanceof errors.JWTExpired) return 'Jwt is expired';
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.claim === 'nbf' && error.reason === 'check_failed') return 'Jwt not yet valid';
    if (error.claim === 'aud') return 'Audiences in Jwt are not allowed';
    if (error.claim === 'iss') return 'Jwt issuer is not configured';
  }
  if (
    error instanceof errors.JWKSNoMatchingKey ||
    (error instanceof errors.JOSENotSupported && error.message.includes('JSON Web Key Set'))
  )
    return NO_KEY;
  return FAILS;
}
