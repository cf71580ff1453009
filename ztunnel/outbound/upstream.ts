import { abortable } from '../../base/abortable.ts';
import { tryParseIpAddress, type IpAddress, type SocketAddress } from '../../base/address.ts';
import { MeshError } from '../../base/errors.ts';
import { unreachable } from '../../base/unreachable.ts';
import { formatAuthority } from '../../mesh/hbone/authority.ts';
import { openTunnel } from '../../mesh/hbone/client.ts';
import { FORWARDED_NETWORK } from '../../mesh/hbone/headers.ts';
import { HboneSession } from '../../mesh/hbone/session.ts';
import type { Workload, WorkloadUid } from '../../mesh/model/workload.ts';
import {
  checkChainOf,
  connectFirst,
  connectTunnel,
  currentContext,
  endpointDeadlineMs,
  tunnelHeaders,
  type Attempt,
} from '../../mesh/proxy/connect.ts';
import type { LiveConnection } from '../../mesh/proxy/live-connection.ts';
import { addressKey, type DemandKey } from '../../mesh/proxy/state/answered.ts';
import type { ByteStream } from '../../net/byte-stream.ts';
import { connectTcp } from '../../net/tcp.ts';
import { askInTime, notTold } from '../ask.ts';
import type { DataParts, PodContext } from '../parts.ts';
import { podConnectOptions } from '../pod-socket-options.ts';
import type { OutboundRoute } from './outbound-route.ts';
import { selectRoute } from './route.ts';

type TunnelRoute = Extract<OutboundRoute, { kind: 'hbone' | 'double-hbone' }>;
type Captured = Readonly<{
  parts: DataParts;
  pod: PodContext;
  source: Workload;
  sourceAddress: SocketAddress;
  live: LiveConnection;
}>;

/**
 * Connects to the first endpoint that answers; selectRoute() is asked again with what was tried until one does.
 * Nothing of the payload is sent before.
 *
 * @throws {MeshError} of the last endpoint; ERR_NO_HEALTHY_UPSTREAM and the like when there is none; why `live` was cut.
 */
export async function connectUpstream(
  parts: DataParts,
  pod: PodContext,
  source: Workload,
  downstream: Readonly<{ peer: SocketAddress; destination: SocketAddress }>,
  live: LiveConnection,
): Promise<ByteStream> {
  const captured = { parts, pod, source, sourceAddress: downstream.peer, live };
  const resolved = new Map<string, readonly IpAddress[]>();
  parts.demand?.touch(
    { podUid: pod.uid, side: 'outbound' },
    addressKey(parts.network, downstream.destination.ip),
  );
  return await connectFirst(live, downstream.destination, (tried) =>
    nextAttempt(captured, downstream, tried, resolved),
  );
}

/** The next route, once all is known that it depends on. */
async function nextAttempt(
  captured: Captured,
  downstream: Readonly<{ peer: SocketAddress; destination: SocketAddress }>,
  tried: ReadonlySet<WorkloadUid>,
  resolved: Map<string, readonly IpAddress[]>,
): Promise<Attempt> {
  const { parts, source, live } = captured;
  for (;;) {
    live.signal.throwIfAborted();
    const route = selectRoute(parts.state, {
      source,
      sourceIp: downstream.peer.ip,
      destination: downstream.destination,
      network: parts.network,
      ownPorts: parts.ownPorts,
      tried,
      resolved,
      random: Math.random,
    });
    if (route.kind === 'ask') {
      await askFor(captured, route.key);
      continue;
    }
    if (route.kind === 'resolve') {
      resolved.set(route.hostname, await resolve(captured, route.hostname));
      continue;
    }
    if (route.kind === 'reject')
      return {
        kind: 'reject',
        error: new MeshError(route.code, 'local', route.reason),
        note: () => {
          noteRoute(live, route);
        },
      };
    noteRoute(live, route);
    return {
      kind: 'connect',
      ...(route.kind !== 'passthrough' && { workload: route.workload }),
      connect: () => connectRoute(captured, route),
    };
  }
}

/** @throws {MeshError} ERR_NOT_TOLD: where nothing is known, nothing is let through. */
async function askFor({ parts, pod, live }: Captured, key: DemandKey): Promise<void> {
  if (await askInTime(parts, { podUid: pod.uid, side: 'outbound' }, key, live.signal)) return;
  live.signal.throwIfAborted();
  throw notTold(key);
}

