import { describeError, MeshError } from '../../base/errors.ts';
import type { StringMatch } from '../model/authorization.ts';
import {
  rateLimitRuleProblem,
  type RateLimit,
  type RateLimitKeyPart,
  type RateLimitMatch,
  type RateLimitRule,
  type ServiceRateLimits,
} from '../model/rate-limit.ts';
import {
  ServiceRateLimits as ServiceRateLimitsMessage,
  type IdentityMatch as IdentityMatchMessage,
  type RateLimit as RateLimitMessage,
  type RateLimitKeyPart as RateLimitKeyPartMessage,
  type RateLimitMatch as RateLimitMatchMessage,
  type RateLimitRule as RateLimitRuleMessage,
} from '../proto/gen/waypoint-limits.ts';
import { decodePolicyKey, decodeServiceKey, resourceError } from './codec-fields.ts';
import { decodeValueMatch, encodeValueMatch } from './codec-routes.ts';
import { decodeName, decodeWholly, required } from './codec-values.ts';

export const SERVICE_RATE_LIMITS_TYPE =
  'type.googleapis.com/halo.waypoint.v1alpha1.ServiceRateLimits';

const SCOPES = ['local', 'global'] as const;
const IDENTITY_KINDS = ['exact', 'prefix', 'suffix', 'presence'] as const;
const PATH_KINDS = ['exact', 'prefix'] as const;
const KEY_KINDS = ['identity', 'namespace', 'path', 'client-address', 'header'] as const;

/**
 * Decodes what limits the requests to a service.
 *
 * @throws {MeshError} ERR_XDS_RESOURCE with the service's name and what was not understood; ERR_PROTO for what is no message.
 */
export function decodeServiceRateLimits(bytes: Uint8Array): ServiceRateLimits {
  const message = decodeWholly(ServiceRateLimitsMessage, bytes, 'a ServiceRateLimits resource');
  try {
    const { service, limits } = message;
    return { service: decodeServiceKey(service), limits: limits.map(decodeRateLimit) };
  } catch (error) {
    if (!(error instanceof MeshError)) throw error;
    const name = JSON.stringify(message.service.slice(0, 512));
    throw resourceError(`Cannot use the rate limits of ${name}: ${describeError(error)}`);
  }
}

/** The bytes of a service's rate limits; equal limits give equal bytes. */
export function encodeServiceRateLimits({ service, limits }: ServiceRateLimits): Uint8Array {
  return ServiceRateLimitsMessage.encode({
    service,
    limits: limits.map(encodeRateLimit),
  }).finish();
}

export function encodeRateLimit(limit: RateLimit): RateLimitMessage {
  return { ...limit, rules: limit.rules.map(encodeRule) };
}

/** @throws {MeshError} ERR_XDS_RESOURCE with what was not understood. */
export function decodeRateLimit({
  policy,
  scope,
  failOpen,
  tellsClients,
  rules,
}: RateLimitMessage): RateLimit {
  return {
    policy: decodePolicyKey(policy),
    scope: decodeName(SCOPES, scope, 'scope'),
    ...{ failOpen, tellsClients, rules: rules.map(decodeRule) },
  };
}

function decodeRule(message: RateLimitRuleMessage): RateLimitRule {
  const { name, counter, limit, cost, shadow } = message;
  const rule: RateLimitRule = {
    ...{ name, counter, match: decodeMatch(required(message.match, 'match')) },
    key: message.key.map(decodeKeyPart),
    ...(limit === undefined ? {} : { limit }),
    ...{ cost, shadow },
  };
  const problem = rateLimitRuleProblem(rule);
  if (problem !== undefined) throw resourceError(`rule ${name}: ${problem}`);
  return rule;
}

function encodeRule(rule: RateLimitRule): RateLimitRuleMessage {
  const { match, key, limit } = rule;
  return {
    ...{ ...rule, limit: limit && { ...limit } },
    match: {
      principals: match.principals.map(encodeIdentity),
      namespaces: match.namespaces.map(encodeIdentity),
      serviceAccounts: match.serviceAccounts.map((account) => ({ ...account })),
      headers: match.headers.map(encodeValueMatch),
      methods: [...match.methods],
      path: match.path && { ...match.path },
    },
    key: key.map((part) => ({ kind: part.kind, name: part.kind === 'header' ? part.name : '' })),
  };
}

function decodeMatch(message: RateLimitMatchMessage): RateLimitMatch {
  const { principals, namespaces, serviceAccounts, headers, methods, path } = message;
  if (path?.ignoreCase !== undefined)
    throw resourceError('ignore_case of match.path is not supported');
  return {
    ...{ principals: principals.map(decodeIdentity), namespaces: namespaces.map(decodeIdentity) },
    ...{ serviceAccounts, methods },
    headers: headers.map((header) => decodeValueMatch(header, 'match.headers')),
    ...(path === undefined
      ? {}
      : { path: { kind: decodeName(PATH_KINDS, path.kind, 'match.path'), value: path.value } }),
  };
}

function decodeIdentity({ kind, value }: IdentityMatchMessage): StringMatch {
  const known = decodeName(IDENTITY_KINDS, kind, 'match');
  if (known !== 'presence') return { kind: known, value };
  if (value !== '') throw resourceError('a value in match where presence counts');
  return { kind: known };
}

function encodeIdentity(match: StringMatch): IdentityMatchMessage {
  return { kind: match.kind, value: match.kind === 'presence' ? '' : match.value };
}

function decodeKeyPart({ kind, name }: RateLimitKeyPartMessage): RateLimitKeyPart {
  const known = decodeName(KEY_KINDS, kind, 'key');
  if (known === 'header') return { kind: known, name };
  if (name !== '') throw resourceError(`a name in key of kind ${known}`);
  return { kind: known };
}
