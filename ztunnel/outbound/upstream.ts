import { abortable } from '../../base/abortable.ts';
import {
  formatSocketAddress,
  tryParseIpAddress,
  type IpAddress,
  type SocketAddress,
} from '../../base/address.ts';
import { MeshError } from '../../base/errors.ts';
import { unreachable } from '../../base/unreachable.ts';
import { formatAuthority } from '../../mesh/hbone/authority.ts';
import { mayTryElsewhere, openTunnel, type Tunnel } from '../../mesh/hbone/client.ts';
import { openHedged, type OpenAttempt } from '../../mesh/hbone/hedge.ts';
import { FORWARDED_NETWORK, makeBaggage, makeForwarded } from '../../mesh/hbone/headers.ts';
import { HboneSession, type SessionOptions } from '../../mesh/hbone/session.ts';
import { HBONE_PORT } from '../../mesh/model/ports.ts';
import type { SpiffeId } from '../../mesh/model/identity.ts';
import type { Service } from '../../mesh/model/service.ts';
import type { Workload, WorkloadUid } from '../../mesh/model/workload.ts';
import { addressKey, type DemandKey } from '../../mesh/proxy/state/answered.ts';
import type { ByteStream } from '../../net/byte-stream.ts';
import { Http2StreamError } from '../../net/h2/errors.ts';
import { connectTcp } from '../../net/tcp.ts';
import type { TlsContext } from '../../net/tls-context.ts';
import type { LiveConnection } from '../live-connection.ts';
import { askInTime, notTold } from '../ask.ts';
import type { DataParts, PodContext } from '../parts.ts';
import { podConnectOptions } from '../pod-socket-options.ts';
import type { OutboundRoute } from './outbound-route.ts';
import { selectRoute } from './route.ts';

/** Design limits of trying: so many endpoints, and so long, before any byte is sent. */
const MAX_ENDPOINTS = 3;
const CONNECT_DEADLINE_MS = 10_000;
/** A third of it, which the second repetition of a lost SYN (after 3 s) still meets: a silent endpoint leaves time for others. */
const ENDPOINT_DEADLINE_MS = 3_300;
/** Where there is no other one; less than the whole, so that this reason is told. */
const ONLY_ENDPOINT_DEADLINE_MS = 9_500;
/** Sessions of the pool that turn out to have ended, before this is taken for a fault of the endpoint. */
const MAX_STALE_SESSIONS = 8;

type TunnelRoute = Extract<OutboundRoute, { kind: 'hbone' | 'double-hbone' }>;
type Caller = Readonly<{
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
export async function connectFirst(
  parts: DataParts,
  pod: PodContext,
  source: Workload,
  downstream: Readonly<{ peer: SocketAddress; destination: SocketAddress }>,
  live: LiveConnection,
): Promise<ByteStream> {
  const deadline = setTimeout(() => {
    live.cut(tooLate(downstream.destination));
  }, CONNECT_DEADLINE_MS);
  try {
    return await tryEndpoints(
      { parts, pod, source, sourceAddress: downstream.peer, live },
      downstream,
    );
  } finally {
    clearTimeout(deadline);
  }
}

async function tryEndpoints(
  caller: Caller,
  downstream: Readonly<{ peer: SocketAddress; destination: SocketAddress }>,
): Promise<ByteStream> {
  const { parts, source, live } = caller;
  const tried = new Set<WorkloadUid>();
  const resolved = new Map<string, readonly IpAddress[]>();
  parts.demand?.touch(
    { podUid: caller.pod.uid, side: 'outbound' },
    addressKey(parts.network, downstream.destination.ip),
  );
  let failure: Error | undefined;
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
      await askFor(caller, route.key);
      continue;
    }
    if (route.kind === 'resolve') {
      resolved.set(route.hostname, await resolve(caller, route.hostname));
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
      if (tried.size === MAX_ENDPOINTS) throw error;
    }
  }
}

/** @throws {MeshError} ERR_NOT_TOLD: where nothing is known, nothing is let through. */
async function askFor({ parts, pod, live }: Caller, key: DemandKey): Promise<void> {
  if (await askInTime(parts, { podUid: pod.uid, side: 'outbound' }, key, live.signal)) return;
  live.signal.throwIfAborted();
  throw notTold(key);
}

async function resolve({ parts, live }: Caller, hostname: string): Promise<readonly IpAddress[]> {
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
  caller: Caller,
  route: Exclude<OutboundRoute, { kind: 'resolve' | 'ask' | 'reject' }>,
): Promise<ByteStream> {
  switch (route.kind) {
    case 'hbone':
      return await connectTunnel(caller, route);
    case 'double-hbone':
      return await connectInnerTunnel(caller, route, await connectTunnel(caller, route));
    case 'plain':
    case 'passthrough':
      return await connectTcp(route.connectTo, {
        ...podConnectOptions(caller.parts, caller.pod, caller.live.signal),
        ...(route.kind === 'plain' && { timeoutMs: endpointDeadlineMs(route) }),
      });
    default:
      return unreachable(route);
  }
}

