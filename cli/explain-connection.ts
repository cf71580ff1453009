import { formatSocketAddress, parseSocketAddress, tryParseIpAddress } from '../base/address.ts';
import { MeshError } from '../base/errors.ts';
import {
  podAdminSocket,
  type KubernetesObject,
  type PartStatus,
  type SandboxStatus,
} from '../deploy/sandbox/api.ts';
import type {
  InboundExplanation,
  OutboundExplanation,
  RequestExplanation,
} from '../mesh/model/explain.ts';
import { readAdminJson } from './admin-pages.ts';
import type { Explanation } from './explain-text.ts';
import { listAt, namespaceOf, textAt, valueAt } from './object-fields.ts';
import { findDestination, findPod, type Destination } from './references.ts';
import type { Sandbox } from './sandbox.ts';

/** The request that a waypoint is asked about; headers as `name: value`. */
export type AskedRequest = Readonly<{ method: string; path: string; headers: readonly string[] }>;

/** CLUSTER_ID of every part of a sandbox; with it begins the name by which the mesh knows a pod. */
const CLUSTER_ID = 'Kubernetes';

/**
 * Asks the proxies on the way what they would do with a connection, each about its own hop.
 *
 * @param sourceText a pod, as findPod() reads it.
 * @param destinationText as findDestination() reads it.
 * @throws {MeshError} ERR_NOT_FOUND, ERR_USAGE, ERR_ADMIN_PAGE.
 */
export async function explainConnection(
  sandbox: Sandbox,
  sourceText: string,
  destinationText: string,
  namespace?: string,
  request?: AskedRequest,
): Promise<Explanation> {
  const source = await findPod(sandbox, sourceText, namespace);
  const destination = await findDestination(sandbox, destinationText, namespaceOf(source));
  const status = await sandbox.status();
  const story = {
    source: `${namespaceOf(source)}/${source.metadata.name}`,
    destination: `${destination.label} (${formatSocketAddress(destination)})`,
  };
  const proxy = proxyOf(status, source);
  if (proxy === undefined) return explainPlain(sandbox, status, source, destination, story);

  const outbound = (await ask(proxy, {
    src: uidOf(source),
    destination: formatSocketAddress(destination),
  })) as OutboundExplanation;
  const { kind, reason, authority, connectTo, via } = outbound.outcome;
  if (kind === 'reject' || kind === 'ask') {
    const verdict = `Refused by the ztunnel of ${proxy.node ?? 'its node'}: ${reason}`;
    return { ...story, outbound, allowed: false, verdict };
  }
  if (via === 'waypoint' && request !== undefined) {
    const asked = { ...request, host: hostOf(destinationText) };
    const waypoint = await askWaypoint(sandbox, outbound, asked);
    return { ...story, outbound, waypoint, ...judgeRequest(waypoint) };
  }
  if (via === 'waypoint') {
    const verdict = `Goes to the waypoint at ${connectTo ?? 'its address'}, which decides what follows; ask for a request with --method and --path`;
    return { ...story, outbound, allowed: true, verdict };
  }
  const target = kind === 'hbone' ? authority : (connectTo ?? formatSocketAddress(destination));
  const receiver =
    kind === 'hbone'
      ? tunnelReceiver(status, outbound.outcome)
      : await plainReceiver(sandbox, status, target ?? formatSocketAddress(destination));
  if (receiver === undefined || target === undefined) {
    const verdict = `Leaves ${story.source} as ${kind}; what receives it is not captured in this mesh`;
    return { ...story, outbound, allowed: true, verdict };
  }
  const peer = {
    ip: outbound.source.ip,
    ...(kind === 'hbone' && { identity: outbound.source.identity }),
  };
  const inbound = await askInbound(receiver, peer, target);
  return { ...story, outbound, inbound, ...judge(receiver.part, inbound) };
}

/** From a pod outside the mesh: plain text, that a mesh pod's proxy may still take. */
async function explainPlain(
  sandbox: Sandbox,
  status: SandboxStatus,
  source: KubernetesObject,
  destination: Destination,
  story: Pick<Explanation, 'source' | 'destination'>,
): Promise<Explanation> {
  const target = (await endpointOf(sandbox, destination)) ?? formatSocketAddress(destination);
  const receiver = await plainReceiver(sandbox, status, target);
  if (receiver === undefined) {
    const verdict = 'Not in the mesh on either side: plain text, that no policy sees';
    return { ...story, allowed: true, verdict };
  }
  const inbound = await askInbound(receiver, { ip: textAt(source, 'status', 'podIP') }, target);
  return { ...story, inbound, ...judge(receiver.part, inbound) };
}

function judge(
  receiver: PartStatus,
  { outcome, plaintext }: InboundExplanation,
): Pick<Explanation, 'allowed' | 'verdict'> {
  const who = `the ztunnel of ${receiver.node ?? 'its node'}`;
  switch (outcome.kind) {
    case 'admit':
      return {
        allowed: true,
        verdict: `Allowed${plaintext ? ', in plain text' : ', over mutual TLS'}: ${outcome.reason}`,
      };
    case 'refuse':
      return { allowed: false, verdict: `Refused by ${who}: ${outcome.reason}` };
    case 'wait':
    case 'ask':
      return { allowed: false, verdict: `Held up by ${who}: ${outcome.reason}` };
  }
}

/** The proxy that takes a connection, and the workload that it takes it for. */
type Receiver = Readonly<{ part: PartStatus; workload: string }>;

