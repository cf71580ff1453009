import { parseIpAddress, parseSocketAddress, type SocketAddress } from '../../base/address.ts';
import { unreachable } from '../../base/unreachable.ts';
import type { GatewayExplanation } from '../../mesh/model/explain.ts';
import type { GatewayListener } from '../../mesh/model/gateway-listener.ts';
import { canonicalAuthority, splitAuthority } from '../../net/http1/authority.ts';
import { Downstream } from '../downstream.ts';
import {
  askedHead,
  explainAdmission,
  explainConnectionRoute,
  explainRule,
  type Outcome,
  type RequestQuestion,
  type Story,
  type StoryParts,
} from '../explain-story.ts';
import { RequestHead } from '../request-head.ts';
import type { Security } from '../security.ts';
import type { GatewayRoutes, ListenerRoutes, PortListeners } from './gateway-routes.ts';
import { speaksTls } from './serve-tls.ts';

export type GatewayExplainParts = StoryParts &
  Readonly<{
    gateway: GatewayRoutes;
    security: Pick<Security, 'explain' | 'refusalOfConnection' | 'settings'>;
  }>;

/**
 * What would become of a client's request now, as explainRequest() tells it of waypoints. Where TLS ends at the gateway, the
 * client is taken to ask for the host's name in its handshake.
 *
 * @param question its target is a port of the gateway; its identity is not looked at, for clients have none.
 * @throws {MeshError} for what is no address or head.
 */
export function explainAtGateway(
  parts: GatewayExplainParts,
  question: RequestQuestion,
): GatewayExplanation {
  const { source, target, method, path, headers } = question;
  const story: Story = { steps: [], backends: [] };
  const local = parseSocketAddress(target);
  const authority = headers.find(([name]) => name === 'host')?.[1] ?? target;
  const ends = { remote: { ip: parseIpAddress(source), port: 0 }, local };
  const outcome = decide(parts, question, authority, ends, story);
  return {
    direction: 'gateway',
    gateway: `${parts.self.namespace}/${parts.self.name}`,
    client: source,
    request: `${method} ${authority}${path}`,
    ...story,
    outcome,
  };
}

type Ends = Readonly<{ remote: SocketAddress; local: SocketAddress }>;

function decide(
  parts: GatewayExplainParts,
  question: RequestQuestion,
  authority: string,
  ends: Ends,
  story: Story,
): Outcome {
  const { port } = ends.local;
  const { steps } = story;
  const tcp = parts.gateway.port(port, 'tcp');
  const listeners = tcp ?? parts.gateway.port(port, 'udp');
  if (listeners === undefined) return { kind: 'refuse', reason: `no listener is for port ${port}` };
  const canonical = canonicalAuthority(authority, speaksTls(listeners) ? 'https' : 'http');
  if (canonical === '')
    return { kind: 'refuse', status: 400, reason: `${authority} is no host with a port` };
  const [hostname] = splitAuthority(canonical);
  const isNamed = speaksTls(listeners) || listeners.listeners[0]?.serves.kind === 'http';
  const found = listeners.listenerOf(isNamed ? hostname : '');
  steps.push({ step: 'listener', found: found ? describeListener(found.listener) : 'none' });
  const kind = (found?.listener ?? listeners.listeners[0])?.serves.kind ?? 'http';
  switch (kind) {
    case 'http':
      if (found === undefined && speaksTls(listeners)) return noListener(hostname);
      return explainHttp(parts, question, canonical, ends, { listeners, found, hostname }, story);
    case 'tcp':
    case 'passthrough':
    case 'udp':
      if (found === undefined) return noListener(hostname);
      return explainBytes(parts, question, ends, { found, hostname, isNamed }, story);
    default:
      return unreachable(kind);
  }
}

function explainHttp(
  parts: GatewayExplainParts,
  question: RequestQuestion,
  authority: string,
  { remote, local }: Ends,
  asked: Readonly<{
    listeners: PortListeners;
    found: ListenerRoutes | undefined;
    hostname: string;
  }>,
  story: Story,
): Outcome {
  const { listeners, found, hostname } = asked;
  const { steps } = story;
  const scheme = speaksTls(listeners) ? 'https' : 'http';
  const downstream = new Downstream({
    ...{ version: 'HTTP/1.1', remote, local },
    edge: { scheme, ...(scheme === 'https' && { serverName: hostname }) },
  });
  const head = new RequestHead(askedHead(question, scheme, authority), downstream);
  const refusal = explainAdmission(parts.security, head, downstream, steps);
  if (refusal !== undefined) return refusal;
  if (found === undefined) return { ...noListener(hostname), kind: 'answer', status: 404 };
  steps.push(...found.explain(hostname, head.list));
  return explainRule(parts, found.rule(hostname, head.list), head, downstream, story);
}

function explainBytes(
  parts: GatewayExplainParts,
  question: RequestQuestion,
  ends: Ends,
  {
    found,
    hostname,
    isNamed,
  }: Readonly<{ found: ListenerRoutes; hostname: string; isNamed: boolean }>,
  story: Story,
): Outcome {
  const route = found.route(isNamed ? hostname : '');
  if (route === undefined)
    return { kind: 'refuse', reason: `no route of ${found.listener.name} is for ${hostname}` };
  story.steps.push({ step: 'route', found: route.name });
  if (found.listener.serves.kind === 'udp')
    return { kind: 'bytes', reason: `${route.name} forwards datagrams, which no policy sees` };
  const refused = parts.security.refusalOfConnection(ends);
  story.steps.push({ step: 'policy', found: refused ?? 'lets the connection in' });
  if (refused !== undefined) return { kind: 'refuse', reason: refused };
  const downstream = new Downstream({ version: 'HTTP/1.1', ...ends });
  const head = new RequestHead(askedHead(question, 'http', hostname), downstream);
  return explainConnectionRoute(parts, route, head, story);
}

function noListener(hostname: string): Outcome {
  return { kind: 'refuse', reason: `no listener is for ${hostname}` };
}

function describeListener({ name, port, hostname, serves, tls }: GatewayListener): string {
  const secured = tls === undefined ? '' : ' with TLS';
  return `${name}, port ${port}, ${serves.kind}${secured}, for ${hostname === '' ? 'every name' : hostname}`;
}
