import { abortable } from '../base/abortable.ts';
import type { IpAddress, SocketAddress } from '../base/address.ts';
import { MeshError } from '../base/errors.ts';
import { formatAuthority } from '../mesh/hbone/authority.ts';
import { trafficPolicyOf, type UpstreamTls } from '../mesh/model/traffic-policy.ts';
import type { WorkloadUid } from '../mesh/model/workload.ts';
import {
  connectFirst,
  connectTunnel,
  endpointDeadlineMs,
  tunnelHeaders,
  type Attempt,
  type Caller,
} from '../mesh/proxy/connect.ts';
import type { ByteStream } from '../net/byte-stream.ts';
import { connectTcp } from '../net/tcp.ts';
import { peersOf } from '../mesh/proxy/next-hop.ts';
import { RefusedError } from '../mesh/proxy/refused-error.ts';
import { keyOfService } from '../mesh/proxy/state/vips.ts';
import type { Target } from './admit.ts';
import { acceptConnection, calledAddress, type WaypointConnection } from './connection.ts';
import type { SecuredConnection } from './security.ts';
import type { WaypointParts } from './parts.ts';
import { selectUpstream, type UpstreamRoute } from './route.ts';
import { needsTls } from './upstream/tls.ts';

/**
 * Carries a connection's bytes as they are to an endpoint, inside of TLS where its service's policy asks for that.
 *
 * @param options.accepted where the client has been answered already, because its first bytes had to be seen.
 * @param options.target where a route sends it; what was called, unless told otherwise.
 * @throws {MeshError} when none could be reached.
 */
export async function serveTcp(
  connection: WaypointConnection,
  parts: WaypointParts,
  options: Readonly<{ accepted?: ByteStream; target?: Target }> = {},
): Promise<void> {
  const { live } = connection;
  const { accepted, target = connection.target } = options;
  const secured = securedConnection(connection);
  const check = (): string | undefined => parts.security.refusalOfConnection(secured);
  const refused = check();
  if (refused !== undefined) throw new RefusedError(401, refused);
  live.setCheck(check);
  const upstream = await connectTarget({ ...connection, target }, parts);
  let downstream: ByteStream;
  try {
    live.signal.throwIfAborted();
    downstream = accepted ?? acceptConnection(connection);
  } catch (error) {
    upstream.reset();
    throw error;
  }
  live.relay(downstream, upstream);
}

/** Who is carried, and where to. */
export type CarriedConnection = Pick<WaypointConnection, 'target' | 'self' | 'live'> &
  Readonly<{ client: Readonly<{ address: SocketAddress }> }>;

/**
 * Connects to an endpoint of what a connection is for, inside of TLS where policy asks for that.
 *
 * @throws {MeshError} when none could be reached.
 */
export function connectTarget(
  connection: CarriedConnection,
  parts: WaypointParts,
): Promise<ByteStream> {
  const { live, target } = connection;
  const tls = tlsOf(parts, target);
  const resolved = new Map<string, readonly IpAddress[]>();
  return connectFirst(live, formatAuthority(target.authority), (tried) =>
    nextAttempt(connection, parts, { tls, tried, resolved }),
  );
}

function securedConnection({ client, target }: WaypointConnection): SecuredConnection {
  return {
    ...{ remote: client.address, identity: client.identity, local: calledAddress(target, client) },
    ...(target.kind === 'service' && { service: target.service }),
  };
}

type Search = Readonly<{
  tls: UpstreamTls | undefined;
  tried: ReadonlySet<WorkloadUid>;
  resolved: Map<string, readonly IpAddress[]>;
}>;

/** @throws {RefusedError} 503 where a policy asks for what cannot be done. */
function tlsOf({ store }: WaypointParts, target: Target): UpstreamTls | undefined {
  if (target.kind !== 'service') return undefined;
  const { traffic } = store.config(keyOfService(target.service));
  const { problem, tls } = trafficPolicyOf(traffic, target.port) ?? {};
  if (problem !== undefined) throw new RefusedError(503, problem);
  return tls;
}

async function nextAttempt(
  connection: CarriedConnection,
  parts: WaypointParts,
  { tls, tried, resolved }: Search,
): Promise<Attempt> {
  const { target, self, live } = connection;
  for (;;) {
    live.signal.throwIfAborted();
    const request = { target, self, tried, resolved, random: Math.random };
    const route = selectUpstream(parts.state, request);
    if (route.kind === 'resolve') {
      const asked = parts.resolveHostname(route.hostname).catch(() => []); // a name without addresses
      resolved.set(route.hostname, await abortable(asked, live.signal));
      continue;
    }
    if (route.kind === 'reject')
      return {
        kind: 'reject',
        error: new MeshError('ERR_NO_HEALTHY_UPSTREAM', 'local', route.reason),
        note: () => undefined,
      };
    noteRoute(connection, route);
    return {
      kind: 'connect',
      ...(route.workload && { workload: route.workload }),
      connect: () => connectRoute(connection, parts, route, tls),
    };
  }
}

type Dialled = Extract<UpstreamRoute, { kind: 'hbone' | 'plain' }>;

/** What the record says about where it went. */
function noteRoute({ live: { ends } }: CarriedConnection, route: Dialled): void {
  ends.destination.address = route.connectTo;
  ends.destination.workload = route.workload;
  ends.destination.identity = undefined;
  ends.destination.hboneTarget =
    route.kind === 'hbone' ? formatAuthority(route.authority) : undefined;
}

async function connectRoute(
  connection: CarriedConnection,
  parts: WaypointParts,
  route: Dialled,
  tls: UpstreamTls | undefined,
): Promise<ByteStream> {
  const below = await connectBelow(connection, parts, route);
  const { workload, service } = route;
  if (!needsTls(tls, workload)) return below;
  return await parts.upstreamTls.connect(
    ...([below, tls, 'bytes', workload === undefined ? [] : peersOf(workload, service)] as const),
    { signal: connection.live.signal, timeoutMs: endpointDeadlineMs(route) },
  );
}

async function connectBelow(
  connection: CarriedConnection,
  parts: WaypointParts,
  route: Dialled,
): Promise<ByteStream> {
  const { live, client, self } = connection;
  const { signal } = live;
  const timeoutMs = endpointDeadlineMs(route);
  if (route.kind === 'plain') return await connectTcp(route.connectTo, { signal, timeoutMs });
  const headers = tunnelHeaders(
    { workload: self, address: client.address },
    live,
    route.service?.hostname,
  );
  const tunnel = await connectTunnel(parts, callerOf(connection, parts, route.connectTo), route, {
    ...{ headers, timeoutMs, signal },
    onSession: ({ peerIdentity }) => {
      live.ends.destination.identity = peerIdentity;
    },
  });
  return tunnel.stream;
}

/** Sessions are the waypoint's own, whoever calls: behind it, identity is its own too. */
function callerOf(
  { self }: CarriedConnection,
  { self: { identity }, gone }: WaypointParts,
  connectTo: SocketAddress,
): Caller {
  return {
    ...{ podUid: self.uid, ip: self.addresses[0] ?? connectTo.ip, identity, gone },
    tcpOptions: (signal) => ({ signal }),
  };
}
