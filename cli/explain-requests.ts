import { formatSocketAddress, parseIpAddress, tryParseIpAddress } from '../base/address.ts';
import { MeshError } from '../base/errors.ts';
import {
  podAdminSocket,
  type KubernetesObject,
  type SandboxStatus,
} from '../deploy/sandbox/api.ts';
import {
  GATEWAY_MANAGED,
  GATEWAY_MANAGED_INGRESS,
  GATEWAY_NAME,
} from '../mesh/kubernetes/labels.ts';
import type { GatewayExplanation, NextHop, RequestExplanation } from '../mesh/model/explain.ts';
import { readAdminJson } from './admin-pages.ts';
import { usageError } from './command.ts';
import { askInbound, judge, plainReceiver, tunnelReceiver, uidOf } from './explain-hops.ts';
import type { Explanation } from './explain-text.ts';
import { listAt, namespaceOf, numberAt, textAt } from './object-fields.ts';
import { onlyPort, splitPort } from './references.ts';
import type { Sandbox } from './sandbox.ts';

/** The request that a proxy is asked about; headers as `name: value`. */
export type AskedRequest = Readonly<{ method: string; path: string; headers: readonly string[] }>;

/** What the page of a waypoint or gateway is asked. */
export type RequestQuestion = AskedRequest &
  Readonly<{ source: string; identity?: string; target: string }>;

/** The rest of a story, from a proxy of requests on. */
type RequestHops = Pick<Explanation, 'gateway' | 'waypoint' | 'inbound' | 'allowed' | 'verdict'>;

/** A client of which nothing is known: no policy means this address. */
const NOBODY = '0.0.0.0';

/** Whether a pod runs a gateway, whose connections are opened for others and by no ztunnel. */
export function isGatewayPod({ metadata }: KubernetesObject): boolean {
  return metadata.labels?.[GATEWAY_MANAGED] === GATEWAY_MANAGED_INGRESS;
}

/**
 * What would become of a request that comes to a gateway from outside of the mesh, there and at each proxy behind it.
 *
 * @param destinationText `HOST` or `HOST:PORT` as the client has it: a port of the gateway.
 * @throws {MeshError} ERR_USAGE, ERR_NOT_FOUND, ERR_ADMIN_PAGE.
 */
export async function explainFromGateway(
  sandbox: Sandbox,
  pod: KubernetesObject,
  destinationText: string,
  request: AskedRequest = { method: 'GET', path: '/', headers: [] },
  client = NOBODY,
): Promise<Explanation> {
  if (tryParseIpAddress(client) === undefined)
    throw usageError(`Cannot read client ${client}: use an IP address`);
  const namespace = namespaceOf(pod);
  const name = pod.metadata.labels?.[GATEWAY_NAME] ?? pod.metadata.name;
  const asked = splitPort(destinationText);
  const port = asked.port ?? onlyPort(await portsOf(sandbox, namespace, name), `gateway ${name}`);
  const target = { ip: parseIpAddress(textAt(pod, 'status', 'podIP')), port };
  const headers = withHost(request.headers, `${asked.host}:${port}`);
  const question = { ...request, headers, source: client, target: formatSocketAddress(target) };
  const gateway = (await askPod(sandbox, pod, question)) as GatewayExplanation;
  const story = {
    source: `gateway ${namespace}/${name}`,
    destination: `${asked.host}:${port}`,
    gateway,
  };
  const own = judgeRequest(`gateway ${namespace}/${name}`, gateway);
  const { next } = gateway;
  if (!own.allowed || next === undefined) return { ...story, ...own };
  const status = await sandbox.status();
  if (next.via !== 'waypoint')
    return { ...story, ...(await explainInto(sandbox, status, next, own)) };
  const behind = await explainAtWaypoint(sandbox, status, next.workload, {
    ...next.request,
    headers: next.request.headers.map(([field, value]) => `${field}: ${value}`),
    ...{ source: next.source.ip, identity: next.source.identity, target: next.authority ?? '' },
  });
  const verdict = behind.allowed ? `${own.verdict}; ${lowerFirst(behind.verdict)}` : behind.verdict;
  return { ...story, ...behind, verdict };
}

