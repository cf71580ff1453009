import { serviceKey } from '../../mesh/model/service.ts';
import type {
  ServiceTrafficPolicy,
  Subset,
  TrafficPolicy,
} from '../../mesh/model/traffic-policy.ts';
import type { DestinationRule } from '../../mesh/kubernetes/destination-rule.ts';
import { compareByAge, formatObject } from '../../mesh/kubernetes/object.ts';
import type { TrafficGroups, TrafficPolicySpec } from '../../mesh/kubernetes/traffic-policy.ts';
import type { Picture } from '../snapshot.ts';
import { isExported, mostExactHost, resolveHost } from './hosts.ts';
import { serviceOfHost } from './services.ts';
import type { Condition, MeshSettings } from './settings.ts';
import {
  ignoredFields,
  toTrafficPolicy,
  whyRefused,
  type EffectivePolicy,
} from './traffic-policy.ts';
import { toUpstreamTls, type TlsPlace } from './upstream-tls.ts';

/** A service, and the namespace of the waypoint that sends to it. */
export type TrafficTarget = Readonly<{
  namespace: string;
  hostname: string;
  waypointNamespace: string;
  /** Waypoints of other namespaces send to it too. */
  isShared?: boolean;
}>;

/**
 * What DestinationRules say of a service: those of the waypoint's namespace, else of the service's, else of the root namespace,
 * that are visible to the waypoint; the most exact host wins, rules of one host are read as one.
 *
 * @returns `undefined` where no rule says anything: DEFAULT_TRAFFIC_POLICY holds.
 */
export function findTrafficPolicy(
  picture: Picture,
  settings: MeshSettings,
  target: TrafficTarget,
): ServiceTrafficPolicy | undefined {
  const { namespace, hostname, waypointNamespace } = target;
  for (const from of new Set([waypointNamespace, namespace, settings.rootNamespace])) {
    const rules = [...picture.list('DestinationRule', from)].filter(
      (rule) => isUsed(rule) && isVisible(rule, waypointNamespace),
    );
    const host = mostExactHost(
      rules.map((rule) => hostOf(rule, settings)),
      hostname,
    );
    if (host === undefined) continue;
    const joined = join(rules.filter((rule) => hostOf(rule, settings) === host).sort(compareByAge));
    return toServicePolicy(joined, target, picture);
  }
  return undefined;
}

/** How much of a rule is done, for its status. */
export function destinationRuleCondition(
  picture: Picture,
  settings: MeshSettings,
  rule: DestinationRule,
): Condition {
  if (!isUsed(rule))
    return accepted('False', 'UnsupportedValue', 'spec.workloadSelector is not supported');
  const refused: string[] = [];
  const notes: string[] = [];
  const host = hostOf(rule, settings);
  // The Secrets are those of the waypoints; mostly these are in the namespace of the rule.
  const place = { picture, proxyNamespace: rule.ref.namespace, isShared: false, hostname: host };
  for (const [path, written] of policiesOf(rule)) {
    const why = whyRefused(written) ?? toUpstreamTls(written.tls, place).problem;
    if (why !== undefined) refused.push(`${path}: ${why}, so nothing is sent`);
    notes.push(...ignoredFields(written).map((field) => `${path}.${field} has no effect`));
  }
  notes.push(...conflicts(picture, settings, rule));
  const missing =
    !host.startsWith('*') &&
    serviceOfHost(picture, settings, host) === undefined &&
    [...picture.entriesOfHost(host)].length === 0;
  if (missing) notes.push(`no service has the host ${host}`);
  const message = [...refused, ...notes].join('; ');
  if (refused.length > 0) return accepted('False', 'UnsupportedValue', message);
  return accepted('True', notes.length > 0 ? 'PartiallyInvalid' : 'Accepted', message);
}

function accepted(status: Condition['status'], reason: string, message: string): Condition {
  return { type: 'halo.dev/Accepted', status, reason, message };
}

/** A rule for some clients only would apply to all clients of a waypoint. */
function isUsed({ spec }: DestinationRule): boolean {
  return (spec.workloadSelector?.matchLabels.size ?? 0) === 0;
}

function isVisible({ spec, ref }: DestinationRule, namespace: string): boolean {
  return isExported(spec.exportTo, ref.namespace, namespace);
}

function hostOf({ spec, ref }: DestinationRule, settings: MeshSettings): string {
  return resolveHost(spec.host, ref.namespace, settings);
}

type WrittenSubset = DestinationRule['spec']['subsets'][number];
type JoinedRules = Readonly<{
  policy: TrafficPolicySpec | undefined;
  subsets: readonly WrittenSubset[];
}>;

/** Rules of one host, the oldest first: the first policy, and of each name the first subset. */
function join(rules: readonly DestinationRule[]): JoinedRules {
  const subsets = new Map<string, WrittenSubset>();
  for (const { spec } of rules)
    for (const subset of spec.subsets)
      if (!subsets.has(subset.name)) subsets.set(subset.name, subset);
  const policy = rules.find(({ spec }) => spec.trafficPolicy !== undefined)?.spec.trafficPolicy;
  return { policy, subsets: [...subsets.values()] };
}