async function resolve({ parts, live }: Captured, hostname: string): Promise<readonly IpAddress[]> {
  try {
    const found = await abortable(parts.resolveHostname(hostname), live.signal);
    return found.flatMap((text) => tryParseIpAddress(text) ?? []);
  } catch {
    return []; // a name without addresses; the route then says so
  }
}

/** What the record says about where it went. An attempt before may have been of another kind. */
function noteRoute(
  live: LiveConnection,
  route: Exclude<OutboundRoute, { kind: 'resolve' | 'ask' }>,
): void {
  const { ends } = live;
  ends.source.identity = undefined;
  ends.destination.identity = undefined;
  ends.tlsGroup = undefined;
  ends.peerChain = undefined;
  if ('connectTo' in route) ends.destination.address = route.connectTo;
  ends.service = route.service;
  ends.destination.workload = 'workload' in route ? route.workload : undefined;
  ends.destination.hboneTarget =
    'authority' in route ? formatAuthority(route.authority) : undefined;
}

async function connectRoute(
  captured: Captured,
  route: Exclude<OutboundRoute, { kind: 'resolve' | 'ask' | 'reject' }>,
): Promise<ByteStream> {
  switch (route.kind) {
    case 'hbone':
      return await connectOuterTunnel(captured, route);
    case 'double-hbone':
      return await connectInnerTunnel(captured, route, await connectOuterTunnel(captured, route));
    case 'plain':
    case 'passthrough':
      return await connectTcp(route.connectTo, {
        ...podConnectOptions(captured.parts, captured.pod, captured.live.signal),
        ...(route.kind === 'plain' && { timeoutMs: endpointDeadlineMs(route) }),
      });
    default:
      return unreachable(route);
  }
}

async function connectOuterTunnel(captured: Captured, route: TunnelRoute): Promise<ByteStream> {
  const { parts, pod, live } = captured;
  const caller = {
    ...{ podUid: pod.uid, ip: captured.sourceAddress.ip, identity: pod.identity, gone: pod.gone },
    tcpOptions: (signal: AbortSignal) => podConnectOptions(parts, pod, signal),
  };
  const tunnel = await connectTunnel(parts, caller, route, {
    headers: headersOf(captured, route),
    timeoutMs: endpointDeadlineMs(route),
    signal: live.signal,
    onSession: (session) => {
      noteSession(captured, session);
    },
  });
  return tunnel.stream;
}

function noteSession({ live: { ends }, pod }: Captured, session: HboneSession): void {
  ends.source.identity = pod.identity;
  ends.destination.identity = session.peerIdentity;
  ends.tlsGroup = session.tlsGroup;
  ends.peerChain = session.peerChain;
}

function headersOf(captured: Captured, { service }: TunnelRoute): readonly string[] {
  const { source: workload, sourceAddress: address, live } = captured;
  return tunnelHeaders({ workload, address }, live, service?.hostname);
}

/** A session of its own inside the outer tunnel, so that the gateway can choose an endpoint for each connection. */
async function connectInnerTunnel(
  captured: Captured,
  route: Extract<OutboundRoute, { kind: 'double-hbone' }>,
  outer: ByteStream,
): Promise<ByteStream> {
  const { parts, pod, live } = captured;
  const { signal } = live;
  const { authority, peers } = route.inner;
  const where = formatAuthority(authority);
  const session = await HboneSession.openOver(outer, where, {
    ...{ peers, http2: parts.clientHttp2, signal, ...checkChainOf(parts) },
    context: () => currentContext(parts, pod.identity, signal),
  });
  noteSession(captured, session);
  const headers = [...headersOf(captured, route), ...[FORWARDED_NETWORK, parts.network]];
  try {
    const tunnel = await openTunnel(session, { authority: where, headers }, { signal });
    session.retire(); // it carries this tunnel alone, and ends with it
    // Which endpoint it is was the gateway's choice: only the endpoint can tell.
    const { responseBaggage, peerDescriptions } = parts;
    live.ends.destination.workload = responseBaggage
      ? peerDescriptions.describe(tunnel.baggage)
      : undefined;
    return tunnel.stream;
  } catch (error) {
    session.close();
    throw error;
  }
}
