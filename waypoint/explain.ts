import { formatSocketAddress, parseIpAddress, type SocketAddress } from '../base/address.ts';
import type { ServiceBackendPolicy } from '../mesh/model/backend-policy.ts';
import type { BackendExplanation, ExplainStep, RequestExplanation } from '../mesh/model/explain.ts';
import type { HttpBackend, HttpRule } from '../mesh/model/http-route.ts';
import { identityParts, parseSpiffeId } from '../mesh/model/identity.ts';
import type { BackendTarget } from '../mesh/model/http-filter.ts';
import type { Workload } from '../mesh/model/workload.ts';
import type { ProxyState } from '../mesh/proxy/state/store.ts';
import { keyOfService } from '../mesh/proxy/state/vips.ts';
import type { WaypointStore } from '../mesh/proxy/state/waypoint-store.ts';
import { admit, type Target } from './admit.ts';
import type { Endpoint } from './balance/endpoint.ts';
import { conditionOf } from './endpoint-report.ts';
import { Downstream } from './downstream.ts';
import { normalizePath } from './normalize-path.ts';
import { RequestHead } from './request-head.ts';
import { routesFor, type CompiledPort } from './routing.ts';
import type { Security, SecurityExplanation } from './security.ts';
import { protocolOf, type UpstreamTargets } from './upstream/targets.ts';
import { describeTls } from './upstream/tls.ts';

/** A request that nobody has sent. */
export type RequestQuestion = Readonly<{
  /** The client's address. */
  source: string;
  identity: string | undefined;
  /** Of the tunnel: `<ip>:<port>`. */
  target: string;
  method: string;
  /** With the query. */
  path: string;
  headers: readonly (readonly [name: string, value: string])[];
}>;

export type ExplainParts = Readonly<{
  state: ProxyState;
  store: WaypointStore;
  security: Pick<Security, 'explain'>;
  targets: Pick<UpstreamTargets, 'backend'>;
  /** This waypoint. */
  self: Readonly<{ name: string; namespace: string; workload: Workload | undefined }>;
  network: string;
}>;

type Outcome = RequestExplanation['outcome'];
type Story = { readonly steps: ExplainStep[]; backends: readonly BackendExplanation[] };

/**
 * What would become of a request now, by the functions and the state that requests are served with. Nothing is sent, and nobody is
 * asked: authorizers are named, and tokens are not verified.
 *
 * @throws {MeshError} for what is no address, identity or head.
 */
export function explainRequest(parts: ExplainParts, question: RequestQuestion): RequestExplanation {
  const { source, identity, target, method, path, headers } = question;
  const story: Story = { steps: [], backends: [] };
  const authority = headers.find(([name]) => name === 'host')?.[1] ?? target;
  const outcome = decide(parts, question, authority, story);
  return {
    direction: 'waypoint',
    waypoint: `${parts.self.namespace}/${parts.self.name}`,
    source: { ip: source, identity: identity ?? '' },
    request: `${method} ${authority}${path}`,
    ...story,
    outcome,
  };
}

function decide(
  parts: ExplainParts,
  question: RequestQuestion,
  authority: string,
  story: Story,
): Outcome {
  const { state, store, self, network } = parts;
  const { steps } = story;
  const admission = admit(state, {
    ...{ method: 'CONNECT', authority: question.target, self: self.workload, network },
  });
  if (admission.kind === 'refuse')
    return { kind: 'refuse', reason: admission.reason, status: admission.status };
  const { target } = admission;
  steps.push({ step: 'target', found: describeTarget(target) });
  const downstream = downstreamOf(parts, question, target);
  const port = target.port;
  const service = target.kind === 'service' ? target.service : undefined;
  const protocol = service === undefined ? 'UNKNOWN' : protocolOf(service, port);
  steps.push({ step: 'protocol', found: protocol.toLowerCase() });
  if (protocol === 'TCP' || protocol === 'TLS')
    return { kind: 'bytes', reason: `port ${port} carries bytes, in which no request is seen` };

  const head = new RequestHead(
    [
      ...[':method', question.method, ':scheme', 'http', ':authority', authority],
      ...[':path', question.path],
      ...question.headers.filter(([name]) => name !== 'host').flat(),
    ],
    downstream,
  );
  const normal = normalizePath(head.path, 'STRICT');
  if (normal.kind === 'refused')
    return { kind: 'refuse', status: 400, reason: 'the path has no normal form' };
  if (normal.target !== head.path) steps.push({ step: 'path', found: normal.target });
  head.path = normal.target;

  const refusal = explainSecurity(parts.security.explain({ head, downstream }), steps);
  if (refusal !== undefined) return refusal;

  const { identity } = downstream;
  const namespace = identity === undefined ? undefined : identityParts(identity).namespace;
  const config = service && store.config(keyOfService(service));
  const routes = config && routesFor(config, namespace, port);
  return routes === undefined
    ? explainPlain(parts, target, downstream, story)
    : explainRoutes(parts, routes, head, downstream, namespace, story);
}

function describeTarget(target: Target): string {
  return target.kind === 'service'
    ? `Service ${keyOfService(target.service)}, port ${target.port}`
    : `workload ${target.workload.uid}, port ${target.port}`;
}

function downstreamOf(
  { state, network }: ExplainParts,
  { source, identity }: RequestQuestion,
  target: Target,
): Downstream {
  const remote: SocketAddress = { ip: parseIpAddress(source), port: 0 };
  const { authority } = target;
  return new Downstream({
    ...{ version: 'HTTP/1.1', remote },
    local: authority.kind === 'address' ? authority.address : { ip: remote.ip, port: target.port },
    ...(identity !== undefined && { identity: parseSpiffeId(identity) }),
    workload: state.workloadAt(network, remote.ip),
    ...(target.kind === 'service' ? { service: target.service } : { pod: target.workload }),
  });
}

/** @returns how it ends there, if it does. */
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

function explainPlain(
  parts: ExplainParts,
  target: Target,
  { version }: Downstream,
  story: Story,
): Outcome {
  const { steps } = story;
  steps.push({ step: 'rules', found: 'none: to its own endpoints' });
  if (target.kind === 'workload') return { kind: 'forward', reason: `to ${target.workload.uid}` };
  const own = { service: keyOfService(target.service), port: target.port };
  story.backends = [explainBackend(parts, { target: own, weight: 1, filters: [] }, version)];
  return forwardTo(story.backends);
}

function explainRoutes(
  parts: ExplainParts,
  routes: CompiledPort,
  head: RequestHead,
  { version }: Downstream,
  namespace: string | undefined,
  story: Story,
): Outcome {
  const { steps } = story;
  if (routes.kind === 'tcp')
    return {
      kind: 'bytes',
      reason: `${routes.route.name} routes bytes, in which no request is seen`,
    };
  steps.push(...routes.table.explain(head.list, namespace));
  const rule = routes.table.find(head.list, namespace)?.rule;
  if (rule === undefined) return { kind: 'answer', status: 404, reason: 'no rule matches' };
  steps.push({ step: 'rule', found: rule.name }, ...describeRule(rule));
  story.backends = rule.backends.map((backend) => explainBackend(parts, backend, version));
  const answers = rule.filters.find(({ kind }) => kind === 'redirect' || kind === 'respond');
  if (answers !== undefined)
    return { kind: 'answer', reason: `filter ${answers.kind} of ${rule.name} answers` };
  return forwardTo(story.backends);
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

function forwardTo(backends: readonly BackendExplanation[]): Outcome {
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
  { targets, store }: ExplainParts,
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
  const { tls } = found;
  return {
    ...{ ...about, ...(tls && { tls: describeTls(tls) }) },
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