/** What of a rule another one, of the same host and older, has said before. */
function conflicts(picture: Picture, settings: MeshSettings, rule: DestinationRule): string[] {
  const host = hostOf(rule, settings);
  const notes: string[] = [];
  const older = [...picture.list('DestinationRule', rule.ref.namespace)]
    .filter((other) => isUsed(other) && hostOf(other, settings) === host)
    .filter((other) => compareByAge(other, rule) < 0)
    .sort(compareByAge);
  const { spec } = rule;
  const withPolicy = older.find((other) => other.spec.trafficPolicy !== undefined);
  if (spec.trafficPolicy !== undefined && withPolicy !== undefined)
    notes.push(`spec.trafficPolicy has no effect: ${formatObject(withPolicy.ref)} has one`);
  for (const { name } of spec.subsets) {
    const first = older.find((other) => other.spec.subsets.some((each) => each.name === name));
    if (first !== undefined)
      notes.push(`subset ${name} has no effect: ${formatObject(first.ref)} has one`);
  }
  return notes;
}

const NOTHING_WRITTEN: EffectivePolicy = {
  ...{ loadBalancer: undefined, connectionPool: undefined, outlierDetection: undefined },
  ...{ tls: undefined, tunnel: undefined, proxyProtocol: undefined, retryBudget: undefined },
};

function toServicePolicy(
  { policy, subsets }: JoinedRules,
  { namespace, hostname, waypointNamespace, isShared = false }: TrafficTarget,
  picture: Picture,
): ServiceTrafficPolicy {
  const place: TlsPlace = { picture, proxyNamespace: waypointNamespace, isShared, hostname };
  const service = policy ?? NOTHING_WRITTEN;
  const servicePorts = portPolicies(service, policy);
  return {
    service: serviceKey(namespace, hostname),
    policy: toTrafficPolicy(service, place),
    ports: translated(servicePorts, place),
    subsets: subsets.map(({ name, labels, trafficPolicy }): Subset => {
      if (trafficPolicy === undefined)
        return {
          ...{ name, labels, policy: toTrafficPolicy(service, place) },
          ports: translated(servicePorts, place),
        };
      // A port that the service sets apart is set apart in the subset too, with the subset's own groups over it.
      const ports = new Map(
        [...servicePorts].map(([port, written]) => [port, over(written, trafficPolicy)] as const),
      );
      const whole = over(service, trafficPolicy);
      for (const [port, written] of portPolicies(whole, trafficPolicy)) ports.set(port, written);
      return {
        ...{ name, labels, policy: toTrafficPolicy(whole, place) },
        ports: translated(ports, place),
      };
    }),
  };
}

function translated(
  ports: ReadonlyMap<number, EffectivePolicy>,
  place: TlsPlace,
): Map<number, TrafficPolicy> {
  return new Map([...ports].map(([port, written]) => [port, toTrafficPolicy(written, place)]));
}

/** Settings of a port replace all groups, so that what they leave out has its default. */
function portPolicies(
  whole: EffectivePolicy,
  policy: TrafficPolicySpec | undefined,
): Map<number, EffectivePolicy> {
  return new Map(
    (policy?.portLevelSettings ?? []).map(({ port, ...groups }) => [
      port.number,
      { ...whole, ...groups },
    ]),
  );
}

/** A subset's groups replace those of the service, each as a whole. */
function over(service: EffectivePolicy, subset: TrafficPolicySpec): EffectivePolicy {
  const groups: TrafficGroups = {
    loadBalancer: subset.loadBalancer ?? service.loadBalancer,
    connectionPool: subset.connectionPool ?? service.connectionPool,
    outlierDetection: subset.outlierDetection ?? service.outlierDetection,
    tls: subset.tls ?? service.tls,
  };
  const { tunnel, proxyProtocol, retryBudget } = subset;
  return {
    ...groups,
    tunnel: tunnel ?? service.tunnel,
    proxyProtocol: proxyProtocol ?? service.proxyProtocol,
    retryBudget: retryBudget ?? service.retryBudget,
  };
}

/** Everything in a rule that may be used as a policy, with its place. */
function* policiesOf({ spec }: DestinationRule): Iterable<readonly [string, EffectivePolicy]> {
  const places: (readonly [string, TrafficPolicySpec | undefined])[] = [
    ['spec.trafficPolicy', spec.trafficPolicy],
    ...spec.subsets.map(
      ({ trafficPolicy }, index) =>
        [`spec.subsets[${index}].trafficPolicy`, trafficPolicy] as const,
    ),
  ];
  for (const [path, policy] of places) {
    if (policy === undefined) continue;
    yield [path, policy];
    for (const [index, { port: _, ...groups }] of policy.portLevelSettings.entries())
      yield [`${path}.portLevelSettings[${index}]`, { ...NOTHING_WRITTEN, ...groups }];
  }
}
