import { setTimeout as wait } from 'node:timers/promises';
import { describeError } from '../../base/errors.ts';
import { socketAddress } from '../../base/address.ts';
import type { ByteSink, SharedBytes } from '../../net/byte-stream.ts';
import { findHeader, type HeaderList } from '../../net/h2/headers.ts';
import { connectHttp } from '../../net/http/client.ts';
import type { HttpClientConnection } from '../../net/http/exchange.ts';
import { openNetns, type Netns } from '../../net/netns.ts';
import { connectTcp } from '../../net/tcp.ts';
import { Histogram } from '../harness/histogram.ts';
import { runOpenLoop } from '../harness/open-loop.ts';
import type { HttpTarget, LoadOperations } from './protocol.ts';

/** For the answers still under way when the last request has been sent. */
const LAST_ANSWER_MS = 5000;
/** Fits any body that is asked for. */
const OPEN_CAPACITY = 1 << 20;

/** Requests at a fixed rate on kept connections, each counted from when it was due, also while its connection was busy. */
export async function runHttpLoad(
  ask: LoadOperations['httpLoad']['ask'],
): Promise<LoadOperations['httpLoad']['answer']> {
  const { targets, connections, rate, count } = ask;
  const result = new LoadResult();
  const senders =
    connections === 0
      ? [new FreshSender(targets, result)]
      : await Promise.all(
          Array.from({ length: connections }, async (_, index) => {
            // All paths of one server, in turn; connections are dealt out to the servers.
            const hosts = [...new Set(targets.map(({ host }) => host))];
            const host = hosts[index % hosts.length];
            const own = targets.filter((target) => target.host === host);
            return await Sender.connect(own, result);
          }),
        );
  let firstDueMs = NaN;
  try {
    await runOpenLoop({
      ...{ rate, count },
      send(index, dueMs) {
        if (index === 0) firstDueMs = dueMs;
        senders[index % senders.length]?.send(dueMs);
      },
    });
    await Promise.race([
      Promise.all(senders.map((sender) => sender.idle())),
      wait(LAST_ANSWER_MS, undefined, { ref: false }),
    ]);
    const { histogram, errors, firstError, answeredMs } = result;
    return {
      ...{ count: histogram.count, errors: Math.max(errors, count - histogram.count), firstError },
      perSecond: (histogram.count * 1000) / (answeredMs - firstDueMs),
      ...{ p50Us: histogram.quantile(0.5), p90Us: histogram.quantile(0.9) },
      ...{ p99Us: histogram.quantile(0.99), p999Us: histogram.quantile(0.999) },
      ...{ maxUs: histogram.max, histogram: histogram.buckets() },
    };
  } finally {
    for (const sender of senders) sender.close();
  }
}

class LoadResult {
  readonly histogram = new Histogram();
  errors = 0;
  firstError = '';
  answeredMs = 0;

  answered(dueMs: number): void {
    this.answeredMs = performance.now();
    this.histogram.record((this.answeredMs - dueMs) * 1000);
  }

  failed(reason: string): void {
    this.errors++;
    if (this.firstError === '') this.firstError = reason;
  }
}

/** A connection for each request. */
class FreshSender {
  readonly #targets: readonly HttpTarget[];
  readonly #result: LoadResult;
  readonly #open = new Set<Promise<void>>();
  #next = 0;

  constructor(targets: readonly HttpTarget[], result: LoadResult) {
    this.#targets = targets;
    this.#result = result;
  }

  send(dueMs: number): void {
    const target = this.#targets[this.#next++ % this.#targets.length];
    if (target === undefined) return;
    const done = askOnce(target, LAST_ANSWER_MS).then((status) => {
      if (status === '200') this.#result.answered(dueMs);
      else this.#result.failed(status);
      this.#open.delete(done);
    });
    this.#open.add(done);
  }

  async idle(): Promise<void> {
    await Promise.all(this.#open);
  }

  close(): void {
    // Each request has closed its own.
  }
}

/** One connection, on which one request after another is sent; those that are due meanwhile wait. */
class Sender {
  readonly #heads: readonly HeaderList[];
  readonly #result: LoadResult;
  readonly #connection: HttpClientConnection;
  readonly #waiting: number[] = [];
  #next = 0;
  #busy = false;
  #closed = false;
  #onIdle: (() => void) | undefined;

  static async connect(targets: readonly HttpTarget[], result: LoadResult): Promise<Sender> {
    const [first] = targets;
    const to = socketAddress(first?.host ?? '', first?.port ?? 0);
    const stream = await connectTcp(to);
    return new Sender(targets.map(requestHead), result, (handler) =>
      connectHttp(stream, 'http1', {}, handler),
    );
  }

  private constructor(
    heads: readonly HeaderList[],
    result: LoadResult,
    connect: (handler: Readonly<{ onAvailable(): void; onClose(): void }>) => HttpClientConnection,
  ) {
    this.#heads = heads;
    this.#result = result;
    this.#connection = connect({
      onAvailable: () => {
        this.#begin();
      },
      onClose: () => {
        this.#closed = true;
        for (const _ of this.#waiting.splice(0)) result.failed('the connection was closed');
        this.#onIdle?.();
      },
    });
  }

