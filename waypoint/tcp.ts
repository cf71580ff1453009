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
import { peersOf } from '../mesh/proxy/next-hop.ts';
import { RefusedError } from '../mesh/proxy/refused-error.ts';
import { keyOfService } from '../mesh/proxy/state/vips.ts';
import type { Target } from './admit.ts';
import { calledAddress, type CarriedConnection } from './connection.ts';
import type { SecuredConnection } from './security.ts';
import type { WaypointParts } from './parts.ts';
import { selectUpstream, type UpstreamRoute } from './route.ts';
import { connectPlain } from './upstream/connect-plain.ts';
import { needsTls } from './upstream/tls.ts';

/**
 * Carries a connection's bytes as they are to an endpoint, inside of TLS where its service's policy asks for that.
 *
 * @param options.accept answers the client, when the upstream is there.
 * @param options.target where a route sends it; what was called, unless told otherwise.
 * @param options.secured what policy looks at; the client and what it called, unless told otherwise.
 * @throws {MeshError} when none could be reached.
 */
export async function serveTcp(
  connection: CarriedConnection,
  parts: WaypointParts,
  options: Readonly<{ accept: () => ByteStream; target?: Target; secured?: SecuredConnection }>,
): Promise<void> {
  const { live } = connection;
  const { accept, target = connection.target, secured = securedConnection(connection) } = options;
  const check = (): string | undefined => parts.security.refusalOfConnection(secured);
  const refused = check();
  if (refused !== undefined) throw new RefusedError(401, refused);
  live.setCheck(check);
  const tls = tlsOf(parts, target);
  const resolved = new Map<string, readonly IpAddress[]>();
  const destination = formatAuthority(connection.target.authority);
  const upstream = await connectFirst(live, destination, (tried) =>
    nextAttempt({ ...connection, target }, parts, { tls, tried, resolved }),
  );
  let downstream: ByteStream;
  try {
    live.signal.throwIfAborted();
    downstream = accept();
  } catch (error) {
    upstream.reset();
    throw error;
  }
  live.relay(downstream, upstream);
}

function securedConnection({ client, target }: CarriedConnection): SecuredConnection {
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
  if (route.kind === 'plain')
    return await connectPlain(parts, route.connectTo, { signal, timeoutMs });
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
