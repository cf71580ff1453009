import { parseIpAddress, type SocketAddress } from '../base/address.ts';
import type { RequestExplanation } from '../mesh/model/explain.ts';
import { identityParts, parseSpiffeId } from '../mesh/model/identity.ts';
import type { ProxyState } from '../mesh/proxy/state/store.ts';
import { keyOfService } from '../mesh/proxy/state/vips.ts';
import { admit, type Target } from './admit.ts';
import { Downstream } from './downstream.ts';
import {
  askedHead,
  explainAdmission,
  explainBackends,
  explainRule,
  forwardTo,
  type Outcome,
  type RequestQuestion,
  type Story,
  type StoryParts,
} from './explain-story.ts';
import { RequestHead } from './request-head.ts';
import { routesFor, type CompiledPort } from './routing.ts';
import type { Security } from './security.ts';
import { protocolOf } from './upstream/targets.ts';

export type ExplainParts = StoryParts &
  Readonly<{
    state: ProxyState;
    security: Pick<Security, 'explain' | 'settings'>;
    network: string;
  }>;

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

  const head = new RequestHead(askedHead(question, 'http', authority), downstream);
  const refusal = explainAdmission(parts.security, head, downstream, steps);
  if (refusal !== undefined) return refusal;

  const { identity } = downstream;
  const namespace = identity === undefined ? undefined : identityParts(identity).namespace;
  const config = service && store.config(keyOfService(service));
  const routes = config && routesFor(config, namespace, port);
  return routes === undefined
    ? explainPlain(parts, target, head, downstream, story)
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

function explainPlain(
  parts: ExplainParts,
  target: Target,
  head: RequestHead,
  { version }: Downstream,
  story: Story,
): Outcome {
  const { steps } = story;
  steps.push({ step: 'rules', found: 'none: to its own endpoints' });
  if (target.kind === 'workload') return { kind: 'forward', reason: `to ${target.workload.uid}` };
  const own = { service: keyOfService(target.service), port: target.port };
  const backends = [{ target: own, weight: 1, filters: [] }];
  explainBackends(parts, backends, version, () => head.list, story);
  return forwardTo(story.backends);
}

function explainRoutes(
  parts: ExplainParts,
  routes: CompiledPort,
  head: RequestHead,
  downstream: Downstream,
  namespace: string | undefined,
  story: Story,
): Outcome {
  if (routes.kind === 'tcp')
    return {
      kind: 'bytes',
      reason: `${routes.route.name} routes bytes, in which no request is seen`,
    };
  story.steps.push(...routes.table.explain(head.list, namespace));
  return explainRule(parts, routes.table.find(head.list, namespace), head, downstream, story);
}
