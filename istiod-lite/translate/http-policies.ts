import { parseCidr } from '../../base/address.ts';
import type { Gateway } from '../../mesh/kubernetes/gateway.ts';
import { ALLOW_HEADER_UNDERSCORES, XFCC_CLIENT_IDENTITY } from '../../mesh/kubernetes/labels.ts';
import type { ObjectBase } from '../../mesh/kubernetes/object.ts';
import type { ObjectOf } from '../../mesh/kubernetes/resources.ts';
import type {
  AuthorizationCondition,
  AuthorizationOperation,
  AuthorizationPolicy,
  AuthorizationRule,
  AuthorizationSource,
} from '../../mesh/kubernetes/security.ts';
import { labelsMatch, type Labels } from '../../mesh/kubernetes/selector.ts';
import type { StringMatch } from '../../mesh/model/authorization.ts';
import { policyKey } from '../../mesh/model/authorization.ts';
import type {
  HttpCondition,
  HttpMatch,
  HttpPolicy,
  HttpPolicyAction,
  HttpRule,
  TextAttribute,
} from '../../mesh/model/http-policy.ts';
import { isPathTemplate, type PathTemplate } from '../../mesh/model/path-template.ts';
import { canonicalPercentEncoding } from '../../mesh/model/percent-encoding.ts';
import { serviceKey } from '../../mesh/model/service.ts';
import {
  gatewayTarget,
  serviceTarget,
  type TargetSecurity,
} from '../../mesh/model/target-security.ts';
import type { Picture } from '../snapshot.ts';
import type { Authorizers } from './authorizers.ts';
import { meshConfigOf } from './mesh-config.ts';
import { accountMatch, isDryRun, principalMatches, stringMatch } from './policies.ts';
import { serviceHostname } from './names.ts';
import { ofGatewayOrClass } from './waypoint-gateways.ts';
import { translateRequestAuthentication } from './request-authentication.ts';
import type { MeshSettings } from './settings.ts';

/** What is attached to the service of that host: to the Service, and to every ServiceEntry of the namespace that has it. */
export function securityOfService(
  picture: Picture,
  settings: MeshSettings,
  namespace: string,
  host: string,
): TargetSecurity {
  const targets = [...picture.entriesOfHost(host)]
    .filter(({ ref }) => ref.namespace === namespace)
    .map(({ ref }) => ({ kind: 'ServiceEntry', name: ref.name }));
  const [name = ''] = host.split('.');
  if (serviceHostname(namespace, name, settings) === host) targets.push({ kind: 'Service', name });
  const attached = <K extends Enforced>(kind: K): readonly ObjectOf<K>[] =>
    targets.flatMap((target) => [...picture.targetingPolicies(kind, namespace, target)]);
  const key = serviceKey(namespace, host);
  return { target: serviceTarget(key), ...translateAll(picture, attached, settings) };
}

/** The pods of a gateway, for policies that are attached to pods: nothing else stands before them to enforce any. */
export type GatewayPods = Readonly<{
  /** By which they know themselves. */
  account: string;
  labels: readonly Labels[];
}>;

/**
 * What is attached to a waypoint or gateway: to its Gateway, to its GatewayClass by the root namespace, and to the pods of a
 * gateway by their labels, their namespace or the whole mesh. The pods of waypoints have these of their ztunnel.
 */
export function securityOfGateway(
  picture: Picture,
  settings: MeshSettings,
  gateway: Gateway,
  pods?: GatewayPods,
): TargetSecurity {
  const { namespace, name } = gateway.ref;
  const ofClass = { kind: 'GatewayClass', name: gateway.spec.gatewayClassName };
  const attached = <K extends Enforced>(kind: K): readonly ObjectOf<K>[] => [
    ...picture.targetingPolicies(kind, namespace, { kind: 'Gateway', name }),
    ...picture.targetingPolicies(kind, settings.rootNamespace, ofClass),
    ...policiesOfPods(picture, settings, kind, namespace, pods),
  ];
  return {
    target: gatewayTarget(namespace, pods?.account ?? name),
    ...translateAll(picture, attached, settings),
    ...waypointSettings(picture, settings, gateway),
  };
}

