import { parseCidr } from '../../base/address.ts';
import {
  policyKey,
  type AuthorizationPolicy as MeshPolicy,
  type PolicyClause,
  type PolicyKey,
  type PolicyMatch,
  type PolicyRule,
  type ServiceAccountMatch,
  type StringMatch,
} from '../../mesh/model/authorization.ts';
import { DRY_RUN } from '../../mesh/kubernetes/labels.ts';
import type {
  AuthorizationCondition,
  AuthorizationOperation,
  AuthorizationPolicy,
  AuthorizationRule,
  AuthorizationSource,
} from '../../mesh/kubernetes/security.ts';
import { labelsMatch, type Labels } from '../../mesh/kubernetes/selector.ts';
import type { Picture } from '../snapshot.ts';
import type { Condition, MeshSettings, Translation } from './settings.ts';
import { NOTHING } from './settings.ts';

/** A match that asks for nothing. */
export const EMPTY_MATCH: PolicyMatch = {
  ...{ namespaces: [], notNamespaces: [], principals: [], notPrincipals: [] },
  ...{ serviceAccounts: [], notServiceAccounts: [], sourceIps: [], notSourceIps: [] },
  ...{ destinationIps: [], notDestinationIps: [], destinationPorts: [], notDestinationPorts: [] },
};

const L7_SOURCE = [
  ...([
    'requestPrincipals',
    'notRequestPrincipals',
    'remoteIpBlocks',
    'notRemoteIpBlocks',
    'trustDomains',
    'notTrustDomains',
  ] as const),
];
const L7_OPERATION = [
  ...(['hosts', 'notHosts', 'methods', 'notMethods', 'paths', 'notPaths'] as const),
];

/** Turns an AuthorizationPolicy into what ztunnel enforces, with the condition that says how much of it that is. */
export function translatePolicy(policy: AuthorizationPolicy, settings: MeshSettings): Translation {
  const { spec } = policy;
  if (hasTarget(policy)) return NOTHING;
  const unsupported = whyUnsupported(policy, settings);
  if (unsupported !== undefined)
    return { ...NOTHING, conditions: [accepted('False', 'UnsupportedValue', unsupported)] };
  const found = new Set<string>();
  const rules = (spec.rules ?? []).flatMap((rule) => {
    const l7 = l7AttributesOf(rule);
    for (const attribute of l7) found.add(attribute);
    // An ALLOW rule that cannot be checked whole must allow nothing.
    if (spec.action === 'ALLOW' && l7.length > 0) return [];
    return [translateRule(rule, policy.ref.namespace, settings)];
  });
  const translated: MeshPolicy = {
    name: policy.ref.name,
    namespace: policy.ref.namespace,
    scope: scopeOf(policy, settings),
    action: spec.action === 'DENY' ? 'DENY' : 'ALLOW',
    dryRun: isDryRun(policy),
    rules,
  };
  return { ...NOTHING, policies: [translated], conditions: [describe(policy, rules, found)] };
}

/** Whether ztunnel gets the policy at all: only then may a workload name it. */
function isForZtunnel(policy: AuthorizationPolicy, settings: MeshSettings): boolean {
  return !hasTarget(policy) && whyUnsupported(policy, settings) === undefined;
}

/** The policies with a selector that holds for a workload of these labels, in the order of their names. */
export function selectedPolicies(
  picture: Picture,
  settings: MeshSettings,
  namespace: string,
  labels: Labels,
): PolicyKey[] {
  const namespaces = new Set([namespace, settings.rootNamespace]);
  const keys: PolicyKey[] = [];
  for (const each of namespaces)
    for (const policy of picture.selectingPolicies(each)) {
      const wanted = policy.spec.selector?.matchLabels;
      if (wanted === undefined || wanted.size === 0 || !labelsMatch(wanted, labels)) continue;
      if (isForZtunnel(policy, settings))
        keys.push(policyKey(policy.ref.namespace, policy.ref.name));
    }
  return keys.sort();
}

/** Policies with a target are for waypoints. */
function hasTarget({ spec }: AuthorizationPolicy): boolean {
  return spec.targetRef !== undefined || spec.targetRefs.length > 0;
}

