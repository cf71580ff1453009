import {
  formatSocketAddress,
  tryParseIpAddress,
  type IpAddress,
  type SocketAddress,
} from '../../base/address.ts';
import { MeshError } from '../../base/errors.ts';
import { unreachable } from '../../base/unreachable.ts';
import { formatAuthority } from '../../mesh/hbone/authority.ts';
import { mayTryElsewhere, openTunnel } from '../../mesh/hbone/client.ts';
import { makeBaggage, makeForwarded, makeTraceparent } from '../../mesh/hbone/headers.ts';
import { HboneSession } from '../../mesh/hbone/session.ts';
import { HBONE_PORT } from '../../mesh/model/ports.ts';
import type { Workload, WorkloadUid } from '../../mesh/model/workload.ts';
import type { ByteStream } from '../../net/byte-stream.ts';
import { connectTcp, type TcpConnectOptions } from '../../net/tcp.ts';
import type { LiveConnection } from '../live-connection.ts';
import type { DataParts, PodContext } from '../parts.ts';
import type { OutboundRoute } from './outbound-route.ts';
import { selectRoute } from './route.ts';

/** Design limits of trying: so many endpoints, and so long, before any byte is sent. */
const MAX_ENDPOINTS = 3;
const CONNECT_DEADLINE_MS = 10_000;

type TunnelRoute = Extract<OutboundRoute, { kind: 'hbone' | 'double-hbone' }>;
type Caller = Readonly<{
  parts: DataParts;
  pod: PodContext;
  source: Workload;
  sourceAddress: SocketAddress;
  live: LiveConnection;
  signal: AbortSignal;
}>;

/**
 * Connects to the first endpoint that answers; selectRoute() is asked again with what was tried until one does.
 * Nothing of the payload is sent before.
 *
 * @throws {MeshError} of the last endpoint; ERR_NO_HEALTHY_UPSTREAM and the like when there is none.
 */
export async function connectFirst(
  parts: DataParts,
  pod: PodContext,
  source: Workload,
  downstream: Readonly<{ peer: SocketAddress; destination: SocketAddress }>,
  live: LiveConnection,
): Promise<ByteStream> {
  const deadline = AbortSignal.timeout(CONNECT_DEADLINE_MS);
  const signal = AbortSignal.any([deadline, live.signal, pod.gone]);
  const caller = { parts, pod, source, sourceAddress: downstream.peer, live, signal };
  const tried = new Set<WorkloadUid>();
  const resolved = new Map<string, readonly IpAddress[]>();
  let failure: Error | undefined;
  for (;;) {
    const route = selectRoute(parts.state, {
      source,
      sourceIp: downstream.peer.ip,
      destination: downstream.destination,
      network: parts.network,
      tried,
      resolved,
      random: Math.random,
    });
    if (route.kind === 'resolve') {
      resolved.set(route.hostname, await resolve(parts, route.hostname));
      continue;
    }
    // The last failure says more than that no endpoint is left, and so does what is noted of it.
    if (route.kind === 'reject' && failure !== undefined) throw failure;
    noteRoute(live, route);
    if (route.kind === 'reject') throw new MeshError(route.code, 'local', route.reason);
    try {
      return await connectRoute(caller, route);
    } catch (error) {
      failure = error instanceof Error ? error : new Error(String(error));
      if (route.kind === 'passthrough' || !mayTryElsewhere(error)) throw error;
      tried.add(route.workload.uid);
      if (tried.size === MAX_ENDPOINTS || signal.aborted) throw error;
    }
  }
}

async function resolve(parts: DataParts, hostname: string): Promise<readonly IpAddress[]> {
  try {
    const found = await parts.resolveHostname(hostname);
    return found.flatMap((text) => tryParseIpAddress(text) ?? []);
  } catch {
    return []; // a name without addresses; the route then says so
  }
}

/** What the record says about where it went. */
function noteRoute(live: LiveConnection, route: Exclude<OutboundRoute, { kind: 'resolve' }>): void {
  const { ends } = live;
  if ('connectTo' in route) ends.destination.address = route.connectTo;
  ends.service = route.service;
  ends.destination.workload = 'workload' in route ? route.workload : undefined;
  ends.destination.hboneTarget =
    'authority' in route ? formatAuthority(route.authority) : undefined;
}

