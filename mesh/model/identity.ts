import type { Brand } from '../../base/brand.ts';
import { MeshError } from '../../base/errors.ts';

/** The name of a root of trust, such as `cluster.local`. */
export type TrustDomain = Brand<string, 'TrustDomain'>;

/** `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`, exactly these parts. */
export type SpiffeId = Brand<string, 'SpiffeId'>;

/** A SPIFFE id without `spiffe://`, as policies name it. */
export type Principal = Brand<string, 'Principal'>;

export type IdentityParts = Readonly<{
  trustDomain: TrustDomain;
  namespace: string;
  serviceAccount: string;
}>;

export const DEFAULT_TRUST_DOMAIN = 'cluster.local' as TrustDomain;

const SCHEME = 'spiffe://';
/** SPIFFE ID specification, section 2.1: lower case letters, digits, dots, dashes, underscores; at most 255 bytes. */
const TRUST_DOMAIN = /^[a-z0-9._-]{1,255}$/;
/** RFC 1123 label, as Kubernetes names a namespace. */
const NAMESPACE = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
/** RFC 1123 subdomain, as Kubernetes names a service account. */
const SERVICE_ACCOUNT =
  /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/;
/** SPIFFE ID specification, section 2.3. */
const MAX_SPIFFE_ID_BYTES = 2048;

/**
 * Parses a SPIFFE id of the form that workloads have; nothing is normalised.
 *
 * @throws {MeshError} ERR_SPIFFE_ID for upper case, escapes, query, fragment, userinfo, port, other or empty path parts.
 */
export function parseSpiffeId(text: string): SpiffeId {
  const parts = text.length <= MAX_SPIFFE_ID_BYTES ? text.split('/') : [];
  const [scheme, empty, trustDomain = '', ns, namespace = '', sa, serviceAccount = ''] = parts;
  const shaped =
    parts.length === 7 && scheme === 'spiffe:' && empty === '' && ns === 'ns' && sa === 'sa';
  const valid =
    shaped &&
    TRUST_DOMAIN.test(trustDomain) &&
    NAMESPACE.test(namespace) &&
    SERVICE_ACCOUNT.test(serviceAccount);
  if (!valid) throw identityError('SPIFFE id', text);
  return text as SpiffeId;
}

/** @throws {MeshError} ERR_SPIFFE_ID for an empty text, upper case, or characters that no trust domain has. */
export function parseTrustDomain(text: string): TrustDomain {
  if (!TRUST_DOMAIN.test(text)) throw identityError('trust domain', text);
  return text as TrustDomain;
}

/** @throws {MeshError} ERR_SPIFFE_ID where a part is no Kubernetes name. */
export function makeSpiffeId(parts: IdentityParts): SpiffeId {
  const { trustDomain, namespace, serviceAccount } = parts;
  return parseSpiffeId(`${SCHEME}${trustDomain}/ns/${namespace}/sa/${serviceAccount}`);
}

export function identityParts(id: SpiffeId): IdentityParts {
  const [, , trustDomain = '', , namespace = '', , serviceAccount = ''] = id.split('/');
  return { trustDomain: trustDomain as TrustDomain, namespace, serviceAccount };
}

export function principalOf(id: SpiffeId): Principal {
  return id.slice(SCHEME.length) as Principal;
}

function identityError(what: string, text: string): MeshError {
  const found = JSON.stringify(text.slice(0, 128));
  return new MeshError('ERR_SPIFFE_ID', 'local', `Cannot parse ${what}: found ${found}`);
}
