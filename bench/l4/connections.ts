import { processorTimeUs } from '../harness/processes.ts';
import { warmUp } from '../harness/warm-up.ts';
import { ECHO_PORT } from '../load/protocol.ts';
import { measureRoutes, routeRow } from './compare-routes.ts';
import type { Question } from './context.ts';
import { type Route, routesOf } from './routes.ts';

/** So many clients at once, each opening the next connection when the last has ended. */
const PARALLEL = 16;
const PAIRS = ['nginx', 'haproxy'] as const;

/**
 * How many connections a second can be opened, used for one byte and closed? Ours go through sessions that are open
 * (the pool); the pairs shake hands for each.
 */
export const connections: Question = {
  name: 'connections',
  async ask(context) {
    const { ms, warmMs } = context;
    const name = 'new connections';
    const routes = routesOf(context, ['direct', 'passthrough', 'halo', ...PAIRS]);
    const measure = async (route: Route): Promise<{ perSecond: number; cpuUs?: number }> => {
      const pids = await route.pids();
      const before = processorTimeUs(pids);
      const ask = { ...route.to(ECHO_PORT), parallel: PARALLEL, warmMs, ms };
      const { perSecond } = await route.client().ask('connections', ask);
      const cpuUs = (processorTimeUs(pids) - before) / ((perSecond * (ms + warmMs)) / 1000);
      return { perSecond, ...(pids.length > 0 && { cpuUs }) };
    };
    for (const route of routes)
      await warmUp(async () => {
        context.note(`${name}: warming up ${route.name}`);
        return 1 / (await measure(route)).perSecond;
      });
    const results = await measureRoutes(context, name, routes, measure);
    const rate = { value: 'perSecond', unit: '1/s', better: 'higher' } as const;
    const cost = { value: 'cpuUs', unit: 'us', better: 'lower' } as const;
    return [
      ...routeRow(results, {
        ...{ metric: `perf-L5 ${name}, pooled`, ...rate, ours: 'halo', peers: ['direct'] },
        budget: { must: 0.3, aim: 0.5 },
      }),
      ...routeRow(results, {
        ...{ metric: `${name}, plain relay`, ...rate, ours: 'passthrough', peers: ['direct'] },
      }),
      ...routeRow(results, {
        ...{ metric: `${name}, pooled, against pairs`, ...rate, ours: 'halo', peers: PAIRS },
      }),
      ...routeRow(results, {
        ...{ metric: `${name}, processor time of both proxies`, ...cost, ours: 'halo' },
        peers: PAIRS,
      }),
    ];
  },
};
