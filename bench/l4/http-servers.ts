import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { startChild, stopChild } from '../harness/child.ts';
import { TemporaryFolder } from '../harness/temporary-folder.ts';
import { HTTP_PORT } from '../load/protocol.ts';
import { httpServerConfiguration } from '../peers/nginx.ts';
import type { Rig } from './rig.ts';
import type { Route } from './routes.ts';

const PLACES = ['mesh-server', 'plain-server'] as const;
const START_TRIES = 100;

/** The HTTP servers behind all routes. */
export type HttpServers = AsyncDisposable &
  Readonly<{
    /** How many requests a server has answered so far. */
    requests(place: Route['server']): Promise<number>;
  }>;

/** nginx in both servers' pods: it answers at once, and counts. @param pages of its own, by name: their text. */
export async function startHttpServers(
  rig: Rig,
  pages: Readonly<Record<string, string>> = {},
): Promise<HttpServers> {
  await using stack = new AsyncDisposableStack();
  const requests = async (place: Route['server']): Promise<number> =>
    readRequests(await rig.client(place).ask('get', statusPage));
  for (const place of PLACES) {
    const folder = stack.use(new TemporaryFolder('http')).path;
    const file = join(folder, 'http.conf');
    writeFileSync(file, httpServerConfiguration(folder, HTTP_PORT, 'open_file_cache max=8;'));
    for (const [name, text] of Object.entries(pages)) writeFileSync(join(folder, name), text);
    const command = ['nginx', '-p', folder, '-e', 'stderr', '-c', file];
    const child = startChild(rig.enter(place, command));
    stack.defer(() => stopChild(child));
    await firstAnswer(() => requests(place));
  }
  const started = stack.move();
  return { requests, [Symbol.asyncDispose]: () => started.disposeAsync() };
}

const statusPage = { host: '127.0.0.1', port: HTTP_PORT, path: '/status' };

async function firstAnswer(ask: () => Promise<number>): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      await ask();
      return;
    } catch (error) {
      if (tries === START_TRIES) throw error;
      await wait(20);
    }
  }
}

/** The third number of the third line: accepts, handled, requests (ngx_http_stub_status_module). */
export function readRequests(page: string): number {
  return Number(/^\s*\d+ \d+ (\d+)\s*$/m.exec(page)?.[1] ?? NaN);
}
