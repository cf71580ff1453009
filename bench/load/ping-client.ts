import { socketAddress } from '../../base/address.ts';
import { HEADROOM, type ByteSink, type SharedBytes } from '../../net/byte-stream.ts';
import { allocateShared } from '../../net/native/memory.ts';
import { connectTcp } from '../../net/tcp.ts';
import type { TcpStream } from '../../net/tcp-stream.ts';
import { Histogram } from '../harness/histogram.ts';
import { runOpenLoop } from '../harness/open-loop.ts';
import type { Latencies, LoadOperations } from './protocol.ts';

/** For the answers still under way when the last ping has been sent. */
const LAST_ANSWER_MS = 5000;
/** A connection's first pings find cold code and small windows. */
const WARM_PINGS = 200;

/** Pings over several connections at a fixed rate; each latency counts from when its ping was due. */
export async function runPings(ask: LoadOperations['pings']['ask']): Promise<Latencies> {
  const { host, port, connections, rate, count, bytes } = ask;
  const histogram = new Histogram();
  const pingers = await Promise.all(
    Array.from({ length: connections }, () => Pinger.connect(host, port, bytes)),
  );
  try {
    for (const pinger of pingers) await pinger.pingPong(WARM_PINGS, new Histogram());
    let errors = 0;
    await runOpenLoop({
      rate,
      count,
      send(index, intendedMs) {
        const pinger = pingers[index % pingers.length];
        if (pinger?.send(intendedMs, histogram) !== true) errors++;
      },
    });
    await Promise.all(pingers.map((pinger) => pinger.idle(LAST_ANSWER_MS)));
    return describe(histogram, Math.max(errors, count - histogram.count));
  } finally {
    for (const pinger of pingers) pinger.close();
  }
}

/** One ping after another on one connection. */
export async function runPingPong(ask: LoadOperations['pingPong']['ask']): Promise<Latencies> {
  const { host, port, count, bytes } = ask;
  const histogram = new Histogram();
  const pinger = await Pinger.connect(host, port, bytes);
  try {
    await pinger.pingPong(WARM_PINGS, new Histogram());
    await pinger.pingPong(count, histogram);
    return describe(histogram, count - histogram.count);
  } finally {
    pinger.close();
  }
}

export function describe(histogram: Histogram, errors: number): Latencies {
  return {
    ...{ count: histogram.count, errors, p50Us: histogram.quantile(0.5) },
    ...{ p99Us: histogram.quantile(0.99), p999Us: histogram.quantile(0.999) },
    maxUs: histogram.max,
  };
}

/** A connection to an echo, and the pings that are under way on it. */
class Pinger implements ByteSink {
  readonly #stream: TcpStream;
  readonly #bytes: number;
  readonly #payload: SharedBytes;
  /** When those under way were due, the oldest first. */
  readonly #due: number[] = [];
  #histogram = new Histogram();
  #received = 0;
  #onIdle: (() => void) | undefined;
  #broken: Error | undefined;

  static async connect(host: string, port: number, bytes: number): Promise<Pinger> {
    return new Pinger(await connectTcp(socketAddress(host, port)), bytes);
  }

  private constructor(stream: TcpStream, bytes: number) {
    this.#stream = stream;
    this.#bytes = bytes;
    this.#payload = allocateShared(HEADROOM + bytes);
    stream.setSink(this);
  }

  /** @returns false when it could not be sent whole: the connection is broken, or full. */
  send(dueMs: number, histogram: Histogram): boolean {
    this.#histogram = histogram;
    if (this.#broken !== undefined) return false;
    this.#due.push(dueMs);
    return this.#stream.write(this.#payload, HEADROOM, this.#bytes) === this.#bytes;
  }

  /** @throws {Error} when the connection breaks. */
  async pingPong(count: number, histogram: Histogram): Promise<void> {
    for (let index = 0; index < count; index++) {
      const sent = this.send(performance.now(), histogram);
      await this.idle(LAST_ANSWER_MS);
      if (!sent || this.#due.length > 0)
        throw this.#broken ?? new Error('Cannot ping: no answer came');
    }
  }

  /** Resolves when every answer is there, or the time is over. */
  async idle(timeoutMs: number): Promise<void> {
    if (this.#due.length === 0) return;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#onIdle = () => {
      resolve(undefined);
    };
    const timer = setTimeout(this.#onIdle, timeoutMs);
    await promise;
    clearTimeout(timer);
  }

  close(): void {
    this.#stream.reset();
  }

  capacity(): number {
    return 1 << 20;
  }

  onData(_bytes: SharedBytes, _offset: number, length: number): number {
    this.#received += length;
    while (this.#received >= this.#bytes) {
      this.#received -= this.#bytes;
      this.#histogram.record((performance.now() - (this.#due.shift() ?? NaN)) * 1000);
    }
    if (this.#due.length === 0) this.#onIdle?.();
    return length;
  }

  onEnd(): void {
    this.onError(new Error('Cannot ping: the echo has ended the connection'));
  }

  onError(error: Error): void {
    this.#broken = error;
    this.#onIdle?.();
  }

  onWritable(): void {
    // A ping that did not fit counts as an error.
  }
}