/** The kinds of policies that waypoints and gateways enforce. */
type Enforced = 'AuthorizationPolicy' | 'RequestAuthentication';

/** Those without a target: of the namespace or the whole mesh, for all pods there or for those with some labels. */
function policiesOfPods<K extends Enforced>(
  picture: Picture,
  settings: MeshSettings,
  kind: K,
  namespace: string,
  pods: GatewayPods | undefined,
): readonly ObjectOf<K>[] {
  if (pods === undefined) return [];
  const namespaces = new Set([namespace, settings.rootNamespace]);
  return [...namespaces].flatMap((each) =>
    [...picture.list<K>(kind, each)].filter((policy: Selecting) => {
      if (policy.spec.targetRef !== undefined || policy.spec.targetRefs.length > 0) return false;
      const wanted = policy.spec.selector?.matchLabels;
      return wanted === undefined || pods.labels.some((own) => labelsMatch(wanted, own));
    }),
  );
}

type Selecting = Readonly<{
  spec: Readonly<{
    targetRef?: unknown;
    targetRefs: readonly unknown[];
    selector?: Readonly<{ matchLabels: Labels }> | undefined;
  }>;
}>;

/** From MeshConfig, and from annotations of the Gateway or its class; nothing where all is strict. */
function waypointSettings(
  picture: Picture,
  settings: MeshSettings,
  gateway: Gateway,
): Pick<TargetSecurity, 'settings'> {
  const isSet = (annotation: string): boolean =>
    ofGatewayOrClass(picture, gateway, 'annotations', annotation) === 'true';
  const { pathNormalization: paths, trustedProxies } = meshConfigOf(picture, settings);
  const allowUnderscores = isSet(ALLOW_HEADER_UNDERSCORES);
  const tellClientIdentity = isSet(XFCC_CLIENT_IDENTITY);
  const isStrict = paths === 'STRICT' && trustedProxies === 0;
  if (isStrict && !allowUnderscores && !tellClientIdentity) return {};
  return { settings: { paths, trustedProxies, allowUnderscores, tellClientIdentity } };
}

function translateAll(
  picture: Picture,
  attached: <K extends Enforced>(kind: K) => readonly ObjectOf<K>[],
  settings: MeshSettings,
): Omit<TargetSecurity, 'target'> {
  return {
    policies: byKey(attached('AuthorizationPolicy')).map((policy) => {
      const isCustom = policy.spec.action === 'CUSTOM';
      return translateHttpPolicy(
        policy,
        settings,
        isCustom ? meshConfigOf(picture, settings).authorizers : undefined,
      );
    }),
    authentications: byKey(attached('RequestAuthentication')).map((each) =>
      translateRequestAuthentication(each, (source) => picture.keysOf(source)),
    ),
  };
}

/** Each once, in the order in which they are told and named as reasons. */
function byKey<T extends ObjectBase>(objects: readonly T[]): readonly T[] {
  return [...new Set(objects)].sort((a, b) => (a.key < b.key ? -1 : 1));
}

/** A policy as a waypoint enforces it. What it cannot look at allows nothing, and denies whatever it is. */
export function translateHttpPolicy(
  policy: AuthorizationPolicy,
  settings: MeshSettings,
  authorizers?: Authorizers,
): HttpPolicy {
  const { spec, ref } = policy;
  const rules = (spec.rules ?? []).flatMap((rule) => {
    if (spec.action === 'ALLOW' && unknownAttributesOf(rule).length > 0) return [];
    return [translateRule(rule, ref.namespace, settings)];
  });
  return {
    key: policyKey(ref.namespace, ref.name),
    action: actionOf(policy, authorizers),
    dryRun: isDryRun(policy),
    rules,
  };
}

