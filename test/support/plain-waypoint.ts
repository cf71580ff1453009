import type { ExecutionContext } from 'ava';
import { parseIpAddress } from '../../base/address.ts';
import { systemClock } from '../../certs/clock.ts';
import { parseSpiffeId } from '../../mesh/model/identity.ts';
import { DEFAULT_TRAFFIC_POLICY, type TrafficPolicy } from '../../mesh/model/traffic-policy.ts';
import { ProxyState } from '../../mesh/proxy/state/store.ts';
import { keyOfService } from '../../mesh/proxy/state/vips.ts';
import { WaypointStore } from '../../mesh/proxy/state/waypoint-store.ts';
import { encodeServiceTraffic, SERVICE_TRAFFIC_TYPE } from '../../mesh/xds/codec-traffic.ts';
import { systemClock as netClock } from '../../net/clock.ts';
import { connectHttp } from '../../net/http/client.ts';
import type { HttpServerOptions } from '../../net/http/server.ts';
import { listenTcp } from '../../net/tcp-listener.ts';
import { connectTcp } from '../../net/tcp.ts';
import type { HttpRequest } from '../../waypoint/http-request.ts';
import { HttpSteps, type RequestJudges } from '../../waypoint/http-steps.ts';
import { HttpConnections, serveHttpConnection } from '../../waypoint/http.ts';
import { Deadlines } from '../../waypoint/timeout.ts';
import { UpstreamPool } from '../../waypoint/upstream/pool.ts';
import { isTargetEndpoint } from '../../waypoint/upstream/target-backend.ts';
import { UpstreamTargets } from '../../waypoint/upstream/targets.ts';
import type { UpstreamTlsClient } from '../../waypoint/upstream/tls.ts';
import { makeService, makeWorkload } from './workloads.ts';

const VIP = '10.96.0.10';

export type PlainWaypointOptions = Readonly<{
  server?: HttpServerOptions;
  /** What clients speak. */
  version?: 'http2' | 'detect';
  /** What is asked of connections to the server. */
  traffic?: Partial<TrafficPolicy>;
  tls?: UpstreamTlsClient;
  judges?: Partial<Pick<RequestJudges, 'authorize'>>;
}>;

export type PlainWaypoint = Readonly<{
  port: number;
  /** Client connections that are open. */
  open: () => number;
  pool: UpstreamPool;
  faults: readonly unknown[];
  /** Requests that have ended. */
  records: readonly HttpRequest[];
}>;

/**
 * All that a waypoint does with HTTP, in front of one server of HTTP/1.1 that is no member of the mesh, until the test
 * ends: what its clients otherwise send in tunnels, they send here as it is.
 */
export function servePlainWaypoint(
  t: ExecutionContext,
  backEndPort: number,
  options: PlainWaypointOptions = {},
): PlainWaypoint {
  const { server = {}, version = 'detect', traffic = {}, tls, judges = {} } = options;
  const named = makeService({ name: 'web', vips: [VIP] });
  const ports = [{ servicePort: 80, targetPort: backEndPort, appProtocol: 'HTTP11' }] as const;
  const service = { ...named, ports };
  const key = `shop/${service.hostname}`;
  const state = new ProxyState();
  state.setService(service);
  state.setWorkload(
    makeWorkload({
      ...{ name: 'web', ips: ['127.0.0.1'], tunnelProtocol: 'NONE' },
      serves: { [key]: [`80:${backEndPort}`] },
    }),
  );
  const store = new WaypointStore();
  const policy = { ...DEFAULT_TRAFFIC_POLICY, ...traffic };
  const told = { service: keyOfService(service), policy, ports: new Map(), subsets: [] };
  const bytes = encodeServiceTraffic(told);
  store.apply(SERVICE_TRAFFIC_TYPE, [{ name: told.service, bytes }], []);
  const clock = {
    now: () => performance.now(),
    schedule: systemClock.schedule,
    random: Math.random,
  };
  const targets = new UpstreamTargets({ state, store, clock, self: () => undefined });
  const pool = new UpstreamPool(async (endpoint, version, events, timeoutMs) => {
    const below = await connectTcp(endpoint.address, { timeoutMs });
    const asked = isTargetEndpoint(endpoint) ? endpoint.tls : undefined;
    const transport =
      asked === undefined || tls === undefined
        ? below
        : await tls.connect(below, asked, version, [], { timeoutMs });
    return connectHttp(transport, version === 'HTTP/2' ? 'http2' : 'http1', {}, events);
  });
  const records: HttpRequest[] = [];
  const faults: unknown[] = [];
  const steps = new HttpSteps({
    ...{ store, targets, pool, deadlines: new Deadlines(netClock) },
    random: Math.random,
    paths: 'STRICT',
    judges: {
      authorize: () => undefined,
      limitRate: () => undefined,
      trace: () => undefined,
      onRequestEnd: (request) => records.push(request),
      onFault: (error) => faults.push(error),
      ...judges,
    },
  });
  const connections = new HttpConnections();
  const closers = new Set<() => void>();
  const listener = listenTcp(
    { address: { ip: parseIpAddress('127.0.0.1'), port: 0 } },
    (stream) => {
      let closer: (() => void) | undefined;
      serveHttpConnection(
        stream,
        version,
        {
          facts: {
            remote: { ip: parseIpAddress('10.0.0.7'), port: 40_001 },
            local: { ip: parseIpAddress(VIP), port: 80 },
            identity: parseSpiffeId('spiffe://cluster.local/ns/shop/sa/client'),
            service,
          },
          live: {
            hold(close) {
              closers.add((closer = close));
            },
            done() {
              if (closer !== undefined) closers.delete(closer);
            },
          },
        },
        { steps, connections, server },
      );
    },
  );
  t.teardown(() => {
    listener.close();
    for (const close of closers) close();
    pool[Symbol.dispose]();
    targets[Symbol.dispose]();
  });
  return { port: listener.local.port, open: () => closers.size, pool, faults, records };
}