async function connectRoute(
  caller: Caller,
  route: Exclude<OutboundRoute, { kind: 'resolve' | 'reject' }>,
): Promise<ByteStream> {
  switch (route.kind) {
    case 'hbone':
      return await connectTunnel(caller, route);
    case 'double-hbone':
      return await connectInnerTunnel(caller, route, await connectTunnel(caller, route));
    case 'plain':
    case 'passthrough':
      return await connectTcp(route.connectTo, socketOptions(caller));
    default:
      return unreachable(route);
  }
}

/** Everything that a pod's proxy dials is dialled inside the pod's namespace, with the mark that the rules let pass. */
function socketOptions({ parts, pod, signal }: Caller): TcpConnectOptions {
  const { packetMark: mark, keepAlive } = parts;
  return { netns: pod.netns, mark, signal, ...(keepAlive && { keepAlive }) };
}

async function connectTunnel(caller: Caller, route: TunnelRoute): Promise<ByteStream> {
  const { parts, pod, live, source } = caller;
  const { connectTo, peers } = route;
  const sourceIp = caller.sourceAddress.ip;
  const { identity } = pod;
  const context = await parts.contexts.get(identity);
  live.ends.source.identity = identity;
  const key = { podUid: pod.uid, sourceIp, identity, peers, connectTo };
  const options = { context, peers, http2: parts.clientHttp2, signal: caller.signal };
  const open = async (): Promise<HboneSession> => {
    try {
      return await HboneSession.open(connectTo, socketOptions(caller), options);
    } catch (error) {
      throw isTimeoutOfHbone(error, connectTo) ? blockedPort(connectTo, error) : error;
    }
  };
  const request = {
    authority: formatAuthority(route.authority),
    headers: tunnelHeaders(source, caller.sourceAddress, route.service?.hostname),
  };
  for (let attempt = 0; ; attempt++) {
    const session = await parts.pool.acquire(key, open);
    live.ends.tlsGroup = session.tlsGroup;
    live.ends.destination.identity = session.peerIdentity;
    try {
      return (await openTunnel(session, request, { signal: caller.signal })).stream;
    } catch (error) {
      // A pooled session may have ended just before it was used: that says nothing about the endpoint.
      const stale = session.retired && attempt === 0 && mayTryElsewhere(error);
      if (!stale || caller.signal.aborted) throw error;
    }
  }
}

/** A session of its own inside the outer tunnel, so that the gateway can choose an endpoint for each connection. */
async function connectInnerTunnel(
  caller: Caller,
  route: Extract<OutboundRoute, { kind: 'double-hbone' }>,
  outer: ByteStream,
): Promise<ByteStream> {
  const { parts, pod, live, signal, source } = caller;
  const { authority, peers } = route.inner;
  const context = await parts.contexts.get(pod.identity);
  const where = formatAuthority(authority);
  const options = { context, peers, http2: parts.clientHttp2, signal };
  const session = await HboneSession.openOver(outer, where, options);
  live.ends.destination.identity = session.peerIdentity;
  const headers = [
    ...tunnelHeaders(source, caller.sourceAddress, route.service?.hostname),
    ...['x-forwarded-network', parts.network],
  ];
  const { stream } = await openTunnel(session, { authority: where, headers }, { signal });
  session.retire(); // it carries this tunnel alone, and ends with it
  return stream;
}

function tunnelHeaders(
  source: Workload,
  sourceAddress: SocketAddress,
  hostname: string | undefined,
): readonly string[] {
  return [
    ...['baggage', makeBaggage(source)],
    ...['forwarded', makeForwarded(sourceAddress, hostname)],
    ...['traceparent', makeTraceparent()],
  ];
}

function isTimeoutOfHbone(error: unknown, connectTo: SocketAddress): boolean {
  const timedOut = error instanceof MeshError && error.code === 'ERR_CONNECT_TIMEOUT';
  return timedOut && connectTo.port === HBONE_PORT;
}

function blockedPort(connectTo: SocketAddress, cause: unknown): MeshError {
  const message = `Cannot connect to ${formatSocketAddress(connectTo)}: timed out, maybe a NetworkPolicy is blocking HBONE port ${HBONE_PORT}`;
  return new MeshError('ERR_NETWORK_POLICY', 'upstream', message, { cause });
}
