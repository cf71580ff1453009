import { formatSocketAddress } from '../base/address.ts';
import { formatAuthority } from '../mesh/hbone/authority.ts';
import type { ServiceBackendPolicy } from '../mesh/model/backend-policy.ts';
import type {
  BackendExplanation,
  ExplainStep,
  NextHop,
  RequestExplanation,
} from '../mesh/model/explain.ts';
import type { BackendTarget } from '../mesh/model/http-filter.ts';
import type { HttpBackend, HttpRule, TcpRoute } from '../mesh/model/http-route.ts';
import type { SpiffeId } from '../mesh/model/identity.ts';
import { HBONE_PORT } from '../mesh/model/ports.ts';
import type { Workload } from '../mesh/model/workload.ts';
import { keyOfService } from '../mesh/proxy/state/vips.ts';
import type { WaypointStore } from '../mesh/proxy/state/waypoint-store.ts';
import type { HeaderList } from '../net/h2/headers.ts';
import type { Endpoint } from './balance/endpoint.ts';
import type { Downstream } from './downstream.ts';
import { conditionOf } from './endpoint-report.ts';
import { filterRequest } from './filters/chain.ts';
import type { RouteMatch } from './match.ts';
import { normalizePath } from './normalize-path.ts';
import type { RequestHead } from './request-head.ts';
import { compileRule } from './routing.ts';
import type { Security, SecurityExplanation } from './security.ts';
import { placeOf, type TargetBackend } from './upstream/target-backend.ts';
import type { UpstreamTargets } from './upstream/targets.ts';
import { describeTls } from './upstream/tls.ts';

/* What explanations of waypoints and of gateways have in common: from policy on, both do the same. */

/** A request that nobody has sent. */
export type RequestQuestion = Readonly<{
  /** The client's address. */
  source: string;
  identity: string | undefined;
  /** Of the tunnel, or of the gateway: `<ip>:<port>`. */
  target: string;
  method: string;
  /** With the query. */
  path: string;
  headers: readonly (readonly [name: string, value: string])[];
}>;

export type StoryParts = Readonly<{
  store: WaypointStore;
  targets: Pick<UpstreamTargets, 'backend'>;
  /** This proxy. */
  self: Readonly<{
    name: string;
    namespace: string;
    identity: SpiffeId;
    workload: Workload | undefined;
  }>;
}>;

export type Outcome = RequestExplanation['outcome'];

/** What is told, while it is found out. */
export type Story = {
  readonly steps: ExplainStep[];
  backends: readonly BackendExplanation[];
  next?: NextHop;
};

/** How a request would be read: the list that a head is made of. */
export function askedHead(
  { method, path, headers }: RequestQuestion,
  scheme: string,
  authority: string,
): HeaderList {
  return [
    ...[':method', method, ':scheme', scheme, ':authority', authority, ':path', path],
    ...headers.filter(([name]) => name !== 'host').flat(),
  ];
}

/** What normalises and judges a request before it is routed. @returns how it ends there, if it does. */
export function explainAdmission(
  security: Pick<Security, 'explain' | 'settings'>,
  head: RequestHead,
  downstream: Downstream,
  steps: ExplainStep[],
): Outcome | undefined {
  const normal = normalizePath(head.path, security.settings.paths);
  if (normal.kind === 'refused')
    return { kind: 'refuse', status: 400, reason: 'the path has no normal form' };
  if (normal.target !== head.path) steps.push({ step: 'path', found: normal.target });
  head.path = normal.target;
  return explainSecurity(security.explain({ head, downstream }), steps);
}

function explainSecurity(
  found: SecurityExplanation | undefined,
  steps: ExplainStep[],
): Outcome | undefined {
  if (found === undefined)
    return { kind: 'refuse', status: 503, reason: 'the policies of its target have not arrived' };
  const { policies, custom, verifiesTokens, decision } = found;
  const names = policies.map(
    ({ key, action, dryRun }) => `${key} (${action.kind}${dryRun ? ', dry run' : ''})`,
  );
  steps.push({ step: 'policies', found: names.length === 0 ? 'none' : names.join(', ') });
  if (custom.kind === 'deny')
    return { kind: 'refuse', status: 403, reason: custom.reason, ...custom.by };
  for (const { policy, authorizer } of custom.authorizers)
    steps.push({ step: 'would ask', found: `${authorizer.name}, as ${policy} says` });
  if (verifiesTokens)
    steps.push({ step: 'tokens', found: 'would be verified; here there is none that counts' });
  for (const { policy, rule, action } of decision.dryRun)
    steps.push({ step: 'dry run', found: `${policy}, rule ${rule}, would ${action}` });
  steps.push({ step: 'policy', found: decision.reason });
  return decision.kind === 'allow'
    ? undefined
    : { kind: 'refuse', status: 403, reason: decision.reason, ...decision.by };
}

