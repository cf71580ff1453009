import { setTimeout as wait } from 'node:timers/promises';
import { socketAddress, type SocketAddress } from '../../base/address.ts';
import { HEADROOM, type ByteSink, type SharedBytes } from '../../net/byte-stream.ts';
import { allocateShared } from '../../net/native/memory.ts';
import { openNetns, type Netns } from '../../net/netns.ts';
import { connectTcp } from '../../net/tcp.ts';
import type { TcpStream } from '../../net/tcp-stream.ts';
import { Histogram } from '../harness/histogram.ts';
import { describe } from './ping-client.ts';
import type { LoadOperations } from './protocol.ts';

/** Connections that are being made at once where many are to be held. */
const HOLD_PARALLEL = 32;
/** What has met nobody by then is tried anew: who waits for it would not see that others get through. */
const TRY_TIMEOUT_MS = 250;
const payload = allocateShared(HEADROOM + 1);

/** Short connections, so many at once; the rate is of those that ended after the warm-up. */
export async function runConnections(
  ask: LoadOperations['connections']['ask'],
): Promise<LoadOperations['connections']['answer']> {
  const { host, port, parallel, warmMs, ms } = ask;
  const to = socketAddress(host, port);
  const histogram = new Histogram();
  const startMs = performance.now() + warmMs;
  const endMs = startMs + ms;
  let errors = 0;
  let failure: unknown;
  const worker = async (): Promise<void> => {
    for (;;) {
      const beganMs = performance.now();
      if (beganMs >= endMs) return;
      try {
        const exchange = await exchangeByte(to);
        exchange.end();
        const nowMs = performance.now();
        if (nowMs >= startMs && nowMs < endMs) histogram.record((nowMs - beganMs) * 1000);
      } catch (error) {
        errors++;
        failure = error;
      }
    }
  };
  await Promise.all(Array.from({ length: parallel }, worker));
  if (histogram.count === 0) throw failure;
  return { ...describe(histogram, errors), perSecond: (histogram.count * 1000) / ms };
}

/** Connections that stay open until they are released. */
export class HeldConnections {
  readonly #open: { end(): void }[] = [];

  async hold({ host, port, count }: LoadOperations['hold']['ask']): Promise<{ held: number }> {
    const to = socketAddress(host, port);
    let left = count;
    const worker = async (): Promise<void> => {
      while (left-- > 0) this.#open.push(await exchangeByte(to));
    };
    await Promise.all(Array.from({ length: HOLD_PARALLEL }, worker));
    return { held: this.#open.length };
  }

  release(): number {
    const open = this.#open.splice(0);
    for (const connection of open) connection.end();
    return open.length;
  }
}

/** From inside several namespaces, one short connection after another, whether they succeed or not. */
export class Tries {
  #stop = new AbortController();

  start({ host, port, namespaces, pauseMs }: LoadOperations['keepTrying']['ask']): number {
    const { signal } = this.#stop;
    const to = socketAddress(host, port);
    for (const path of namespaces) void tryOn(to, openNetns(path), pauseMs, signal);
    return namespaces.length;
  }

  stop(): void {
    this.#stop.abort();
    this.#stop = new AbortController();
  }
}

async function tryOn(
  to: SocketAddress,
  netns: Netns,
  pauseMs: number,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    try {
      (await exchangeByte(to, { netns, timeoutMs: TRY_TIMEOUT_MS })).end();
    } catch {
      // Not in the mesh yet, or just being taken in: the next try tells.
    }
    await wait(pauseMs);
  }
  netns.close();
}

/** Connects, and sends a byte there and back; `timeoutMs` is for each of both. */
async function exchangeByte(
  to: SocketAddress,
  options: Readonly<{ netns?: Netns; timeoutMs?: number }> = {},
): Promise<Exchange> {
  const exchange = new Exchange(await connectTcp(to, options));
  await exchange.answer(options.timeoutMs);
  return exchange;
}

class Exchange implements ByteSink {
  readonly #stream: TcpStream;
  readonly #answered = Promise.withResolvers<undefined>();

  constructor(stream: TcpStream) {
    this.#stream = stream;
    stream.setSink(this);
    stream.write(payload, HEADROOM, 1);
  }

  /** Resolves with the byte. @throws {Error} when the connection ends before, or the time is over. */
  async answer(timeoutMs?: number): Promise<void> {
    if (timeoutMs === undefined) {
      await this.#answered.promise;
      return;
    }
    const timer = setTimeout(() => {
      this.#stream.reset();
      this.#answered.reject(new Error(`Cannot exchange a byte: none within ${timeoutMs} ms`));
    }, timeoutMs);
    try {
      await this.#answered.promise;
    } finally {
      clearTimeout(timer);
    }
  }

  end(): void {
    this.#stream.end();
  }

  capacity(): number {
    return 64;
  }

  onData(_bytes: SharedBytes, _offset: number, length: number): number {
    this.#answered.resolve(undefined);
    return length;
  }

  onEnd(): void {
    this.#answered.reject(new Error('Cannot exchange a byte: the connection was ended before'));
    this.#stream.end();
  }

  onError(error: Error): void {
    this.#answered.reject(error);
  }

  onWritable(): void {
    // One byte always fits.
  }
}
