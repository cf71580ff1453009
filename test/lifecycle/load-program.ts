import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { describeError } from '../../base/errors.ts';
import type { LoadLine, LongEnd } from './load.ts';

/*
 * Runs in a pod: load-program.ts HOST PORT LONG NEW_PER_SECOND
 * Holds LONG connections to an echo server and says something on each once a second; one that is ended by the other side
 * is told of, and opened again. Opens new ones at a steady rate, each with a word there and back, and an end. Prints a line
 * of JSON a second, and a last one after the end of its input.
 */
const [host = '', port = '', long = '', newPerSecond = ''] = process.argv.slice(2);
/** Longer than the proxies try in vain. */
const TIMEOUT_MS = 15_000;
const LONG_PERIOD_MS = 1000;
const TICK_MS = 10;

const counts = { opened: 0, longOpen: 0, rounds: 0 };
const failures: string[] = [];
const longEnds: LongEnd[] = [];
const stop = new AbortController();
let slowestMs = 0;

function going(): boolean {
  return !stop.signal.aborted;
}

/** Says a word and waits until all of it is back. */
async function say(socket: Socket, word: string): Promise<void> {
  socket.write(word);
  let back = '';
  while (back.length < word.length) back += await nextText(socket);
  if (back !== word) throw new Error(`sent ${word}, got ${back}`);
}

function nextText(socket: Socket): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const onData = (chunk: Buffer): void => {
    settle();
    resolve(chunk.toString());
  };
  const onEnd = (): void => {
    settle();
    reject(new Error('ended'));
  };
  const onError = (error: Error): void => {
    settle();
    reject(error);
  };
  const timer = setTimeout(onError, TIMEOUT_MS, new Error('no answer in time'));
  const settle = (): void => {
    clearTimeout(timer);
    socket.off('data', onData).off('end', onEnd).off('error', onError);
  };
  socket.on('data', onData).on('end', onEnd).on('error', onError);
  return promise;
}

async function open(): Promise<Socket> {
  const socket = connect({ host, port: Number(port) });
  socket.setNoDelay(true);
  await once(socket, 'connect', { signal: AbortSignal.timeout(TIMEOUT_MS) });
  socket.on('error', () => undefined); // whoever waits on it is told as well
  return socket;
}

/** Rejects at the end of a connection, with what ended it. */
function whenClosed(socket: Socket): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>();
  promise.catch(() => undefined); // between two looks
  socket.once('close', () => {
    reject(socket.errored ?? new Error('ended'));
  });
  return promise;
}

async function hold(index: number): Promise<void> {
  await delay((index % 100) * (LONG_PERIOD_MS / 100)); // not all at once
  while (going()) {
    let openedAtMs = Infinity;
    try {
      const socket = await open();
      openedAtMs = Date.now();
      counts.longOpen++;
      const broken = whenClosed(socket);
      for (let round = 0; going(); round++) {
        await Promise.race([say(socket, `long ${index} round ${round}`), broken]);
        counts.rounds++;
        await Promise.race([delay(LONG_PERIOD_MS), broken]);
      }
      socket.destroy();
    } catch (error) {
      if (openedAtMs === Infinity) {
        failures.push(`${new Date().toISOString()} long ${index}: ${describeError(error)}`);
        continue;
      }
      if (going()) counts.longOpen--; // who is cut while all end does not come again
      longEnds.push({ openedAtMs, endedAtMs: Date.now(), how: describeError(error) });
    }
  }
}

async function openShort(index: number): Promise<void> {
  const startedMs = performance.now();
  try {
    const socket = await open();
    await say(socket, `short ${index}`);
    const ended = nextText(socket).then(
      () => 'more than was asked for',
      (error: unknown) => describeError(error),
    );
    socket.end();
    const how = await ended;
    if (how !== 'ended') throw new Error(how);
    counts.opened++;
    slowestMs = Math.max(slowestMs, performance.now() - startedMs);
  } catch (error) {
    failures.push(`${new Date().toISOString()} short ${index}: ${describeError(error)}`);
  }
}

function report(): void {
  const line: LoadLine = { ...counts, slowestMs: Math.round(slowestMs), failures, longEnds };
  process.stdout.write(`${JSON.stringify(line)}\n`);
  slowestMs = 0;
}

/** Those that a deadline has cut come again. */
async function longOnesOpen(): Promise<void> {
  while (counts.longOpen < Number(long) && failures.length === 0) await delay(TICK_MS);
}

process.stdin.resume().on('end', () => {
  void longOnesOpen().then(() => {
    stop.abort();
  });
});
const work = new Set<Promise<void>>();
for (let index = 0; index < Number(long); index++) work.add(hold(index));
await longOnesOpen();
const telling = setInterval(report, 1000);
report();
const startedMs = performance.now();
for (let index = 0; going(); ) {
  const due = ((performance.now() - startedMs) / 1000) * Number(newPerSecond);
  for (; index < due; index++) {
    const short = openShort(index);
    work.add(short);
    void short.finally(() => work.delete(short));
  }
  await delay(TICK_MS);
}
clearInterval(telling);
await Promise.all(work);
report();
process.exit(0);