/** What becomes of a request by the rule that was found for it; `undefined`: none matches. */
export function explainRule(
  parts: StoryParts,
  found: RouteMatch | undefined,
  head: RequestHead,
  { version, local }: Downstream,
  story: Story,
): Outcome {
  if (found === undefined) return { kind: 'answer', status: 404, reason: 'no rule matches' };
  const { rule, prefix } = found;
  story.steps.push({ step: 'rule', found: rule.name }, ...describeRule(rule));
  const answers = rule.filters.find(({ kind }) => kind === 'redirect' || kind === 'respond');
  const forwarded = (backend: HttpBackend): HeaderList =>
    afterFilters(rule, backend, head.list, local.port, prefix);
  explainBackends(parts, rule.backends, version, forwarded, story);
  if (answers === undefined) return forwardTo(story.backends);
  delete story.next;
  return { kind: 'answer', reason: `filter ${answers.kind} of ${rule.name} answers` };
}

/** What becomes of the bytes of a connection. */
export function explainConnectionRoute(
  parts: StoryParts,
  { name, backends }: TcpRoute,
  head: RequestHead,
  story: Story,
): Outcome {
  const asHttp = backends.map((backend): HttpBackend => ({ ...backend, filters: [] }));
  explainBackends(parts, asHttp, 'HTTP/1.1', () => head.list, story);
  const { kind, reason } = forwardTo(story.backends);
  return kind === 'forward'
    ? { kind: 'bytes', reason: `${name} routes bytes, in which no request is seen, ${reason}` }
    : { kind: 'refuse', reason };
}

/** Tells of every backend, and where the first that can be used leads. */
export function explainBackends(
  parts: StoryParts,
  backends: readonly HttpBackend[],
  version: Downstream['version'],
  forwarded: (backend: HttpBackend) => HeaderList,
  story: Story,
): void {
  story.backends = backends.map((backend) => explainBackend(parts, backend, version));
  for (const backend of backends) {
    if (backend.weight === 0 || backend.target === undefined) continue;
    const found = parts.targets.backend(backend.target, version);
    const next = 'problem' in found ? undefined : nextHop(parts, found, () => forwarded(backend));
    if (next === undefined) continue;
    story.next = next;
    return;
  }
}

/** Where a request goes on to, as the filters of its rule and of its backend leave it. */
function afterFilters(
  rule: HttpRule,
  backend: HttpBackend,
  received: HeaderList,
  port: number,
  prefix: string,
): HeaderList {
  const { chain, backends } = compileRule(rule);
  let headers = received;
  for (const each of [chain, backends.get(backend)]) {
    const outcome = each && filterRequest(each, headers, port, prefix);
    if (outcome?.kind === 'forward') ({ headers } = outcome);
  }
  return headers;
}

function nextHop(
  { self }: StoryParts,
  backend: TargetBackend,
  forwarded: () => HeaderList,
): NextHop | undefined {
  const endpoint = backend.endpoints().find(({ state }) => state.available);
  const [ownIp] = self.workload?.addresses ?? [];
  if (endpoint === undefined || ownIp === undefined) return undefined;
  const { workload, address, text, identity, through } = placeOf(
    ...([endpoint, backend.service, backend.tls, backend.through] as const),
  );
  const shared = {
    ...{ workload: workload.uid, node: workload.node },
    source: { ip: ownIp, identity: self.identity },
    request: requestOf(forwarded()),
  };
  if (through !== undefined)
    return {
      ...{ ...shared, via: 'waypoint', connectTo: text },
      authority: formatAuthority(through.authority),
    };
  if (identity === undefined) return { ...shared, via: 'plain', connectTo: text };
  const connectTo = formatSocketAddress({ ip: address.ip, port: HBONE_PORT });
  return { ...shared, via: 'direct', connectTo, authority: text };
}

