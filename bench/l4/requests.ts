import { setTimeout as wait } from 'node:timers/promises';
import { runChild } from '../harness/child.ts';
import { processorTimeUs } from '../harness/processes.ts';
import type { Row } from '../harness/rows.ts';
import { HTTP_PORT } from '../load/protocol.ts';
import { measureRoutes, routeRow } from './compare-routes.ts';
import type { Context, Question } from './context.ts';
import { startHttpServers, type HttpServers } from './http-servers.ts';
import { routesOf, type Route } from './routes.ts';

/** Design, perf-L3; 32 lies between. */
const BUDGETS = new Map([
  [4, { must: 1.3, aim: 0.9 }],
  [32, undefined],
  [128, { must: 0.7, aim: 0.4 }],
]);
const PAIRS = ['nginx', 'haproxy'] as const;

/** What does a small request on an open connection cost, and how many a second are there? */
export const requests: Question = {
  name: 'requests',
  async ask(context) {
    await using servers = await startHttpServers(context.rig);
    const rows: Row[] = [];
    for (const connections of BUDGETS.keys())
      rows.push(...(await askConnections(context, servers, connections)));
    return rows;
  },
};

async function askConnections(
  context: Context,
  servers: HttpServers,
  connections: number,
): Promise<Row[]> {
  const name = `requests, ${connections} connections`;
  const routes = routesOf(context, ['direct', 'halo', ...PAIRS]);
  const results = await measureRoutes(context, name, routes, (route) =>
    measureRequests(context, servers, route, connections),
  );
  const cost = { value: 'cpuUs', unit: 'us', better: 'lower', ours: 'halo' } as const;
  const rate = { value: 'perSecond', unit: '1/s', better: 'higher', ours: 'halo' } as const;
  const budget = BUDGETS.get(connections);
  return [
    ...routeRow(results, {
      ...{ metric: `${budget === undefined ? '' : 'perf-L3 '}${name}, processor time`, ...cost },
      ...{ peers: ['nginx'], ...(budget !== undefined && { budget }) },
    }),
    ...routeRow(results, { metric: `${name}, rate`, ...rate, peers: PAIRS }),
    ...routeRow(results, { metric: `${name}, rate against direct`, ...rate, peers: ['direct'] }),
  ];
}

/**
 * wrk makes the load; what passed in the middle of its run is counted by the server, so that neither connecting nor
 * handshakes are part of it.
 */
async function measureRequests(
  { rig, ms, warmMs }: Context,
  servers: HttpServers,
  route: Route,
  connections: number,
): Promise<Record<string, number>> {
  const { host, port } = route.to(HTTP_PORT);
  const pids = await route.pids();
  const runMs = warmMs + ms + 500;
  const load = runChild(
    rig.enter(route.place, [
      ...['wrk', '-t1', `-c${connections}`, `-d${Math.ceil(runMs / 1000)}s`],
      `http://${host}:${port}/`,
    ]),
  );
  const counted = async (): Promise<{ requests: number; cpuUs: number; atMs: number }> => ({
    requests: await servers.requests(route.server),
    cpuUs: processorTimeUs(pids),
    atMs: performance.now(),
  });
  load.catch(() => undefined); // awaited below
  await wait(warmMs);
  const before = await counted();
  await wait(ms);
  const after = await counted();
  const errors = readWrkErrors(await load);
  if (errors !== undefined) throw new Error(`Cannot count requests: ${errors}`);
  const count = after.requests - before.requests;
  return {
    perSecond: (count * 1000) / (after.atMs - before.atMs),
    ...(pids.length > 0 && { cpuUs: (after.cpuUs - before.cpuUs) / count }),
  };
}

/** wrk's own line about what went wrong; none when nothing did. */
export function readWrkErrors(report: string): string | undefined {
  const socketErrors = /^\s*Socket errors: (.*)$/m.exec(report)?.[1];
  const refused = /^\s*Non-2xx or 3xx responses: (\d+)$/m.exec(report)?.[1];
  if (refused !== undefined) return `${refused} answers were errors`;
  // Timeouts at the end of a run are answers that wrk did not wait for.
  const counts = /connect (\d+), read (\d+), write (\d+)/.exec(socketErrors ?? '');
  return counts === null || counts.slice(1).every((count) => count === '0')
    ? undefined
    : `socket errors: ${socketErrors ?? ''}`;
}