async function connectTunnel(caller: Caller, route: TunnelRoute): Promise<ByteStream> {
  const { parts, pod, live } = caller;
  const { connectTo, peers } = route;
  const { identity } = pod;
  // Also where a session is open: without a valid certificate nothing new is begun.
  await certificateOf(caller);
  const key = { podUid: pod.uid, sourceIp: caller.sourceAddress.ip, identity, peers, connectTo };
  const attempt: OpenAttempt = (limits) => {
    const tcp = { ...podConnectOptions(parts, pod, limits.signal), timeoutMs: limits.timeoutMs };
    const context = (): Promise<TlsContext> => parts.contexts.get(identity);
    const options = { context, peers, http2: parts.clientHttp2, ...checkChainOf(parts), ...limits };
    return HboneSession.open(connectTo, tcp, options);
  };
  // It serves all who wait for it, so it ends with the pod, not with this connection.
  const limits = { timeoutMs: endpointDeadlineMs(route), signal: pod.gone };
  const open = async (): Promise<HboneSession> => {
    try {
      return await openHedged(attempt, limits);
    } catch (error) {
      throw isTimeoutOfHbone(error, connectTo) ? blockedPort(connectTo, error) : error;
    }
  };
  const request = {
    authority: formatAuthority(route.authority),
    headers: tunnelHeaders(caller, route.service?.hostname),
  };
  let stale = 0;
  let pooled: HboneSession | undefined;
  const begin = (session: HboneSession, fresh: boolean): Promise<Tunnel> => {
    pooled = fresh ? undefined : session;
    noteSession(live, identity, session);
    return openTunnel(session, request, { signal: live.signal });
  };
  for (;;) {
    try {
      return (await parts.pool.withSession(key, open, begin, live.signal)).stream;
    } catch (error) {
      // A pooled session may have ended just before it was used: that says nothing about the endpoint.
      const again = pooled?.retired === true && hasNoAnswer(error) && ++stale <= MAX_STALE_SESSIONS;
      if (!again || live.signal.aborted) throw error;
    }
  }
}

function checkChainOf({ revocation }: DataParts): Pick<SessionOptions, 'checkChain'> {
  if (revocation === undefined) return {};
  return { checkChain: (chain) => revocation.check(chain, 'upstream') };
}

function noteSession({ ends }: LiveConnection, identity: SpiffeId, session: HboneSession): void {
  ends.source.identity = identity;
  ends.destination.identity = session.peerIdentity;
  ends.tlsGroup = session.tlsGroup;
  ends.peerChain = session.peerChain;
}

/** The context in use, or the wait for the first one. */
async function certificateOf({ parts, pod, live }: Caller): Promise<TlsContext> {
  const { contexts } = parts;
  return (
    contexts.current(pod.identity) ?? (await abortable(contexts.get(pod.identity), live.signal))
  );
}

/** The session broke before the peer's proxy said anything. */
function hasNoAnswer(error: unknown): boolean {
  return error instanceof Http2StreamError || hasCode(error, 'ERR_TUNNEL_NO_ROOM');
}

/** A session of its own inside the outer tunnel, so that the gateway can choose an endpoint for each connection. */
async function connectInnerTunnel(
  caller: Caller,
  route: Extract<OutboundRoute, { kind: 'double-hbone' }>,
  outer: ByteStream,
): Promise<ByteStream> {
  const { parts, pod, live } = caller;
  const { signal } = live;
  const { authority, peers } = route.inner;
  const where = formatAuthority(authority);
  const session = await HboneSession.openOver(outer, where, {
    ...{ peers, http2: parts.clientHttp2, signal, ...checkChainOf(parts) },
    context: () => certificateOf(caller),
  });
  noteSession(live, pod.identity, session);
  const headers = [
    ...tunnelHeaders(caller, route.service?.hostname),
    ...[FORWARDED_NETWORK, parts.network],
  ];
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

/** How long one endpoint may take to be connected to. */
function endpointDeadlineMs(route: Readonly<{ service?: Service }>): number {
  return route.service === undefined ? ONLY_ENDPOINT_DEADLINE_MS : ENDPOINT_DEADLINE_MS;
}

function tunnelHeaders(
  { source, sourceAddress, live }: Caller,
  hostname: string | undefined,
): readonly string[] {
  return [
    ...['baggage', makeBaggage(source)],
    ...['forwarded', makeForwarded(sourceAddress, hostname)],
    ...['traceparent', live.traceparent],
  ];
}

function isTimeoutOfHbone(error: unknown, connectTo: SocketAddress): boolean {
  return hasCode(error, 'ERR_CONNECT_TIMEOUT') && connectTo.port === HBONE_PORT;
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof MeshError && error.code === code;
}

function blockedPort(connectTo: SocketAddress, cause: unknown): MeshError {
  const message = `Cannot connect to ${formatSocketAddress(connectTo)}: timed out, maybe a NetworkPolicy is blocking HBONE port ${HBONE_PORT}`;
  return new MeshError('ERR_NETWORK_POLICY', 'upstream', message, { cause });
}

function tooLate(destination: SocketAddress): MeshError {
  const message = `Cannot connect to ${formatSocketAddress(destination)}: not done within ${CONNECT_DEADLINE_MS} ms`;
  return new MeshError('ERR_CONNECT_TIMEOUT', 'upstream', message);
}
