import type { ExecutionContext } from 'ava';
import { parseIpAddress } from '../../base/address.ts';
import { systemClock } from '../../certs/clock.ts';
import { parseAuthority } from '../../mesh/hbone/authority.ts';
import { parseSpiffeId } from '../../mesh/model/identity.ts';
import { ProxyState } from '../../mesh/proxy/state/store.ts';
import { WaypointStore } from '../../mesh/proxy/state/waypoint-store.ts';
import { systemClock as netClock } from '../../net/clock.ts';
import { connectHttp } from '../../net/http/client.ts';
import type { HttpServerOptions } from '../../net/http/server.ts';
import { listenTcp } from '../../net/tcp-listener.ts';
import { connectTcp } from '../../net/tcp.ts';
import { HttpSteps, type RequestJudges } from '../../waypoint/http-steps.ts';
import { HttpConnections, serveHttpConnection } from '../../waypoint/http.ts';
import { Deadlines } from '../../waypoint/timeout.ts';
import { UpstreamPool } from '../../waypoint/upstream/pool.ts';
import { UpstreamTargets } from '../../waypoint/upstream/targets.ts';
import { makeService, makeWorkload } from './workloads.ts';

const VIP = '10.96.0.10';

export type PlainWaypoint = Readonly<{
  port: number;
  /** Client connections that are open. */
  open: () => number;
  pool: UpstreamPool;
  faults: readonly unknown[];
}>;

/**
 * All that a waypoint does with HTTP, in front of one server of HTTP/1.1 that is no member of the mesh, until the test
 * ends: what its clients otherwise send in tunnels, they send here as it is.
 */
export function servePlainWaypoint(
  t: ExecutionContext,
  backEndPort: number,
  server: HttpServerOptions = {},
  judges: Partial<RequestJudges> = {},
): PlainWaypoint {
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
  const clock = {
    now: () => performance.now(),
    schedule: systemClock.schedule,
    random: Math.random,
  };
  const targets = new UpstreamTargets({ state, store, clock, self: () => undefined });
  const pool = new UpstreamPool(async ({ address }, version, events, timeoutMs) =>
    connectHttp(
      await connectTcp(address, { timeoutMs }),
      version === 'HTTP/2' ? 'http2' : 'http1',
      {},
      events,
    ),
  );
  const faults: unknown[] = [];
  const steps = new HttpSteps({
    ...{ store, targets, pool, deadlines: new Deadlines(netClock) },
    random: Math.random,
    paths: () => 'STRICT',
    judges: {
      authorize: () => undefined,
      limitRate: () => undefined,
      trace: () => undefined,
      onRequestEnd: () => undefined,
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
        {
          target: { kind: 'service', service, port: 80, authority: parseAuthority(`${VIP}:80`) },
          client: {
            address: { ip: parseIpAddress('10.0.0.7'), port: 40_001 },
            identity: parseSpiffeId('spiffe://cluster.local/ns/shop/sa/client'),
            workload: undefined,
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
  return { port: listener.local.port, open: () => closers.size, pool, faults };
}