/** The attributes of a rule that a waypoint cannot look at: those of Envoy's own filters. */
export function unknownAttributesOf(rule: AuthorizationRule): readonly string[] {
  return rule.when.map(({ key }) => key).filter((key) => conditionReader(key) === undefined);
}

function actionOf({ spec }: AuthorizationPolicy, authorizers?: Authorizers): HttpPolicyAction {
  if (spec.action !== 'CUSTOM') return { kind: spec.action };
  const name = spec.provider?.name ?? '';
  const authorizer = authorizers?.get(name) ?? { problem: unknownProvider(name) };
  return 'problem' in authorizer
    ? { kind: 'CUSTOM', ...authorizer }
    : { kind: 'CUSTOM', authorizer };
}

function unknownProvider(name: string): string {
  return `the mesh has no external authorizer ${JSON.stringify(name)}`;
}

function translateRule(
  rule: AuthorizationRule,
  namespace: string,
  settings: MeshSettings,
): HttpRule {
  const clauses = [
    (rule.from ?? []).map(({ source }) => sourceMatch(source, namespace, settings)),
    (rule.to ?? []).map(({ operation }) => operationMatch(operation)),
    ...rule.when.map((condition) => [conditionMatch(condition, namespace, settings)]),
  ];
  return {
    clauses: clauses
      // A match that asks for nothing holds for everything, and then so does its clause.
      .filter((matches) => matches.every(({ conditions }) => conditions.length > 0))
      .filter((matches) => matches.length > 0)
      .map((matches) => ({ matches })),
  };
}

type Texts = readonly string[];

function texts(attribute: TextAttribute, is: Texts, not: Texts): HttpCondition {
  return { attribute, values: is.map(stringMatch), notValues: not.map(stringMatch) };
}

function principals(is: Texts, not: Texts, settings: MeshSettings): HttpCondition {
  const read = (value: string): StringMatch[] => principalMatches(value, settings);
  return { attribute: 'source.principal', values: is.flatMap(read), notValues: not.flatMap(read) };
}

function accounts(is: Texts, not: Texts, namespace: string): HttpCondition {
  const read = (value: string): ReturnType<typeof accountMatch> => accountMatch(value, namespace);
  return { attribute: 'source.serviceAccount', values: is.map(read), notValues: not.map(read) };
}

function networks(
  attribute: 'source.ip' | 'remote.ip' | 'destination.ip',
  is: Texts,
  not: Texts,
): HttpCondition {
  return { attribute, values: is.map(parseCidr), notValues: not.map(parseCidr) };
}

function trustDomains(is: Texts, not: Texts, settings: MeshSettings): HttpCondition {
  const names = new Set<string>([settings.trustDomain, ...settings.trustDomainAliases]);
  const read = (value: string): StringMatch[] =>
    names.has(value) || value === 'cluster.local'
      ? [...names].map((name) => ({ kind: 'exact', value: name }))
      : [stringMatch(value)];
  return {
    attribute: 'source.trustDomain',
    values: is.flatMap(read),
    notValues: not.flatMap(read),
  };
}

function sourceMatch(
  source: AuthorizationSource | undefined,
  namespace: string,
  settings: MeshSettings,
): HttpMatch {
  if (source === undefined) return { conditions: [] };
  return matchOf([
    texts('source.namespace', source.namespaces, source.notNamespaces),
    principals(source.principals, source.notPrincipals, settings),
    trustDomains(source.trustDomains, source.notTrustDomains, settings),
    accounts(source.serviceAccounts, source.notServiceAccounts, namespace),
    networks('source.ip', source.ipBlocks, source.notIpBlocks),
    networks('remote.ip', source.remoteIpBlocks, source.notRemoteIpBlocks),
    texts('request.auth.principal', source.requestPrincipals, source.notRequestPrincipals),
  ]);
}