/**
 * What would become of a request at one pod of a waypoint, and behind it.
 *
 * @param uid of the very pod that the proxy before it has chosen.
 * @throws {MeshError} ERR_NOT_FOUND when it is none of this sandbox; ERR_ADMIN_PAGE.
 */
export async function explainAtWaypoint(
  sandbox: Sandbox,
  status: SandboxStatus,
  uid: string,
  question: RequestQuestion,
): Promise<RequestHops> {
  const pod = (await sandbox.objects({ kind: 'Pod' })).find((one) => uidOf(one) === uid);
  if (pod === undefined)
    throw new MeshError(
      ...(['ERR_NOT_FOUND', 'local'] as const),
      `Cannot ask waypoint ${uid}: it is no pod of this sandbox`,
    );
  const waypoint = (await askPod(sandbox, pod, question)) as RequestExplanation;
  const own = judgeRequest(`waypoint ${waypoint.waypoint}`, waypoint);
  const { next } = waypoint;
  if (!own.allowed || next === undefined) return { waypoint, ...own };
  return { waypoint, ...(await explainInto(sandbox, status, next, own)) };
}

/** Adds the Host that a client would send, unless the request has one. */
export function withHost(headers: readonly string[], host: string): readonly string[] {
  return headers.some((header) => /^host\s*:/i.test(header))
    ? headers
    : [...headers, `host: ${host}`];
}

/** The last hop. Who lets it in has nothing to add to what was decided before. */
async function explainInto(
  sandbox: Sandbox,
  status: SandboxStatus,
  { via, workload, node, authority, connectTo, source }: NextHop,
  own: Pick<Explanation, 'allowed' | 'verdict'>,
): Promise<Pick<Explanation, 'inbound' | 'allowed' | 'verdict'>> {
  const target = authority ?? connectTo;
  const receiver =
    via === 'plain'
      ? await plainReceiver(sandbox, status, target)
      : tunnelReceiver(status, { workload, node });
  if (receiver === undefined) return own;
  const peer = via === 'plain' ? { ip: source.ip } : source;
  const inbound = await askInbound(receiver, peer, target);
  const into = judge(receiver.part, inbound);
  return { inbound, ...(into.allowed ? own : into) };
}

function askPod(
  sandbox: Sandbox,
  pod: KubernetesObject,
  { source, identity, target, method, path, headers }: RequestQuestion,
): Promise<unknown> {
  const name = `${namespaceOf(pod)}/${pod.metadata.name}`;
  const adminSocket = podAdminSocket(sandbox.paths, pod.metadata.uid ?? '');
  const query = new URLSearchParams({
    ...{ source, target, method, path },
    ...(identity !== undefined && { identity }),
  });
  for (const header of headers) query.append('header', header);
  return readAdminJson({ name, adminSocket }, `/explain?${query.toString()}`);
}

function judgeRequest(
  who: string,
  { outcome }: Pick<RequestExplanation, 'outcome'>,
): Pick<Explanation, 'allowed' | 'verdict'> {
  const { kind, reason, status } = outcome;
  const code = status === undefined ? '' : ` with ${status}`;
  switch (kind) {
    case 'forward':
    case 'bytes':
      return { allowed: true, verdict: `Allowed by ${who}: ${reason}` };
    case 'answer':
      return {
        allowed: status === undefined || status < 400,
        verdict: `Answered by ${who}${code}: ${reason}`,
      };
    case 'refuse':
      return { allowed: false, verdict: `Refused by ${who}${code}: ${reason}` };
  }
}

/** The ports of a gateway's listeners, as its Services have them. */
async function portsOf(
  sandbox: Sandbox,
  namespace: string,
  name: string,
): Promise<readonly number[]> {
  const selector = `${GATEWAY_NAME}=${name}`;
  const services = await sandbox.objects({ kind: 'Service', namespace, selector });
  const ports = services.flatMap((service) => listAt(service, 'spec', 'ports'));
  return [...new Set(ports.map((port) => numberAt(port, 'port')))];
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}
