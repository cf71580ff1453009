import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import test from 'ava';
import {
  runHttpGet,
  runHttpLoad,
  runUntilRefused,
  runUntilServed,
} from '../../bench/load/http-client.ts';

const host = '127.0.0.1';

/** A server whose answers a test decides. */
async function serveHttp(
  answer: (url: string) => number | Promise<number>,
  onConnection: () => void = () => undefined,
): Promise<AsyncDisposable & Readonly<{ port: number }>> {
  const server = createServer((request, response) => {
    void Promise.resolve(answer(request.url ?? '')).then((status) => {
      response.writeHead(status).end('body');
    });
  }).listen(0, host);
  server.on('connection', onConnection);
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

test.serial(
  'HTTP load asks for every path in turn, and a stalled answer makes those behind it late',
  async (t) => {
    const seen: string[] = [];
    await using server = await serveHttp(async (url) => {
      seen.push(url);
      if (seen.length === 10) await wait(300);
      return 200;
    });
    const targets = ['/a', '/b'].map((path) => ({ host, port: server.port, authority: 'x', path }));
    const ask = { targets, connections: 1, rate: 200, count: 60 };
    const answer = await runHttpLoad(ask);
    t.like(answer, { count: 60, errors: 0, firstError: '' });
    t.deepEqual(seen.slice(0, 4), ['/a', '/b', '/a', '/b']);
    // 50 requests were due behind it, 5 ms apart: who counts from the sending sees one late answer only.
    t.true(answer.p50Us > 50_000, `p50 ${answer.p50Us}`);
    t.true(
      answer.maxUs >= 290_000 && answer.p999Us >= answer.p99Us && answer.p99Us >= answer.p90Us,
    );
    t.is(
      answer.histogram.reduce((sum, [, count]) => sum + count, 0),
      60,
    );
  },
);

test.serial(
  'HTTP load can make a connection for each request, and counts the stall of none for another',
  async (t) => {
    let connections = 0;
    let seen = 0;
    await using server = await serveHttp(
      async () => {
        if (++seen === 10) await wait(300);
        return 200;
      },
      () => connections++,
    );
    const targets = [{ host, port: server.port, authority: 'x', path: '/' }];
    const answer = await runHttpLoad({ targets, connections: 0, rate: 200, count: 40 });
    t.like(answer, { count: 40, errors: 0 });
    t.is(connections, 40);
    const [fastestUs = NaN] = answer.histogram[0] ?? [];
    t.true(answer.maxUs >= 290_000 && fastestUs < 250_000);
  },
);

test.serial('HTTP load counts what is not answered by 200, and says why', async (t) => {
  await using server = await serveHttp((url) => (url === '/bad' ? 503 : 200));
  const targets = ['/good', '/bad'].map((path) => ({
    ...{ host, port: server.port, authority: 'x', path },
  }));
  const answer = await runHttpLoad({ targets, connections: 2, rate: 500, count: 20 });
  t.like(answer, { count: 10, errors: 10, firstError: '503' });
});

test.serial(
  'a service is waited for, seen to go, and told apart from one that was never there',
  async (t) => {
    let open = false;
    let onAnswer = (): void => undefined;
    await using server = await serveHttp(() => {
      onAnswer();
      return open ? 200 : 403;
    });
    const answers = (count: number): Promise<void> =>
      new Promise((resolve) => {
        onAnswer = () => {
          if (--count === 0) resolve();
        };
      });
    const target = { host, port: server.port, authority: 'x', path: '/' };
    t.deepEqual(await runHttpGet({ target, timeoutMs: 1000 }), { status: '403' });
    const tries = { pauseMs: 1, tryMs: 1000, timeoutMs: 30_000 };
    const someRefused = answers(3);
    const served = runUntilServed({ ...tries, target });
    await someRefused;
    const openedMs = performance.timeOrigin + performance.now();
    open = true;
    t.true((await served).servedAtMs >= openedMs);
    const refusals = { ...tries, targets: [target], parallel: 2, quietMs: 300 };
    // With two at once, five that came are three that were answered.
    const someServed = answers(5);
    const refused = runUntilRefused(refusals);
    await someServed;
    open = false;
    const { lastServedAtMs, served: count } = await refused;
    t.true(count >= 3 && lastServedAtMs >= openedMs);
    await t.throwsAsync(runUntilServed({ ...tries, target, timeoutMs: 50 }), { message: /403/ });
    await t.throwsAsync(runUntilRefused({ ...refusals, timeoutMs: 100 }), {
      message: /nothing was served before/,
    });
  },
);