  send(dueMs: number): void {
    if (this.#closed) {
      this.#result.failed('the connection was closed');
      return;
    }
    this.#waiting.push(dueMs);
    this.#begin();
  }

  #begin(): void {
    if (this.#busy || this.#closed || this.#connection.availableExchanges() === 0) return;
    const dueMs = this.#waiting.shift();
    if (dueMs === undefined) {
      this.#onIdle?.();
      return;
    }
    const head = this.#heads[this.#next++ % this.#heads.length] ?? [];
    this.#busy = true;
    ask(this.#connection, head, (status) => {
      this.#busy = false;
      if (status === '200') this.#result.answered(dueMs);
      else this.#result.failed(status);
      this.#begin();
    });
  }

  /** Resolves when nothing waits and nothing is under way. */
  async idle(): Promise<void> {
    if (this.#closed || (!this.#busy && this.#waiting.length === 0)) return;
    await new Promise<void>((resolve) => {
      this.#onIdle = resolve;
    });
  }

  close(): void {
    this.#connection.close();
  }
}

/** Sends a request; told once: the status when all of its answer has come, else what went wrong. */
function ask(
  connection: HttpClientConnection,
  head: HeaderList,
  onEnd: (status: string) => void,
): void {
  let status = 'no answer';
  let ended = false;
  const end = (how: string): void => {
    if (ended) return;
    ended = true;
    onEnd(how);
  };
  const exchange = connection.open(head, true, {
    onResponse(headers) {
      status = findHeader(headers, ':status') ?? '';
    },
    onError(error) {
      end(describeError(error));
    },
  });
  if (exchange === undefined) {
    end('the connection has no room');
    return;
  }
  const sink: ByteSink = {
    capacity: () => OPEN_CAPACITY,
    onData: (_bytes: SharedBytes, _offset: number, length: number) => length,
    onEnd() {
      end(status);
    },
    onError(error) {
      end(describeError(error));
    },
    onWritable() {
      // The request has no body.
    },
  };
  exchange.setSink(sink);
}

function requestHead({ authority, path, headers = {} }: HttpTarget): HeaderList {
  return [
    ...[':method', 'GET', ':scheme', 'http', ':authority', authority, ':path', path],
    ...Object.entries(headers).flat(),
  ];
}

/** One request on a connection of its own; the status, or what went wrong. Never rejects. */
async function askOnce(target: HttpTarget, timeoutMs: number, netns?: Netns): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  const signal = AbortSignal.timeout(timeoutMs);
  let connection: HttpClientConnection | undefined;
  signal.addEventListener('abort', () => {
    resolve('no answer in time');
  });
  try {
    const stream = await connectTcp(socketAddress(target.host, target.port), {
      ...{ signal, ...(netns !== undefined && { netns }) },
    });
    connection = connectHttp(stream, 'http1', {}, { onClose: () => undefined });
    ask(connection, requestHead(target), resolve);
    return await promise;
  } catch (error) {
    return describeError(error);
  } finally {
    connection?.close();
  }
}

/** A request on a connection of its own. */
export async function runHttpGet(
  ask: LoadOperations['httpGet']['ask'],
): Promise<LoadOperations['httpGet']['answer']> {
  return { status: await askOnce(ask.target, ask.timeoutMs) };
}

/** Asks, each time on a new connection, until an answer is 200. */
export async function runUntilServed(
  ask: LoadOperations['untilServed']['ask'],
): Promise<LoadOperations['untilServed']['answer']> {
  const { target, namespace, pauseMs, tryMs, timeoutMs } = ask;
  const netns = namespace === undefined ? undefined : openNetns(namespace);
  const deadlineMs = performance.now() + timeoutMs;
  try {
    for (let tries = 1; ; tries++) {
      const status = await askOnce(target, tryMs, netns);
      if (status === '200')
        return { servedAtMs: performance.timeOrigin + performance.now(), tries };
      if (performance.now() > deadlineMs)
        throw new Error(`Cannot reach ${target.authority}${target.path}: ${status}`);
      await wait(pauseMs);
    }
  } finally {
    netns?.close();
  }
}

/** Asks all targets in turn, each time on a new connection, until none has been served for a while. */
export async function runUntilRefused(
  ask: LoadOperations['untilRefused']['ask'],
): Promise<LoadOperations['untilRefused']['answer']> {
  const { targets, parallel, pauseMs, tryMs, quietMs, timeoutMs } = ask;
  const beganMs = performance.now();
  let lastServedMs = NaN;
  let served = 0;
  let next = 0;
  const isOver = (): boolean => {
    const nowMs = performance.now();
    return nowMs - beganMs > timeoutMs || nowMs - lastServedMs > quietMs;
  };
  const worker = async (): Promise<void> => {
    while (!isOver()) {
      const target = targets[next++ % targets.length];
      if (target !== undefined && (await askOnce(target, tryMs)) === '200') {
        served++;
        lastServedMs = performance.now();
      }
      await wait(pauseMs);
    }
  };
  await Promise.all(Array.from({ length: parallel }, worker));
  if (served === 0) throw new Error('Cannot see a change: nothing was served before it');
  if (performance.now() - lastServedMs <= quietMs)
    throw new Error(`Cannot see a change: it is not in force after ${timeoutMs} ms`);
  return { lastServedAtMs: performance.timeOrigin + lastServedMs, served };
}
