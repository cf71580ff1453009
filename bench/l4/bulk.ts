import { processorTimeUs } from '../harness/processes.ts';
import type { Row } from '../harness/rows.ts';
import { SOURCE_PORT } from '../load/protocol.ts';
import { measureRoutes, routeRow } from './compare-routes.ts';
import type { Context, Question } from './context.ts';
import { routesOf, type Route } from './routes.ts';

const STREAMS = [1, 2, 8];
const PAIRS = ['nginx', 'haproxy'] as const;
const ROUTES = ['direct', 'passthrough', 'halo', ...PAIRS] as const;
/** Proxies run for months: by then their code is compiled, and their long connections know the way. Seen in rounds: 10 s. */
const WARM_MS = 12_000;

/** How many bytes a second pass, and what do they cost? The scenarios of istio/ztunnel's benches/throughput.rs. */
export const bulk: Question = {
  name: 'bulk',
  async ask(context) {
    const rows: Row[] = [];
    for (const route of routesOf(context, ROUTES)) {
      context.note(`bulk: ${WARM_MS / 1000} s over ${route.name}, not measured`);
      await measureBulk({ ...context, ms: WARM_MS }, route, Math.max(...STREAMS));
    }
    for (const streams of STREAMS) rows.push(...(await askStreams(context, streams)));
    return rows;
  },
};

async function askStreams(context: Context, streams: number): Promise<Row[]> {
  const routes = routesOf(context, ROUTES);
  const name = `bulk, ${streams} stream${streams === 1 ? '' : 's'}`;
  const results = await measureRoutes(context, name, routes, (route) =>
    measureBulk(context, route, streams),
  );
  const rate = { value: 'gigabits', unit: 'Gb/s', better: 'higher' } as const;
  const cost = { value: 'cpuPerGb', unit: 's/GB', better: 'lower' } as const;
  const halo = { ours: 'halo', peers: PAIRS } as const;
  const budgeted = streams !== 2;
  return [
    ...routeRow(results, {
      ...{ metric: `${budgeted ? 'perf-L1 ' : ''}${name}`, ...rate, ...halo },
      ...(budgeted && { budget: { must: 1, aim: 1.2 } }),
    }),
    ...routeRow(results, {
      ...{ metric: `${name}, processor time of both proxies`, ...cost, ...halo },
    }),
    ...routeRow(results, {
      ...{ metric: `${name}, against direct`, ...rate, ours: 'halo', peers: ['direct'] },
    }),
    ...routeRow(results, {
      ...{ metric: `${streams === 1 ? 'perf-L2 ' : ''}plain relay, ${name}`, ...rate },
      ...{ ours: 'passthrough', peers: ['direct'] },
      ...(streams === 1 && { budget: { must: 0.6, aim: 0.85 } }),
    }),
  ];
}

async function measureBulk(
  { ms, warmMs }: Context,
  route: Route,
  streams: number,
): Promise<Record<string, number>> {
  const pids = await route.pids();
  const before = processorTimeUs(pids);
  const { bytes, ms: tookMs } = await route.client().ask('bulk', {
    ...{ ...route.to(SOURCE_PORT), direction: 'down', streams, stalled: 0, warmMs, ms },
  });
  const total = bytes.reduce((sum, of) => sum + of, 0);
  // Processor time is of the whole run: the warm-up carried bytes at about the same rate.
  const usPerMs = (processorTimeUs(pids) - before) / (tookMs + warmMs);
  return {
    gigabits: (total * 8) / tookMs / 1e6,
    ...(pids.length > 0 && { cpuPerGb: (usPerMs * tookMs * 1e3) / total }),
  };
}