function operationMatch(operation: AuthorizationOperation | undefined): HttpMatch {
  if (operation === undefined) return { conditions: [] };
  const { hosts, notHosts, paths, notPaths, ports, notPorts } = operation;
  return matchOf([
    texts('request.host', hosts.map(canonicalHost), notHosts.map(canonicalHost)),
    texts('request.method', operation.methods, operation.notMethods),
    { attribute: 'request.path', values: paths.map(pathMatch), notValues: notPaths.map(pathMatch) },
    { attribute: 'destination.port', values: ports.map(Number), notValues: notPorts.map(Number) },
  ]);
}

function matchOf(conditions: readonly HttpCondition[]): HttpMatch {
  return {
    conditions: conditions.filter(({ values, notValues }) => values.length + notValues.length > 0),
  };
}

/** As requests name hosts: in lower case, without the dot at the end of a name. */
function canonicalHost(host: string): string {
  const lower = host.toLowerCase();
  return lower.length > 1 && lower.endsWith('.') ? lower.slice(0, -1) : lower;
}

function pathMatch(path: string): StringMatch | PathTemplate {
  // As requests have it: a rule about "/%61dmin" is one about "/admin".
  const canonical = canonicalPercentEncoding(path);
  return isPathTemplate(canonical)
    ? { kind: 'template', value: canonical }
    : stringMatch(canonical);
}

type ReadCondition = (
  is: Texts,
  not: Texts,
  namespace: string,
  settings: MeshSettings,
) => HttpCondition;

const PLAIN_KEYS: ReadonlyMap<string, ReadCondition> = new Map<string, ReadCondition>([
  ['source.ip', (is, not) => networks('source.ip', is, not)],
  ['remote.ip', (is, not) => networks('remote.ip', is, not)],
  ['destination.ip', (is, not) => networks('destination.ip', is, not)],
  ['source.serviceAccount', (is, not, namespace) => accounts(is, not, namespace)],
  ['source.principal', (is, not, _, settings) => principals(is, not, settings)],
  ['source.trustDomain', (is, not, _, settings) => trustDomains(is, not, settings)],
  [
    'destination.port',
    (is, not) => ({
      attribute: 'destination.port',
      values: is.map(Number),
      notValues: not.map(Number),
    }),
  ],
  ...(
    [
      ...['source.namespace', 'request.auth.principal', 'request.auth.audiences'],
      ...['request.auth.presenter', 'connection.sni'],
    ] as const
  ).map((key): [string, ReadCondition] => [key, (is, not) => texts(key, is, not)]),
]);

function conditionReader(key: string): ReadCondition | undefined {
  const plain = PLAIN_KEYS.get(key);
  if (plain !== undefined) return plain;
  const [, attribute, brackets = ''] =
    /^(request\.headers|request\.auth\.claims)((?:\[[^[\]]+\])+)$/.exec(key) ?? [];
  const path = [...brackets.matchAll(/\[([^[\]]+)\]/g)].map(([, part = '']) => part);
  const [name = ''] = path;
  const values = (
    is: Texts,
    not: Texts,
  ): Readonly<{ values: StringMatch[]; notValues: StringMatch[] }> => ({
    values: is.map(stringMatch),
    notValues: not.map(stringMatch),
  });
  if (attribute === 'request.headers' && path.length === 1)
    return (is, not) => ({ attribute, name: headerName(name), ...values(is, not) });
  if (attribute === 'request.auth.claims')
    return (is, not) => ({ attribute, claim: path, ...values(is, not) });
  return undefined;
}

/** As requests have it: what HTTP/1.1 calls Host is a pseudo-header field in the common form. */
function headerName(name: string): string {
  const lower = name.toLowerCase();
  return lower === 'host' ? ':authority' : lower;
}

function conditionMatch(
  { key, values, notValues }: AuthorizationCondition,
  namespace: string,
  settings: MeshSettings,
): HttpMatch {
  const read = conditionReader(key);
  if (read === undefined) return { conditions: [] };
  return matchOf([read(values, notValues, namespace, settings)]);
}
