import { writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { setTimeout as wait } from 'node:timers/promises';
import { runChild, startChild, stopChild } from '../harness/child.ts';
import { processorTimeUs, processTree } from '../harness/processes.ts';
import { measureRounds, valuesOf } from '../harness/rounds.ts';
import { bestPeer, makeRow, type Row } from '../harness/rows.ts';
import { TemporaryFolder } from '../harness/temporary-folder.ts';
import { readRequests } from '../l4/http-servers.ts';
import { readWrkErrors } from '../l4/requests.ts';
import { httpServerConfiguration } from '../peers/nginx.ts';
import { BACKEND_PORT, type HttpProxy, PROXIES } from './proxies.ts';

/** Design, perf-W2. */
const BUDGET = { must: 0.8, aim: 1.1 } as const;
const CONNECTIONS = [1, 32, 256] as const;
const BODIES = [
  { name: 'small', path: '/', bytes: 3 },
  { name: '16 KiB', path: '/large', bytes: 16 << 10 },
] as const;
const START_TIMEOUT_MS = 5000;

export type Http1Settings = Readonly<{
  rounds: number;
  /** Of one measurement; and before it, until everything has got going. */
  ms: number;
  warmMs: number;
  note(text: string): void;
  onRows(rows: readonly Row[]): void;
}>;

/**
 * How many requests does a plain reverse proxy serve for a second of processor time? nginx answers behind all of them, wrk
 * asks, and all run all the time; those that are not asked are idle.
 */
export async function runHttp1(settings: Http1Settings): Promise<readonly Row[]> {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(new TemporaryFolder('http1')).path;
  writeFileSync(join(folder, 'large'), 'x'.repeat(16 << 10));
  const backend = httpServerConfiguration(folder, BACKEND_PORT, 'open_file_cache max=8;');
  await start(stack, ['nginx', '-p', folder, '-e', 'stderr', '-c'], folder, 'backend', backend);
  const proxies = new Map<string, readonly number[]>();
  for (const proxy of PROXIES) {
    const file = join(folder, proxy.name);
    writeFileSync(file, proxy.configuration(folder));
    const child = startChild(proxy.command(file, folder));
    stack.defer(() => stopChild(child));
    await firstAnswer(proxy.port);
    for (const { path } of BODIES) await warmUp(proxy, path);
    proxies.set(proxy.name, child.pid === undefined ? [] : processTree(child.pid));
  }
  const rows: Row[] = [];
  for (const body of BODIES)
    for (const connections of CONNECTIONS) {
      const name = `${connections} connection${connections === 1 ? '' : 's'}, ${body.name} body`;
      const subjects = PROXIES.map((proxy) => ({
        name: proxy.name,
        measure: () =>
          measure(settings, proxy, proxies.get(proxy.name) ?? [], connections, body.path),
      }));
      const results = await measureRounds(subjects, settings.rounds, (round, subject) => {
        settings.note(`${name}: round ${round + 1} of ${settings.rounds}, ${subject}`);
      });
      const plan = { better: 'higher', unit: '1/s' } as const;
      for (const [value, metric, budget] of [
        ['perCpuSecond', `perf-W2 requests per CPU second, ${name}`, { budget: BUDGET }],
        ['perSecond', `rate, ${name}`, {}],
      ] as const) {
        const peers = (['nginx', 'haproxy'] as const).map((peer) => ({
          name: peer,
          values: valuesOf(results, peer, value),
        }));
        const ours = valuesOf(results, 'halo', value);
        rows.push(makeRow({ metric, ...plan, ours, peer: bestPeer(peers, 'higher'), ...budget }));
      }
      settings.onRows(rows);
    }
  return rows;
}

async function start(
  stack: AsyncDisposableStack,
  command: readonly string[],
  folder: string,
  name: string,
  configuration: string,
): Promise<void> {
  const file = join(folder, name);
  writeFileSync(file, configuration);
  const child = startChild([...command, file]);
  stack.defer(() => stopChild(child));
  await firstAnswer(BACKEND_PORT);
}

/** Code that is compiled while it runs is at its fastest only after some ten thousand requests. */
async function warmUp({ port }: HttpProxy, path: string): Promise<void> {
  await runChild(['wrk', '-t1', '-c32', '-d1s', `http://127.0.0.1:${port}${path}`]);
}

/** What passed in the middle of wrk's run is counted by the server behind. */
async function measure(
  { ms, warmMs }: Http1Settings,
  proxy: HttpProxy,
  pids: readonly number[],
  connections: number,
  path: string,
): Promise<Record<string, number>> {
  const runSeconds = Math.ceil((warmMs + ms + 200) / 1000);
  const load = runChild([
    ...['wrk', '-t1', `-c${connections}`, `-d${runSeconds}s`],
    `http://127.0.0.1:${proxy.port}${path}`,
  ]);
  load.catch(() => undefined); // awaited below
  await wait(warmMs);
  const before = await count(pids);
  await wait(ms);
  const after = await count(pids);
  const errors = readWrkErrors(await load);
  if (errors !== undefined) throw new Error(`Cannot count requests: ${errors}`);
  const requests = after.requests - before.requests;
  return {
    perSecond: (requests * 1000) / (after.atMs - before.atMs),
    perCpuSecond: (requests * 1e6) / (after.cpuUs - before.cpuUs),
  };
}

async function count(
  pids: readonly number[],
): Promise<Readonly<{ requests: number; cpuUs: number; atMs: number }>> {
  const requests = readRequests(await get(BACKEND_PORT, '/status'));
  return { requests, cpuUs: processorTimeUs(pids), atMs: performance.now() };
}

async function get(port: number, path: string): Promise<string> {
  const asked = request({ port, path, host: '127.0.0.1', agent: false }).end();
  const [answer] = (await once(asked, 'response')) as [IncomingMessage];
  return await text(answer);
}

async function firstAnswer(port: number): Promise<void> {
  const deadline = performance.now() + START_TIMEOUT_MS;
  for (;;) {
    try {
      await get(port, '/');
      return;
    } catch (cause) {
      if (performance.now() > deadline) throw new Error(`Nothing answers on ${port}`, { cause });
      await wait(20);
    }
  }
}
