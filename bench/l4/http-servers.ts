import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { startChild, stopChild } from '../harness/child.ts';
import { TemporaryFolder } from '../harness/temporary-folder.ts';
import { HTTP2_PORT, HTTP_PORT } from '../load/protocol.ts';
import { httpServerConfiguration, type HttpServerPorts } from '../peers/nginx.ts';
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

/** nginx in both servers' pods: it answers at once, and counts. @param pages of its own: by path, what they hold. */
export async function startHttpServers(
  rig: Rig,
  pages: Readonly<Record<string, Buffer>> = {},
): Promise<HttpServers> {
  await using stack = new AsyncDisposableStack();
  const requests = async (place: Route['server']): Promise<number> =>
    readRequests(await rig.client(place).ask('get', statusPage));
  for (const place of PLACES) {
    const ports = { http1: HTTP_PORT, http2: HTTP2_PORT };
    stack.use(startHttpServer(ports, pages, (command) => rig.enter(place, command)));
    await firstAnswer(() => requests(place));
  }
  const started = stack.move();
  return { requests, [Symbol.asyncDispose]: () => started.disposeAsync() };
}

/** @param enter makes a command run where the server is to be. */
export function startHttpServer(
  ports: HttpServerPorts,
  pages: Readonly<Record<string, Buffer>>,
  enter: (command: readonly string[]) => readonly string[],
): AsyncDisposable & Readonly<{ pid: number }> {
  const folder = new TemporaryFolder('http');
  const file = join(folder.path, 'http.conf');
  writeFileSync(file, httpServerConfiguration(folder.path, ports));
  for (const [name, bytes] of Object.entries(pages)) {
    mkdirSync(dirname(join(folder.path, name)), { recursive: true });
    writeFileSync(join(folder.path, name), bytes);
  }
  const child = startChild(enter(['nginx', '-p', folder.path, '-e', 'stderr', '-c', file]));
  return {
    pid: child.pid ?? 0,
    async [Symbol.asyncDispose]() {
      await stopChild(child);
      folder[Symbol.dispose]();
    },
  };
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
