import type { ExecutionContext } from 'ava';
import { parseIpAddress } from '../../base/address.ts';
import { systemClock } from '../../certs/clock.ts';
import { parseSpiffeId } from '../../mesh/model/identity.ts';
import {
  serviceKey,
  type PortMapping,
  type Service,
  type ServiceKey,
} from '../../mesh/model/service.ts';
import { encodeWaypointConfigs, type WaypointConfigs } from '../../mesh/xds/waypoint-codecs.ts';
import { DEFAULT_TRAFFIC_POLICY, type TrafficPolicy } from '../../mesh/model/traffic-policy.ts';
import { ProxyState } from '../../mesh/proxy/state/store.ts';
import { WaypointStore } from '../../mesh/proxy/state/waypoint-store.ts';
import { systemClock as netClock } from '../../net/clock.ts';
import { connectHttp } from '../../net/http/client.ts';
import type { HttpServerOptions } from '../../net/http/server.ts';
import { listenTcp } from '../../net/tcp-listener.ts';
import { connectTcp } from '../../net/tcp.ts';
import type { HttpRequest } from '../../waypoint/http-request.ts';
import type { OutlierEvent } from '../../waypoint/outlier.ts';
import { HttpSteps, type RequestJudges } from '../../waypoint/http-steps.ts';
import { HttpConnections, serveHttpConnection } from '../../waypoint/http.ts';
import { Deadlines } from '../../waypoint/timeout.ts';
import { UpstreamPool } from '../../waypoint/upstream/pool.ts';
import { isTargetEndpoint } from '../../waypoint/upstream/target-backend.ts';
import { UpstreamTargets } from '../../waypoint/upstream/targets.ts';
import type { UpstreamTlsClient } from '../../waypoint/upstream/tls.ts';
import { makeService, makeWorkload } from './workloads.ts';

const VIP = '10.96.0.10';
const PORT: PortMapping = { servicePort: 80, targetPort: 0, appProtocol: 'HTTP11' };

export type PlainWaypointOptions = Omit<ServicesOptions, 'configs'> &
  Readonly<{
    /** What is asked of connections to the server. */
    traffic?: Partial<TrafficPolicy>;
  }>;

export type PlainWaypoint = Readonly<{
  port: number;
  /** Client connections that are open. */
  open: () => number;
  pool: UpstreamPool;
  faults: readonly unknown[];
  /** Those that have ended. */
  requests: readonly HttpRequest[];
  targets: UpstreamTargets;
  state: ProxyState;
  store: WaypointStore;
}>;

/**
 * All that a waypoint does with HTTP, in front of one server of HTTP/1.1 that is no member of the mesh, until the test
 * ends: what its clients otherwise send in tunnels, they send here as it is.
 */
export function servePlainWaypoint(
  t: ExecutionContext,
  backEndPort: number,
  { traffic, ...options }: PlainWaypointOptions = {},
): PlainWaypoint {
  const policy = { ...DEFAULT_TRAFFIC_POLICY, ...traffic };
  const told = { service: plainService('web'), policy, ports: new Map(), subsets: [] };
  return serveServices(
    t,
    { web: [backEndPort] },
    { ...options, configs: { web: { traffic: told } } },
  );
}

/** The key of a service of serveServices(). */
export function plainService(name: string): ServiceKey {
  return serviceKey('shop', makeService({ name }).hostname);
}

export type ServicesOptions = Readonly<{
  server?: HttpServerOptions;
  version?: 'prefer-http2' | 'detect';
  tls?: UpstreamTlsClient;
  judges?: Partial<Pick<RequestJudges, 'authorize' | 'onRequestEnd'>>;
  /** By the service's name. */
  configs?: Readonly<Record<string, Partial<Omit<WaypointConfigs, 'service'>>>>;
  onOutlierEvent?: (target: string, event: OutlierEvent) => void;
}>;

/**
 * As servePlainWaypoint(), with several services, of which the first is asked.
 *
 * @param services ports on 127.0.0.1, each an endpoint, by the service's name.
 */
export function serveServices(
  t: ExecutionContext,
  services: Readonly<Record<string, readonly number[]>>,
  options: ServicesOptions = {},
): PlainWaypoint {
  const state = new ProxyState();
  const store = new WaypointStore();
  const [first] = Object.entries(services).map(([name, ports]): Service => {
    const service = { ...makeService({ name, vips: [VIP] }), ports: [PORT] };
    state.setService(service);
    for (const port of ports)
      state.setWorkload(
        makeWorkload({
          ...{ name: `${name}-${port}`, ips: ['127.0.0.1'], tunnelProtocol: 'NONE' },
          serves: { [plainService(name)]: [`80:${port}`] },
        }),
      );
    for (const { typeUrl, bytes } of encodeWaypointConfigs(options.configs?.[name] ?? {}))
      t.deepEqual(store.apply(typeUrl, [{ name: plainService(name), bytes }], [])?.rejected, []);
    return service;
  });
  if (first === undefined) throw new Error('a waypoint without services');
  const service = first;
  const clock = {
    now: () => performance.now(),
    schedule: systemClock.schedule,
    random: Math.random,
  };
  const { onOutlierEvent, tls } = options;
  const targets = new UpstreamTargets({
    ...{ state, store, clock, self: () => undefined, network: '', isIngress: false },
    ...(onOutlierEvent && { onOutlierEvent }),
  });
  const pool = new UpstreamPool(async (endpoint, version, events, timeoutMs) => {
    const asked = isTargetEndpoint(endpoint) ? endpoint.tls : undefined;
    if (asked !== undefined && tls === undefined) throw new Error('nobody is there to begin TLS');
    const below = await connectTcp(endpoint.address, { timeoutMs });
    const transport =
      asked === undefined || tls === undefined
        ? below
        : await tls.connect(below, asked, version, [], { timeoutMs });
    return connectHttp(transport, version === 'HTTP/2' ? 'http2' : 'http1', {}, events);
  });
  const faults: unknown[] = [];
  const requests: HttpRequest[] = [];
  const steps = new HttpSteps({
    ...{ store, targets, pool, deadlines: new Deadlines(netClock) },
    random: Math.random,
    paths: () => 'STRICT',
    judges: {
      authorize: () => undefined,
      limitRate: () => undefined,
      trace: () => undefined,
      onRequestEnd: (request) => requests.push(request),
      onFault: (error) => faults.push(error),
      ...options.judges,
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
        options.version ?? 'detect',
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
        { steps, connections, server: options.server ?? {} },
      );
    },
  );
  t.teardown(() => {
    listener.close();
    for (const close of closers) close();
    pool[Symbol.dispose]();
    targets[Symbol.dispose]();
  });
  const { port } = listener.local;
  return { ...{ port, open: () => closers.size, pool, faults, requests, targets, state, store } };
}
