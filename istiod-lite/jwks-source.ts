import { lookup as resolveName } from 'node:dns';
import { request as requestHttp } from 'node:http';
import { request as requestHttps, type RequestOptions } from 'node:https';
import { isIP, type LookupFunction } from 'node:net';
import { cidrContains, parseCidr, parseIpAddress } from '../base/address.ts';
import { MeshError } from '../base/errors.ts';
import type { KeySource } from './translate/request-authentication.ts';

/** 5 s, as Istio's RequestAuthentication has it for `timeout`. */
const FETCH_TIMEOUT_MS = 5000;
/** Some hundreds of keys; one or two are usual. */
const MAX_ANSWER_BYTES = 256 * 1024;
const DISCOVERY_PATH = '/.well-known/openid-configuration';
/** Signatures that only the holder of a private key makes: a secret that is published is none. */
const PUBLIC_KEY_TYPES: readonly unknown[] = ['RSA', 'EC', 'OKP'];

/**
 * Where no issuer is: this host, its networks, links and the metadata services on them. Whoever writes a policy must not
 * make the control plane ask there (attack J4). IANA special-purpose address registries.
 */
const NOT_PUBLIC = [
  ...['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16'],
  ...['172.16.0.0/12', '192.0.0.0/24', '192.168.0.0/16', '198.18.0.0/15', '224.0.0.0/4'],
  ...['240.0.0.0/4', '::/128', '::1/128', '64:ff9b::/96', '2002::/16', 'fc00::/7', 'fe80::/10'],
  'ff00::/8',
].map(parseCidr);

export type JwksRules = Readonly<{
  /** Hosts that may be asked although their addresses are not public, such as a Service of the cluster. */
  allowedHosts: ReadonlySet<string>;
  timeoutMs?: number;
}>;

/**
 * Fetches a key set, asking the issuer first for its address where only that is known.
 *
 * @returns the public keys of the set.
 * @throws {MeshError} ERR_JWKS
 */
export async function fetchJwks(source: KeySource, rules: JwksRules): Promise<string> {
  const signal = AbortSignal.timeout(rules.timeoutMs ?? FETCH_TIMEOUT_MS);
  let uri: string;
  if (source.kind === 'uri') ({ uri } = source);
  else {
    const discovery = source.issuer.replace(/\/$/, '') + DISCOVERY_PATH;
    const found = ownProperty(await fetchJson(discovery, rules, signal), 'jwks_uri');
    if (typeof found !== 'string') throw jwksError(discovery, 'it names no jwks_uri');
    uri = found;
  }
  return publicKeysOf(await fetchJson(uri, rules, signal), uri);
}

/**
 * A key set with its public keys alone, in one form.
 *
 * @param from where it was found.
 * @throws {MeshError} ERR_JWKS where it is no key set, or has no such key.
 */
export function publicKeysOf(keySet: unknown, from: string): string {
  const keys = ownProperty(keySet, 'keys');
  if (!Array.isArray(keys)) throw jwksError(from, 'it has no list "keys"');
  const usable = keys.filter((key) => PUBLIC_KEY_TYPES.includes(ownProperty(key, 'kty')));
  if (usable.length === 0) throw jwksError(from, 'it has no public key');
  return JSON.stringify({ keys: usable });
}

/** A property of what was parsed, whatever that is; never an inherited one. */
export function ownProperty(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, name)
    ? Reflect.get(value, name)
    : undefined;
}

function jwksError(uri: string, why: string, cause?: unknown): MeshError {
  const options = cause === undefined ? undefined : { cause };
  return new MeshError('ERR_JWKS', 'upstream', `Cannot use the keys of ${uri}: ${why}`, options);
}

async function fetchJson(uri: string, rules: JwksRules, signal: AbortSignal): Promise<unknown> {
  if (!URL.canParse(uri)) throw jwksError(uri, 'it is no URL');
  const url = new URL(uri);
  if (url.protocol !== 'https:' && url.protocol !== 'http:')
    throw jwksError(uri, 'it is neither http nor https');
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  const anyAddress = rules.allowedHosts.has(host);
  // An address that is written needs no look-up, and would not be judged by it.
  if (!anyAddress && isIP(host) !== 0 && !isPublic(host)) throw jwksError(uri, NOT_PUBLIC_HOST);
  const lookup = anyAddress ? undefined : publicLookup;
  try {
    const text = await fetchText(url, { signal, ...(lookup && { lookup }) });
    const parsed: unknown = JSON.parse(text);
    return parsed;
  } catch (cause) {
    if (cause instanceof MeshError) throw cause;
    throw jwksError(uri, 'no answer that is JSON', cause);
  }
}

const NOT_PUBLIC_HOST =
  'its address is not public; JWKS_ALLOWED_HOSTS names the hosts that may be asked nevertheless';

function isPublic(address: string): boolean {
  const ip = parseIpAddress(address);
  return !NOT_PUBLIC.some((network) => cidrContains(network, ip));
}

/** Resolves once, and judges what is then dialled: a second answer of the name would not have been judged. */
const publicLookup: LookupFunction = (hostname, options, callback) => {
  resolveName(hostname, { ...options, all: true }, (error, addresses) => {
    if (error !== null) {
      callback(error, '', 0);
      return;
    }
    const allowed = addresses.filter(({ address }) => isPublic(address));
    const [first] = allowed;
    if (first === undefined)
      callback(
        new MeshError('ERR_JWKS', 'upstream', `Cannot ask ${hostname}: ${NOT_PUBLIC_HOST}`),
        '',
        0,
      );
    else if (options.all === true) callback(null, allowed);
    else callback(null, first.address, first.family);
  });
};

/** A body of status 200; redirections are not followed, for they lead where nobody was asked about. */
function fetchText(url: URL, options: RequestOptions): Promise<string> {
  return new Promise((resolve, reject) => {
    const send = url.protocol === 'https:' ? requestHttps : requestHttp;
    const call = send(url, { ...options, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      let length = 0;
      if (response.statusCode !== 200)
        call.destroy(new Error(`status ${response.statusCode ?? 0}`));
      response.on('data', (chunk: Buffer) => {
        length += chunk.length;
        if (length > MAX_ANSWER_BYTES) call.destroy(new Error('the answer is too long'));
        else chunks.push(chunk);
      });
      response.on('end', () => {
        resolve(Buffer.concat(chunks).toString('utf8'));
      });
      response.on('error', reject);
    });
    call.on('error', reject);
    call.end();
  });
}