/** Without an identity, the question is about plain text. */
async function askInbound(
  receiver: Receiver,
  peer: Readonly<{ ip: string; identity?: string }>,
  target: string,
): Promise<InboundExplanation> {
  const { part, workload } = receiver;
  return (await ask(part, {
    ...{ workload, target, peer: peer.ip },
    ...(peer.identity !== undefined && { identity: peer.identity }),
  })) as InboundExplanation;
}

/** Asks the very pod that the client's ztunnel has chosen. @throws {MeshError} ERR_NOT_FOUND when it is none of this sandbox. */
async function askWaypoint(
  sandbox: Sandbox,
  { source, outcome }: OutboundExplanation,
  { method, path, headers, host }: AskedRequest & Readonly<{ host: string }>,
): Promise<RequestExplanation> {
  const uid = outcome.workload ?? '';
  const pod = (await sandbox.objects({ kind: 'Pod' })).find((one) => uidOf(one) === uid);
  if (pod === undefined)
    throw new MeshError(
      'ERR_NOT_FOUND',
      'local',
      `Cannot ask waypoint ${uid}: it is no pod of this sandbox`,
    );
  const name = `${namespaceOf(pod)}/${pod.metadata.name}`;
  const adminSocket = podAdminSocket(sandbox.paths, pod.metadata.uid ?? '');
  const query = new URLSearchParams({
    ...{
      source: source.ip,
      identity: source.identity,
      target: outcome.authority ?? '',
      method,
      path,
    },
  });
  const hasHost = headers.some((header) => /^host\s*:/i.test(header));
  for (const header of hasHost ? headers : [...headers, `host: ${host}`])
    query.append('header', header);
  return (await readAdminJson(
    { name, adminSocket },
    `/explain?${query.toString()}`,
  )) as RequestExplanation;
}

function judgeRequest({
  waypoint,
  outcome,
}: RequestExplanation): Pick<Explanation, 'allowed' | 'verdict'> {
  const { kind, reason, status } = outcome;
  const code = status === undefined ? '' : ` with ${status}`;
  switch (kind) {
    case 'forward':
    case 'bytes':
      return { allowed: true, verdict: `Allowed by waypoint ${waypoint}: ${reason}` };
    case 'answer':
      return {
        allowed: status === undefined || status < 400,
        verdict: `Answered by waypoint ${waypoint}${code}: ${reason}`,
      };
    case 'refuse':
      return { allowed: false, verdict: `Refused by waypoint ${waypoint}${code}: ${reason}` };
  }
}

/** What a client would write into Host. */
function hostOf(destination: string): string {
  return destination.includes('/') ? destination.split('/').reverse().join('.') : destination;
}

function ask(part: PartStatus, query: Readonly<Record<string, string>>): Promise<unknown> {
  return readAdminJson(part, `/explain?${new URLSearchParams(query).toString()}`);
}

function uidOf(pod: KubernetesObject): string {
  return `${CLUSTER_ID}//Pod/${namespaceOf(pod)}/${pod.metadata.name}`;
}

/** The ztunnel that captures this pod's connections, if one does. */
function proxyOf(status: SandboxStatus, pod: KubernetesObject): PartStatus | undefined {
  const line = status.pods.find(
    (one) => one.namespace === namespaceOf(pod) && one.name === pod.metadata.name,
  );
  if (line?.enrolment !== 'enabled') return undefined;
  return status.parts.find((part) => part.kind === 'ztunnel' && part.node === line.node);
}

function tunnelReceiver(
  status: SandboxStatus,
  { workload, node }: OutboundExplanation['outcome'],
): Receiver | undefined {
  const part = status.parts.find((one) => one.kind === 'ztunnel' && one.node === node);
  return part === undefined || workload === undefined ? undefined : { part, workload };
}

/** Who takes plain text to an address: the proxy of the pod there, if that is captured. */
async function plainReceiver(
  sandbox: Sandbox,
  status: SandboxStatus,
  target: string,
): Promise<Receiver | undefined> {
  const { ip } = parseSocketAddress(target);
  const pods = await sandbox.objects({ kind: 'Pod' });
  const pod = pods.find((one) =>
    listAt(one, 'status', 'podIPs').some((entry) => textAt(entry, 'ip') === ip),
  );
  const part = pod === undefined ? undefined : proxyOf(status, pod);
  return part === undefined || pod === undefined ? undefined : { part, workload: uidOf(pod) };
}

/** A ready endpoint of the Service that has this address, as `ip:port`; any will do, for plain text has no choice of ours. */
async function endpointOf(sandbox: Sandbox, destination: Destination): Promise<string | undefined> {
  const services = await sandbox.objects({ kind: 'Service' });
  const service = services.find((one) =>
    listAt(one, 'spec', 'clusterIPs').some((ip) => ip === destination.ip),
  );
  if (service === undefined) return undefined;
  const port = listAt(service, 'spec', 'ports').find(
    (one) => valueAt(one, 'port') === destination.port,
  );
  const slices = await sandbox.objects({
    kind: 'EndpointSlice',
    namespace: namespaceOf(service),
    selector: `kubernetes.io/service-name=${service.metadata.name}`,
  });
  for (const slice of slices) {
    const endpoint = listAt(slice, 'endpoints').find(
      (one) => valueAt(one, 'conditions', 'ready') === true,
    );
    const [address] = listAt(endpoint, 'addresses');
    const target = listAt(slice, 'ports').find(
      (one) => textAt(one, 'name') === textAt(port, 'name'),
    );
    const ip = tryParseIpAddress(typeof address === 'string' ? address : '');
    const number = valueAt(target, 'port');
    if (ip !== undefined && typeof number === 'number')
      return formatSocketAddress({ ip, port: number });
  }
  return undefined;
}
