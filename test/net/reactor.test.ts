import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import net from 'node:net';
import { setImmediate as nextRound, setTimeout as pause } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import test, { type ExecutionContext } from 'ava';
import { parseIpAddress } from '../../base/address.ts';
import { HEADROOM } from '../../net/byte-stream.ts';
import { systemClock } from '../../net/clock.ts';
import { flushAtTurnEnd, runNextTurn } from '../../net/reactor.ts';
import { connectTcp } from '../../net/tcp.ts';
import { listenTcp } from '../../net/tcp-listener.ts';
import type { TcpStream } from '../../net/tcp-stream.ts';
import { shared } from '../support/collect.ts';
import { runProgram } from '../support/run-program.ts';

/** Far beyond a turn; nothing else wakes the reactor meanwhile. */
const LONG_MS = 1_000;
const loopback = { ip: parseIpAddress('127.0.0.1'), port: 0 };

test('what the continuation of a flush stages is flushed without waiting for another event', async (t) => {
  const order: string[] = [];
  const done = Promise.withResolvers<'flushed'>();
  runNextTurn({
    runTask() {
      order.push('task');
      const settled = Promise.withResolvers<undefined>();
      void settled.promise.then(() => {
        order.push('continuation');
        flushAtTurnEnd({
          runTask() {
            order.push('second flush');
            done.resolve('flushed');
          },
        });
      });
      flushAtTurnEnd({
        runTask() {
          order.push('first flush');
          settled.resolve(undefined);
        },
      });
    },
  });
  t.is(await Promise.race([done.promise, pause(LONG_MS, 'forgotten')]), 'flushed');
  t.deepEqual(order, ['task', 'first flush', 'continuation', 'second flush']);
});

test('what settles and stages for ever does not keep timers from firing', async (t) => {
  let flushes = 0;
  let stopped = false;
  const task = {
    runTask() {
      flushes++;
      void Promise.resolve().then(() => {
        if (!stopped) flushAtTurnEnd(task);
      });
    },
  };
  flushAtTurnEnd(task);
  await pause(20);
  stopped = true;
  t.true(flushes > 2, `${flushes} flushes`);
});

test('the clock stands still for a turn, and goes on with the next one and outside', async (t) => {
  const { promise, resolve } = Promise.withResolvers<readonly number[]>();
  const spend = (): number => {
    const began = performance.now();
    while (performance.now() - began < 2);
    return systemClock.now();
  };
  runNextTurn({
    runTask() {
      const first = systemClock.now();
      const second = spend();
      runNextTurn({
        runTask() {
          const third = spend();
          setImmediate(() => {
            const fourth = spend();
            resolve([first, second, third, fourth, spend()]);
          });
        },
      });
    },
  });
  const [first = 0, second, third = 0, fourth = 0, fifth = 0] = await promise;
  t.is(second, first);
  t.true(third - first >= 2 && fourth - third >= 2 && fifth - fourth >= 2);
});

for (const [how, code] of [
  ['terminate', 0],
  ['exit', 0],
  ['throw', 1],
] as const)
  test.serial(
    `threads that sleep in the engine do not keep the process from ending in order: ${how}`,
    async (t) => {
      const program = new URL('./programs/asleep.ts', import.meta.url).pathname;
      const { execPath } = process;
      const ended = await runProgram(execPath, [
        '--disable-warning=ExperimentalWarning',
        ...[program, how],
      ]);
      t.is(ended.code, code, ended.stderr);
      t.is(ended.stdout, how === 'terminate' ? 'terminated\n' : '');
    },
  );

/** Keeps the engine asleep in the loop's place: a socket that is watched, and has no events. */
function watchNothing(t: ExecutionContext): void {
  const listener = listenTcp({ address: loopback }, () => undefined);
  t.teardown(() => {
    listener.close();
  });
}

test.serial(
  'what Node waits for goes on while the engine sleeps in the place of its loop',
  async (t) => {
    watchNothing(t);
    await pause(1);
    // Each of these begins where nothing else is under way, and nothing else would wake the thread in time.
    const server = net.createServer((socket) => socket.pipe(socket)).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as net.AddressInfo;
    const socket = net.connect(port, '127.0.0.1');
    socket.write('through node:net');
    const [echoed] = (await once(socket, 'data')) as [Buffer];
    t.is(echoed.toString(), 'through node:net');
    socket.destroy();
    server.close();
    t.true((await readFile(import.meta.filename)).length > 0);
    await nextRound();
    const worker = new Worker('require("node:worker_threads").parentPort.postMessage("hello")', {
      eval: true,
    });
    t.deepEqual(await once(worker, 'message'), ['hello']);
    await worker.terminate();
    const caught = Promise.withResolvers<string>();
    process.once('SIGUSR2', caught.resolve);
    process.kill(process.pid, 'SIGUSR2');
    t.is(await caught.promise, 'SIGUSR2');
    t.is((await runProgram('true', [])).code, 0);
  },
);

test.serial('a thread that watches and has nothing to do sleeps', async (t) => {
  watchNothing(t);
  await pause(50);
  const before = process.threadCpuUsage();
  const beganMs = performance.now();
  await pause(400);
  const { user, system } = process.threadCpuUsage(before);
  const elapsedMs = performance.now() - beganMs;
  t.true((user + system) / 1000 < elapsedMs / 4, `${user + system} us in ${elapsedMs} ms`);
});

test.serial(
  'events without end do not keep timers, nor what Node waits for, from their turn',
  async (t) => {
    const { promise: accepted, resolve } = Promise.withResolvers<TcpStream>();
    const listener = listenTcp({ address: loopback }, resolve);
    const dialled = await connectTcp(listener.local);
    const ends = [dialled, await accepted];
    t.teardown(() => {
      for (const end of ends) end.reset();
      listener.close();
    });
    let laps = 0;
    for (const end of ends) {
      const { bytes } = shared('x');
      end.setSink({
        capacity: () => 1,
        onData() {
          laps++;
          return end.write(bytes, HEADROOM, 1);
        },
        ...{ onEnd: () => undefined, onError: () => undefined, onWritable: () => undefined },
      });
    }
    const ball = shared('x');
    dialled.write(ball.bytes, HEADROOM, 1);
    await pause(20);
    t.true((await readFile(import.meta.filename)).length > 0);
    await nextRound();
    const before = laps;
    await pause(20);
    t.true(laps > before + 2, `${laps - before} laps`);
  },
);