function requestOf(list: HeaderList): NextHop['request'] {
  const fields = new Map<string, string>();
  const headers: [string, string][] = [];
  for (let index = 0; index < list.length; index += 2) {
    const [name = '', value = ''] = list.slice(index, index + 2);
    if (name.startsWith(':')) fields.set(name, value);
    else headers.push([name, value]);
  }
  return {
    ...{ method: fields.get(':method') ?? '', path: fields.get(':path') ?? '' },
    headers: [['host', fields.get(':authority') ?? ''], ...headers],
  };
}

function describeRule({ filters, timeoutMs, retry, sessionPersistence }: HttpRule): ExplainStep[] {
  return [
    ...(filters.length === 0
      ? []
      : [{ step: 'filters', found: filters.map(({ kind }) => kind).join(', ') }]),
    ...(timeoutMs === undefined ? [] : [{ step: 'timeout', found: `${timeoutMs} ms` }]),
    ...(retry === undefined
      ? []
      : [{ step: 'retries', found: `${retry.attempts} on ${retry.conditions.join(', ')}` }]),
    ...(sessionPersistence === undefined
      ? []
      : [{ step: 'session', found: `by ${sessionPersistence.kind} ${sessionPersistence.name}` }]),
  ];
}

/** @param backends of the rule. */
export function forwardTo(backends: readonly BackendExplanation[]): Outcome {
  const usable = backends.filter(({ weight }) => weight > 0);
  if (usable.length === 0)
    return { kind: 'answer', status: 500, reason: 'the rule has no backend' };
  const good = usable.filter(
    ({ problem, endpoints }) =>
      problem === undefined && endpoints.some(({ state }) => state === 'available'),
  );
  const names = good.map(({ backend }) => backend).join(', ');
  if (good.length === 0) {
    const [first] = usable;
    const status = first?.problem === undefined ? 503 : 500;
    return { kind: 'answer', status, reason: first?.problem ?? 'no endpoint is available' };
  }
  const lost = usable.length - good.length;
  const rest = lost === 0 ? '' : `; ${lost} of its backends answer with an error`;
  return { kind: 'forward', reason: `to ${names}${rest}` };
}

function explainBackend(
  { targets, store }: StoryParts,
  { target, weight, problem }: HttpBackend,
  version: Downstream['version'],
): BackendExplanation {
  if (target === undefined)
    return { backend: 'unusable', weight, problem: problem ?? 'unknown', endpoints: [] };
  const backend = nameOf(target);
  const found = targets.backend(target, version);
  const written = store.config(target.service).backend;
  const policy = written && describePolicy(written);
  const about = { backend, weight, ...(policy !== undefined && { policy }) };
  if ('problem' in found) return { ...about, problem: found.reason, endpoints: [] };
  const { tls, through } = found;
  return {
    ...{ ...about, ...(tls && { tls: describeTls(tls) }) },
    ...(through && { waypoint: keyOfService(through.waypoint) }),
    endpoints: found.endpoints().map(describeEndpoint),
  };
}

function describePolicy(written: ServiceBackendPolicy): string {
  const { policy, healthCheck, adaptiveConcurrency, fallback, retries } = written;
  const parts = [
    healthCheck && `checked by ${healthCheck.probe.kind} every ${healthCheck.intervalMs} ms`,
    adaptiveConcurrency && `at most ${adaptiveConcurrency.maxConcurrency} requests, by latency`,
    fallback && `falls back to ${nameOf(fallback)}`,
    retries?.hedges === true && 'hedges slow tries',
  ];
  return `${policy}: ${parts.filter((part) => typeof part === 'string').join(', ')}`;
}

function nameOf({ service, port, subset }: BackendTarget): string {
  return `${service}:${port}${subset === undefined ? '' : ` (subset ${subset})`}`;
}

function describeEndpoint(endpoint: Endpoint): BackendExplanation['endpoints'][number] {
  const { workload, port } = endpoint;
  const [ip] = workload.addresses;
  return {
    workload: workload.uid,
    address: ip === undefined ? `${workload.hostname}:${port}` : formatSocketAddress({ ip, port }),
    state: conditionOf(endpoint),
  };
}