function whyUnsupported(policy: AuthorizationPolicy, settings: MeshSettings): string | undefined {
  const { action } = policy.spec;
  if (action === 'CUSTOM' || action === 'AUDIT')
    return `ztunnel does not support the ${action} action; the policy is not enforced`;
  if (isDryRun(policy) && !settings.dryRunPolicies)
    return `${DRY_RUN} is not enabled for ztunnel (AMBIENT_ENABLE_DRY_RUN_AUTHORIZATION_POLICY); the policy is not evaluated`;
  return undefined;
}

export function isDryRun(policy: AuthorizationPolicy): boolean {
  return /^(?:1|t|true)$/i.test(policy.metadata.annotations.get(DRY_RUN) ?? '');
}

/** An empty selector selects everything, as a selector that is not there. */
function scopeOf(policy: AuthorizationPolicy, settings: MeshSettings): MeshPolicy['scope'] {
  const labels = policy.spec.selector?.matchLabels;
  if (labels !== undefined && labels.size > 0) return 'WORKLOAD_SELECTOR';
  return policy.ref.namespace === settings.rootNamespace ? 'GLOBAL' : 'NAMESPACE';
}

/** The attributes of a rule that only a waypoint sees. */
function l7AttributesOf(rule: AuthorizationRule): string[] {
  const found = new Set<string>();
  for (const { source } of rule.from ?? [])
    for (const field of L7_SOURCE) if ((source?.[field] ?? []).length > 0) found.add(field);
  for (const { operation } of rule.to ?? [])
    for (const field of L7_OPERATION) if ((operation?.[field] ?? []).length > 0) found.add(field);
  for (const { key } of rule.when) if (!L4_KEYS.has(key)) found.add(key);
  return [...found];
}

function describe(
  policy: AuthorizationPolicy,
  rules: readonly PolicyRule[],
  l7: ReadonlySet<string>,
): Condition {
  if (l7.size === 0) return accepted('True', 'Accepted', 'attached to ztunnel');
  const attributes = [...l7].sort().join(', ');
  const needs = `ztunnel does not see HTTP attributes (${attributes}); target the policy at a waypoint to use them`;
  const total = policy.spec.rules?.length ?? 0;
  if (policy.spec.action === 'ALLOW') {
    const dropped = total - rules.length;
    const effect =
      rules.length === 0
        ? 'no rule is left, so the policy allows nothing'
        : `${dropped} of ${total} rules are left out and allow nothing`;
    return accepted('True', 'UnsupportedValue', `${needs}. Until then ${effect}`);
  }
  const everything = rules.some(({ clauses }) => clauses.length === 0);
  const effect = everything
    ? 'a rule with these attributes alone denies every connection to the selected workloads'
    : 'these attributes are left out, so that more is denied than asked for';
  return accepted('True', 'UnsupportedValue', `${needs}. Until then ${effect}`);
}

function accepted(status: Condition['status'], reason: string, message: string): Condition {
  return { type: 'ZtunnelAccepted', status, reason, message };
}

/** A rule of L4 attributes; where L7 ones stood, everything matches, so that a DENY is never narrower than asked for. */
function translateRule(
  rule: AuthorizationRule,
  namespace: string,
  settings: MeshSettings,
): PolicyRule {
  const clauses = [
    clauseOf((rule.to ?? []).map(({ operation }) => operationMatch(operation))),
    clauseOf((rule.from ?? []).map(({ source }) => sourceMatch(source, namespace, settings))),
    ...rule.when.map((condition) => clauseOf([conditionMatch(condition, namespace, settings)])),
  ];
  return { clauses: clauses.filter((clause) => clause !== undefined) };
}

/** ORed matches. One that asks for nothing holds for everything, and then so does the clause: it is left out. */
function clauseOf(matches: readonly PolicyMatch[]): PolicyClause | undefined {
  if (matches.length === 0 || matches.some(isEmptyMatch)) return undefined;
  return { matches };
}

function isEmptyMatch(match: PolicyMatch): boolean {
  return Object.values(match).every((values) => values.length === 0);
}

