import { formatSocketAddress, tryParseIpAddress } from '../base/address.ts';
import type { KubernetesObject, SandboxStatus } from '../deploy/sandbox/api.ts';
import type { OutboundExplanation } from '../mesh/model/explain.ts';
import {
  ask,
  askInbound,
  judge,
  plainReceiver,
  proxyOf,
  tunnelReceiver,
  uidOf,
} from './explain-hops.ts';
import {
  explainAtWaypoint,
  explainFromGateway,
  isGatewayPod,
  withHost,
  type AskedRequest,
} from './explain-requests.ts';
import type { Explanation } from './explain-text.ts';
import { listAt, namespaceOf, textAt, valueAt } from './object-fields.ts';
import { findDestination, findPod, type Destination } from './references.ts';
import type { Sandbox } from './sandbox.ts';

/**
 * Asks the proxies on the way what they would do with a connection, each about its own hop.
 *
 * @param sourceText a pod, as findPod() reads it.
 * @param destinationText as findDestination() reads it; from a gateway, what explainFromGateway() reads.
 * @param options.request that a waypoint or gateway on the way is asked about.
 * @param options.client the address of a gateway's client.
 * @throws {MeshError} ERR_NOT_FOUND, ERR_USAGE, ERR_ADMIN_PAGE.
 */
export async function explainConnection(
  sandbox: Sandbox,
  sourceText: string,
  destinationText: string,
  namespace?: string,
  { request, client }: Readonly<{ request?: AskedRequest; client?: string }> = {},
): Promise<Explanation> {
  const source = await findPod(sandbox, sourceText, namespace);
  if (isGatewayPod(source))
    return explainFromGateway(sandbox, source, destinationText, request, client);
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
    const { ip, identity } = outbound.source;
    const hops = await explainAtWaypoint(sandbox, status, outbound.outcome.workload ?? '', {
      ...{ ...request, headers: withHost(request.headers, hostOf(destinationText)) },
      ...{ source: ip, identity, target: authority ?? '' },
    });
    return { ...story, outbound, ...hops };
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

/** What a client would write into Host. */
function hostOf(destination: string): string {
  return destination.includes('/') ? destination.split('/').reverse().join('.') : destination;
}
