import { createHash } from 'node:crypto';
import { jwtVerify } from 'jose';
import { MeshError } from '../../base/errors.ts';
import { DEFAULT_TRUST_DOMAIN, makeSpiffeId } from '../../mesh/model/identity.ts';
import { KeySetFile } from './key-set.ts';

/** Who calls, as its token proves. Texts that the token does not have are ''. */
export type Caller = Readonly<{
  namespace: string;
  serviceAccount: string;
  /** The pod that the token was made for. */
  podName: string;
  podUid: string;
  node: string;
}>;

export type TokenRules = Readonly<{
  /** Path of a JWKS file. */
  keySetFile: string;
  issuer: string;
  /** One of them must be in the token. */
  audiences: readonly string[];
  now?: () => number;
  /** Told of a key set that cannot be used; the last good one stays in force. */
  onProblem?: (problem: MeshError) => void;
}>;

/** Signatures that only the holder of a private key makes; `none` and shared secrets are not among them. */
const ALGORITHMS = ['ES256', 'ES384', 'RS256', 'RS384', 'RS512', 'PS256'];
/** A service account token has 1 to 2 KiB. */
const MAX_TOKEN_BYTES = 16 * 1024;
/** A node's proxy asks for a certificate for each account with the same token; verifying costs as much as issuing. */
const MAX_KNOWN_TOKENS = 4096;

type KnownToken = Readonly<{ caller: Caller; expiresMs: number }>;

/** Verifies service account tokens, and remembers those that it verified until they expire or the keys change. */
export class TokenAuthenticator {
  readonly #rules: TokenRules;
  readonly #keySet: KeySetFile;
  readonly #now: () => number;
  #known = new Map<string, KnownToken>();
  #knownFor: unknown;

  constructor(rules: TokenRules) {
    this.#rules = rules;
    this.#keySet = new KeySetFile(rules.keySetFile, rules.onProblem ?? (() => undefined));
    this.#now = rules.now ?? Date.now;
  }

  /**
   * Who sends these `authorization` headers.
   *
   * @throws {MeshError} ERR_UNAUTHENTICATED with the true reason, which is for our log alone; the token is in no message.
   */
  async authenticate(authorization: readonly string[]): Promise<Caller> {
    const token = readBearer(authorization);
    const keys = this.#keySet.current();
    if (keys !== this.#knownFor) {
      this.#known = new Map();
      this.#knownFor = keys;
    }
    const digest = createHash('sha256').update(token).digest('base64');
    const known = this.#known.get(digest);
    if (known !== undefined && known.expiresMs > this.#now()) return known.caller;

    const verified = await this.#verify(token, keys);
    if (this.#knownFor === keys) this.#remember(digest, verified);
    return verified.caller;
  }

  async #verify(token: string, keys: ReturnType<KeySetFile['current']>): Promise<KnownToken> {
    let payload: Record<string, unknown>;
    try {
      const verified = await jwtVerify(token, keys, {
        issuer: this.#rules.issuer,
        audience: [...this.#rules.audiences],
        algorithms: ALGORITHMS,
        requiredClaims: ['sub', 'exp', 'iat'],
        currentDate: new Date(this.#now()),
      });
      ({ payload } = verified);
    } catch (cause) {
      throw unauthenticated('a token that does not verify', cause);
    }
    const expires = payload['exp'];
    if (typeof expires !== 'number') throw unauthenticated('a token without an end');
    return { caller: readCaller(payload), expiresMs: expires * 1000 };
  }

  #remember(digest: string, token: KnownToken): void {
    if (this.#known.size >= MAX_KNOWN_TOKENS) {
      const [oldest = ''] = this.#known.keys();
      this.#known.delete(oldest);
    }
    this.#known.set(digest, token);
  }
}

function readBearer(authorization: readonly string[]): string {
  const [header = '', ...more] = authorization;
  if (more.length > 0) throw unauthenticated('several authorization headers');
  const [scheme = '', token = '', ...rest] = header.split(' ');
  if (scheme.toLowerCase() !== 'bearer' || token === '' || rest.length > 0)
    throw unauthenticated('no bearer token');
  if (token.length > MAX_TOKEN_BYTES) throw unauthenticated(`a token of ${token.length} bytes`);
  return token;
}

const SUBJECT_PREFIX = 'system:serviceaccount:';

/** The subject says who it is; what Kubernetes adds must say the same. */
function readCaller(payload: Record<string, unknown>): Caller {
  const subject = text(payload, 'sub');
  const [namespace = '', serviceAccount = '', ...rest] = subject
    .slice(SUBJECT_PREFIX.length)
    .split(':');
  if (!subject.startsWith(SUBJECT_PREFIX) || rest.length > 0)
    throw unauthenticated('a subject that is no service account');
  try {
    makeSpiffeId({ trustDomain: DEFAULT_TRUST_DOMAIN, namespace, serviceAccount });
  } catch (cause) {
    throw unauthenticated('a subject that is no service account', cause);
  }
  const claims = record(payload, 'kubernetes.io');
  const pod = record(claims, 'pod');
  const account = record(claims, 'serviceaccount');
  const claimed = [text(claims, 'namespace'), text(account, 'name')];
  const differ = claimed.some(
    (value, index) => value !== '' && value !== [namespace, serviceAccount][index],
  );
  if (differ) throw unauthenticated('a subject and Kubernetes claims that differ');
  const node = text(record(claims, 'node'), 'name');
  return { namespace, serviceAccount, podName: text(pod, 'name'), podUid: text(pod, 'uid'), node };
}

function record(from: Record<string, unknown>, name: string): Record<string, unknown> {
  const value = Object.hasOwn(from, name) ? from[name] : {};
  if (isRecord(value)) return value;
  throw unauthenticated(`a claim ${name} of another shape`);
}

function text(from: Record<string, unknown>, name: string): string {
  const value = Object.hasOwn(from, name) ? from[name] : '';
  if (typeof value === 'string') return value;
  throw unauthenticated(`a claim ${name} of another shape`);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function unauthenticated(found: string, cause?: unknown): MeshError {
  const message = `Cannot authenticate caller: found ${found}`;
  return new MeshError('ERR_UNAUTHENTICATED', 'downstream', message, { cause });
}