function operationMatch(operation: AuthorizationOperation | undefined): PolicyMatch {
  if (operation === undefined) return EMPTY_MATCH;
  return {
    ...EMPTY_MATCH,
    destinationPorts: operation.ports.map(Number),
    notDestinationPorts: operation.notPorts.map(Number),
  };
}

function sourceMatch(
  source: AuthorizationSource | undefined,
  namespace: string,
  settings: MeshSettings,
): PolicyMatch {
  if (source === undefined) return EMPTY_MATCH;
  return {
    ...EMPTY_MATCH,
    namespaces: source.namespaces.map(stringMatch),
    notNamespaces: source.notNamespaces.map(stringMatch),
    principals: source.principals.flatMap((value) => principalMatches(value, settings)),
    notPrincipals: source.notPrincipals.flatMap((value) => principalMatches(value, settings)),
    serviceAccounts: source.serviceAccounts.map((value) => accountMatch(value, namespace)),
    notServiceAccounts: source.notServiceAccounts.map((value) => accountMatch(value, namespace)),
    sourceIps: source.ipBlocks.map(parseCidr),
    notSourceIps: source.notIpBlocks.map(parseCidr),
  };
}

type ConditionReader = (
  values: readonly string[],
  notValues: readonly string[],
  settings: MeshSettings,
  namespace: string,
) => Partial<PolicyMatch>;

/** The `when` keys that L4 knows. */
const L4_KEYS: ReadonlyMap<string, ConditionReader> = new Map<string, ConditionReader>([
  ['source.ip', (is, not) => ({ sourceIps: is.map(parseCidr), notSourceIps: not.map(parseCidr) })],
  [
    'source.namespace',
    (is, not) => ({ namespaces: is.map(stringMatch), notNamespaces: not.map(stringMatch) }),
  ],
  [
    'source.principal',
    (is, not, settings) => ({
      principals: is.flatMap((value) => principalMatches(value, settings)),
      notPrincipals: not.flatMap((value) => principalMatches(value, settings)),
    }),
  ],
  [
    'source.serviceAccount',
    (is, not, _, namespace) => ({
      serviceAccounts: is.map((value) => accountMatch(value, namespace)),
      notServiceAccounts: not.map((value) => accountMatch(value, namespace)),
    }),
  ],
  [
    'destination.ip',
    (is, not) => ({ destinationIps: is.map(parseCidr), notDestinationIps: not.map(parseCidr) }),
  ],
  [
    'destination.port',
    (is, not) => ({ destinationPorts: is.map(Number), notDestinationPorts: not.map(Number) }),
  ],
]);

function conditionMatch(
  condition: AuthorizationCondition,
  namespace: string,
  settings: MeshSettings,
): PolicyMatch {
  const read = L4_KEYS.get(condition.key);
  if (read === undefined) return EMPTY_MATCH;
  return { ...EMPTY_MATCH, ...read(condition.values, condition.notValues, settings, namespace) };
}

/** `*`, `*suffix`, `prefix*` or the text itself. */
export function stringMatch(value: string): StringMatch {
  if (value === '*') return { kind: 'presence' };
  if (value.startsWith('*')) return { kind: 'suffix', value: value.slice(1) };
  if (value.endsWith('*')) return { kind: 'prefix', value: value.slice(0, -1) };
  return { kind: 'exact', value };
}

/** A principal of this mesh matches under each of its trust domain's names; `cluster.local` always means this mesh's. */
export function principalMatches(value: string, settings: MeshSettings): StringMatch[] {
  const names: string[] = [settings.trustDomain, ...settings.trustDomainAliases];
  const slash = value.indexOf('/');
  const domain = value.slice(0, Math.max(0, slash));
  const own = names.includes(domain) || domain === 'cluster.local';
  if (slash < 0 || !own) return [stringMatch(value)];
  return [...new Set(names)].map((name) => stringMatch(`${name}${value.slice(slash)}`));
}

export function accountMatch(value: string, namespace: string): ServiceAccountMatch {
  const slash = value.indexOf('/');
  if (slash < 0) return { namespace, serviceAccount: value };
  return { namespace: value.slice(0, slash), serviceAccount: value.slice(slash + 1) };
}
