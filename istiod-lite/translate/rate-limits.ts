import { unreachable } from '../../base/unreachable.ts';
import type { Service } from '../../mesh/kubernetes/core.ts';
import type { Gateway } from '../../mesh/kubernetes/gateway.ts';
import type { ServiceEntry } from '../../mesh/kubernetes/networking.ts';
import type {
  RateLimitMatchSpec,
  RateLimitPolicy,
  RateLimitRuleSpec,
} from '../../mesh/kubernetes/rate-limit-policy.ts';
import { policyKey } from '../../mesh/model/authorization.ts';
import type { ValueMatch } from '../../mesh/model/http-route.ts';
import type {
  RateLimit,
  RateLimitKeyPart,
  RateLimitMatch,
  RateLimitRule,
  ServiceRateLimits,
} from '../../mesh/model/rate-limit.ts';
import { canonicalPercentEncoding } from '../../mesh/model/percent-encoding.ts';
import type { ServiceKey } from '../../mesh/model/service.ts';
import type { Picture } from '../snapshot.ts';
import { policyOf } from './attached-policies.ts';
import { accountMatch, principalMatches, stringMatch } from './policies.ts';
import type { MeshSettings } from './settings.ts';

/**
 * All that limits the requests to a service: the policy of the Service or ServiceEntry, and those of the Gateways of its
 * waypoints.
 *
 * @param gateways `<namespace>/<name>`.
 */
export function serviceRateLimits(
  picture: Picture,
  settings: MeshSettings,
  service: ServiceKey,
  { kind, ref }: Service | ServiceEntry,
  gateways: ReadonlySet<string>,
): ServiceRateLimits {
  const targets = [
    { namespace: ref.namespace, kind, name: ref.name },
    ...[...gateways].sort().map((gateway) => {
      const [namespace = '', name = ''] = gateway.split('/');
      return { namespace, kind: 'Gateway', name };
    }),
  ];
  const policies = targets.flatMap(({ namespace, ...target }) => {
    const first = policyOf(picture, 'RateLimitPolicy', namespace, target);
    return first === undefined ? [] : [first];
  });
  // One policy may target both the service and its Gateway.
  const limits = [...new Set(policies)].map((policy) => toRateLimit(policy, service, settings));
  return { service, limits };
}

/** What limits the requests that come to a gateway. */
export function gatewayRateLimits(
  picture: Picture,
  settings: MeshSettings,
  { kind, ref: { namespace, name } }: Gateway,
): readonly RateLimit[] {
  const policy = policyOf(picture, 'RateLimitPolicy', namespace, { kind, name });
  return policy === undefined
    ? []
    : [toRateLimit(policy, `Gateway/${namespace}/${name}`, settings)];
}

/** @param counted what a rule that is not shared counts the requests to. */
function toRateLimit(
  { ref, spec }: RateLimitPolicy,
  counted: string,
  settings: MeshSettings,
): RateLimit {
  const policy = policyKey(ref.namespace, ref.name);
  return {
    policy,
    scope: spec.scope === 'Global' ? 'global' : 'local',
    failOpen: spec.failureMode === 'Open',
    tellsClients: spec.responseHeaders === 'RateLimit',
    rules: spec.rules.map((rule, index): RateLimitRule => {
      const name = rule.name ?? String(index);
      return {
        ...{ name, counter: `${policy}/${name}${rule.shared ? '' : `@${counted}`}` },
        match: toMatch(rule.match, ref.namespace, settings),
        key: toKey(rule),
        ...limitOf(rule),
        ...{ cost: rule.cost, shadow: rule.shadow },
      };
    }),
  };
}

function limitOf({ limit }: RateLimitRuleSpec): Pick<RateLimitRule, 'limit'> {
  if (limit === undefined) return {};
  const { requests, per, burst = requests } = limit;
  return { limit: { requests, perMs: per, burst } };
}

function toMatch(
  { from, headers, methods, path }: RateLimitMatchSpec,
  namespace: string,
  settings: MeshSettings,
): RateLimitMatch {
  return {
    principals: from?.principals.flatMap((value) => principalMatches(value, settings)) ?? [],
    namespaces: from?.namespaces.map(stringMatch) ?? [],
    serviceAccounts: from?.serviceAccounts.map((value) => accountMatch(value, namespace)) ?? [],
    headers: headers.map(toHeaderMatch),
    methods,
    ...(path && {
      path: {
        kind: path.type === 'Exact' ? 'exact' : 'prefix',
        // As requests have it: a rule about "/%61" is one about "/a".
        value: canonicalPercentEncoding(path.value),
      },
    }),
  };
}

function toHeaderMatch({
  name,
  type,
  value = '',
  invert,
}: RateLimitMatchSpec['headers'][number]): ValueMatch {
  const common = { name: fieldName(name), ...(invert && { absent: true }) };
  switch (type) {
    case 'Exact':
      return { ...common, kind: 'exact', value };
    case 'RegularExpression':
      return { ...common, kind: 'regex', value };
    case 'Present':
    case 'Distinct':
      return { ...common, kind: 'present' };
    default:
      return unreachable(type);
  }
}

/** As requests have it: what HTTP/1.1 calls Host is a pseudo-header field in the common form. */
function fieldName(name: string): string {
  const lower = name.toLowerCase();
  return lower === 'host' ? ':authority' : lower;
}

/** What it says, and every header whose values are told apart. */
function toKey({ key, match }: RateLimitRuleSpec): RateLimitKeyPart[] {
  const parts = key.map(({ type, name = '' }): RateLimitKeyPart => {
    switch (type) {
      case 'Identity':
        return { kind: 'identity' };
      case 'Namespace':
        return { kind: 'namespace' };
      case 'Path':
        return { kind: 'path' };
      case 'ClientAddress':
        return { kind: 'client-address' };
      case 'Header':
        return { kind: 'header', name: fieldName(name) };
      default:
        return unreachable(type);
    }
  });
  const distinct = match.headers.filter(({ type }) => type === 'Distinct');
  return [
    ...parts,
    ...distinct.map(({ name }): RateLimitKeyPart => ({ kind: 'header', name: fieldName(name) })),
  ];
}
