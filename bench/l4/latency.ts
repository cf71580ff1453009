import { makeRow, type Row } from '../harness/rows.ts';
import { valuesOf } from '../harness/rounds.ts';
import { ECHO_PORT } from '../load/protocol.ts';
import { measureRoutes, routeRow } from './compare-routes.ts';
import type { Context, Question } from './context.ts';
import { type Route, routesOf } from './routes.ts';

/** Design, perf-L4. */
const RATE = 1000;
const CONNECTIONS = 4;
const BUDGET = { must: 1.3, aim: 0.9 };
/**
 * Rounds of that for one of the others. What is behind the 99th of a hundred pings is a handful in a round, and a shared machine is
 * away for some milliseconds now and then: in five rounds it is chance whose pings those were.
 */
const TAIL_ROUNDS = 3;
/** As istio/ztunnel's benches: 1 KB there and back. */
const PING_BYTES = 1024;
/** Of a measurement's milliseconds, so that it lasts about as long as the others. */
const PING_PONGS_PER_MS = 2;
/**
 * Over each route before anything is measured: 10 s of the same at four times the rate. A proxy in service has long compiled what such
 * a load runs; at 1,000 a second, no round is long enough for that. Compiling takes a processor for milliseconds at a time: with
 * 8,000 pings one after another in its place, the 99th percentile of the first five rounds was twice that of the last five.
 */
const WARM = { rate: 4 * RATE, count: 40_000 } as const;
const PAIRS = ['nginx', 'haproxy'] as const;

/** How much later does an answer come, at a fixed rate and with one ping at a time? */
export const latency: Question = {
  name: 'latency',
  async ask(context) {
    return [...(await askFixedRate(context)), ...(await askPingPong(context))];
  },
};

async function askFixedRate(context: Context): Promise<Row[]> {
  const name = `${RATE} pings a second on ${CONNECTIONS} connections`;
  const routes = routesOf(context, ['direct', 'halo', ...PAIRS]);
  const ping = async (
    route: Route,
    load: Readonly<{ rate: number; count: number }>,
  ): Promise<Readonly<{ p50Us: number; p99Us: number }>> => {
    const ask = { ...route.to(ECHO_PORT), connections: CONNECTIONS, bytes: PING_BYTES, ...load };
    const { p50Us, p99Us, errors } = await route.client().ask('pings', ask);
    if (errors > 0) throw new Error(`Cannot measure latency: ${errors} pings failed`);
    return { p50Us, p99Us };
  };
  for (const route of routes) {
    context.note(`latency: ${WARM.count} pings over ${route.name}, not measured`);
    await ping(route, WARM);
  }
  const thorough = { ...context, rounds: TAIL_ROUNDS * context.rounds };
  const load = { rate: RATE, count: Math.round((context.ms * RATE) / 1000) };
  const results = await measureRoutes(thorough, name, routes, (route) => ping(route, load));
  return (['p50', 'p99'] as const).flatMap((which) => {
    const value = `${which}Us`;
    const direct = valuesOf(results, 'direct', value);
    const added = (route: 'halo' | 'nginx'): number[] =>
      valuesOf(results, route, value).map((us, round) => us - (direct[round] ?? NaN));
    const nginx = added('nginx');
    return [
      makeRow({
        ...{ metric: `perf-L4 latency added, ${which}`, unit: 'us', better: 'lower' },
        ours: added('halo'),
        ...(nginx.length > 0 && { peer: { name: 'nginx', values: nginx }, budget: BUDGET }),
      }),
      ...routeRow(results, {
        ...{ metric: `${name}, ${which}`, value, unit: 'us', better: 'lower' },
        ...{ ours: 'halo', peers: PAIRS },
      }),
      ...routeRow(results, {
        ...{ metric: `${name}, ${which} against direct`, value, unit: 'us', better: 'lower' },
        ...{ ours: 'halo', peers: ['direct'] },
      }),
    ];
  });
}

async function askPingPong(context: Context): Promise<Row[]> {
  const name = '1 KB ping, one at a time';
  const routes = routesOf(context, ['direct', 'passthrough', 'halo', ...PAIRS]);
  const count = Math.round(context.ms * PING_PONGS_PER_MS);
  const results = await measureRoutes(context, name, routes, async (route) => {
    const ask = { ...route.to(ECHO_PORT), bytes: PING_BYTES, count };
    const { p50Us } = await route.client().ask('pingPong', ask);
    return { p50Us };
  });
  const plan = { value: 'p50Us', unit: 'us', better: 'lower' } as const;
  return [
    ...routeRow(results, { metric: `${name}, p50`, ...plan, ours: 'halo', peers: PAIRS }),
    ...routeRow(results, {
      ...{ metric: `${name}, p50 against direct`, ...plan, ours: 'halo', peers: ['direct'] },
    }),
    ...routeRow(results, {
      ...{ metric: `${name}, plain relay, p50`, ...plan, ours: 'passthrough', peers: ['direct'] },
    }),
  ];
}
