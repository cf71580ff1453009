import { unreachable } from '../../base/unreachable.ts';
import type { Service } from '../../mesh/kubernetes/core.ts';
import { WAYPOINT_CLASS } from '../../mesh/kubernetes/labels.ts';
import type { ServiceEntry } from '../../mesh/kubernetes/networking.ts';
import { compareByAge, formatObject } from '../../mesh/kubernetes/object.ts';
import type {
  RateLimitMatchSpec,
  RateLimitPolicy,
  RateLimitRuleSpec,
} from '../../mesh/kubernetes/rate-limit-policy.ts';
import type { TargetReference } from '../../mesh/kubernetes/security.ts';
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
import { accountMatch, principalMatches, stringMatch } from './policies.ts';
import { objectWaypoint } from './services.ts';
import type { Condition, MeshSettings } from './settings.ts';

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
    const first = winner(picture, namespace, target);
    return first === undefined ? [] : [first];
  });
  // One policy may target both the service and its Gateway.
  const limits = [...new Set(policies)].map((policy) => toRateLimit(policy, service, settings));
  return { service, limits };
}

type Target = Pick<TargetReference, 'kind' | 'name'>;

/** Of several policies of one target the oldest counts: two limits of one thing are one too many. */
function winner(picture: Picture, namespace: string, target: Target): RateLimitPolicy | undefined {
  const [first] = [...picture.targetingPolicies('RateLimitPolicy', namespace, target)].sort(
    compareByAge,
  );
  return first;
}

/** What became of a policy, for its status: one condition for all of its targets. */
export function rateLimitCondition(
  picture: Picture,
  settings: MeshSettings,
  policy: RateLimitPolicy,
): Condition {
  const { targetRefs } = policy.spec;
  const problems = targetRefs.flatMap((target) => {
    const problem = targetProblem(picture, settings, policy, target);
    return problem === undefined ? [] : [problem];
  });
  const [first] = problems;
  const messages = problems.map(({ message }) => message).join('; ');
  if (first !== undefined && problems.length === targetRefs.length)
    return accepted('False', first.reason, messages);
  if (first !== undefined) return accepted('True', 'PartiallyInvalid', messages);
  const targets = targetRefs.map(({ kind, name }) => `${kind} ${name}`).join(', ');
  return accepted('True', 'Accepted', `attached to ${targets}`);
}

function accepted(status: Condition['status'], reason: string, message: string): Condition {
  return { type: 'Accepted', status, reason, message };
}

type Problem = Readonly<{
  reason: 'Invalid' | 'TargetNotFound' | 'AncestorNotBound' | 'Conflicted';
  message: string;
}>;

function targetProblem(
  picture: Picture,
  settings: MeshSettings,
  policy: RateLimitPolicy,
  { kind, name }: TargetReference,
): Problem | undefined {
  const { namespace } = policy.ref;
  const shown = `${kind} ${namespace}/${name}`;
  if (kind !== 'Service' && kind !== 'ServiceEntry' && kind !== 'Gateway')
    return { reason: 'Invalid', message: `cannot target ${kind} ${name}` };
  const object = picture.get(kind, namespace, name);
  if (object === undefined) return { reason: 'TargetNotFound', message: `${shown} does not exist` };
  if (object.kind === 'Gateway') {
    const { gatewayClassName } = object.spec;
    if (gatewayClassName !== WAYPOINT_CLASS)
      return {
        reason: 'Invalid',
        message: `${shown} is no waypoint: its class is ${gatewayClassName}`,
      };
  } else if (objectWaypoint(picture, settings, object).waypoint === undefined)
    return {
      reason: 'AncestorNotBound',
      message: `${shown} is not bound to a waypoint, so that nothing enforces the policy`,
    };
  const first = winner(picture, namespace, { kind, name });
  if (first === undefined || first.key === policy.key) return undefined;
  return { reason: 'Conflicted', message: `${shown} has the older ${formatObject(first.ref)}` };
}

function toRateLimit(
  { ref, spec }: RateLimitPolicy,
  service: ServiceKey,
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
        ...{ name, counter: `${policy}/${name}${rule.shared ? '' : `@${service}`}` },
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
