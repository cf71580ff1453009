import { socketAddress } from '../../base/address.ts';
import { HEADROOM, type ByteSink, type SharedBytes } from '../../net/byte-stream.ts';
import { findHeader, type HeaderList } from '../../net/h2/headers.ts';
import { connectHttp } from '../../net/http/client.ts';
import type {
  ExchangeHandler,
  HttpClientConnection,
  HttpClientHandler,
} from '../../net/http/exchange.ts';
import { allocateShared } from '../../net/shared-bytes.ts';
import { connectTcp } from '../../net/tcp.ts';
import { Histogram } from '../harness/histogram.ts';
import { runOpenLoop } from '../harness/open-loop.ts';
import { describe } from './ping-client.ts';
import type { Latencies, LoadOperations } from './protocol.ts';

/** For the answers still under way when the last request has been sent. */
const LAST_ANSWER_MS = 5000;
/** Requests whose latency is not told: cold code, and connections that are still being opened behind. */
const WARM_SECONDS = 1;
const GRPC_FIELDS: HeaderList = ['content-type', 'application/grpc', 'te', 'trailers'];
/** gRPC over HTTP/2, Length-Prefixed-Message: not compressed, and of no bytes. */
const EMPTY_MESSAGE_BYTES = 5;

/** Requests at a fixed rate over several connections; each latency counts from when its request was due. */
export async function runRequests(ask: LoadOperations['requests']['ask']): Promise<Latencies> {
  const { host, port, version, call = 'get', connections, rate, count, path } = ask;
  const headers: HeaderList = [
    ...[':method', call === 'get' ? 'GET' : 'POST', ':scheme', 'http', ':authority', host],
    ...[':path', path, ...(call === 'get' ? [] : GRPC_FIELDS)],
  ];
  const requests = new Requests(headers, call);
  for (let index = 0; index < connections; index++)
    requests.add(await connectTcp(socketAddress(host, port)), version);
  try {
    for (const [number, histogram] of [
      [Math.min(count, rate * WARM_SECONDS), new Histogram()],
      [count, requests.histogram],
    ] as const) {
      requests.histogram = histogram;
      await runOpenLoop({
        ...{ rate, count: number },
        send(_index, intendedMs) {
          requests.send(intendedMs);
        },
      });
      await requests.idle(LAST_ANSWER_MS);
    }
    return describe(requests.histogram, count - requests.histogram.count);
  } finally {
    requests.close();
  }
}

/** Requests that are due go out on whichever connection has room; where none has, they wait, and their time runs. */
class Requests implements HttpClientHandler {
  histogram = new Histogram();
  readonly #headers: HeaderList;
  readonly #call: 'get' | 'grpc';
  readonly #message = allocateShared(HEADROOM + EMPTY_MESSAGE_BYTES);
  readonly #connections: HttpClientConnection[] = [];
  /** When those that wait were due, the oldest first. */
  readonly #due: number[] = [];
  #underWay = 0;
  #next = 0;
  #onIdle: (() => void) | undefined;

  constructor(headers: HeaderList, call: 'get' | 'grpc') {
    this.#headers = headers;
    this.#call = call;
  }

  add(stream: Parameters<typeof connectHttp>[0], version: 'http1' | 'http2'): void {
    this.#connections.push(connectHttp(stream, version, {}, this));
  }

  send(dueMs: number): void {
    this.#due.push(dueMs);
    this.onAvailable();
  }

  /** Resolves when every answer is there, or the time is over. */
  async idle(timeoutMs: number): Promise<void> {
    if (this.#underWay === 0 && this.#due.length === 0) return;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#onIdle = () => {
      resolve(undefined);
    };
    const timer = setTimeout(this.#onIdle, timeoutMs);
    await promise;
    clearTimeout(timer);
  }

  close(): void {
    for (const connection of this.#connections) connection.close();
  }

  onAvailable(): void {
    for (let tries = 0; tries < this.#connections.length && this.#due.length > 0; tries++) {
      const connection = this.#connections[this.#next++ % this.#connections.length];
      const dueMs = this.#due[0];
      if (connection === undefined || dueMs === undefined || connection.availableExchanges() === 0)
        continue;
      this.#due.shift();
      this.#underWay++;
      this.#ask(connection, dueMs);
      tries = -1;
    }
  }

  /** What was on the connection has been told that it broke. */
  onClose(): void {
    this.#onIdle?.();
  }

  #ask(connection: HttpClientConnection, dueMs: number): void {
    const answer = new Answer(this.#call, (whole) => {
      this.#onAnswer(whole, dueMs);
    });
    const exchange = connection.open(this.#headers, this.#call === 'get', answer);
    exchange?.setSink(answer);
    if (this.#call === 'get') return;
    // The message is smaller than any window that a stream begins with.
    exchange?.write(this.#message, HEADROOM, EMPTY_MESSAGE_BYTES);
    exchange?.end();
  }

  #onAnswer(whole: boolean, dueMs: number): void {
    if (whole) this.histogram.record((performance.now() - dueMs) * 1000);
    if (--this.#underWay === 0 && this.#due.length === 0) this.#onIdle?.();
  }
}

/** Reads one answer to its end; anything but 200, and of a gRPC call status 0, is none. */
class Answer implements ExchangeHandler, ByteSink {
  readonly #onEnd: (whole: boolean) => void;
  #status = '';
  #grpcStatus: string | undefined;
  #over = false;

  constructor(call: 'get' | 'grpc', onEnd: (whole: boolean) => void) {
    this.#grpcStatus = call === 'get' ? '0' : undefined;
    this.#onEnd = onEnd;
  }

  onResponse(headers: HeaderList): void {
    this.#status = headers[1] ?? '';
  }

  onTrailers(trailers: HeaderList): void {
    this.#grpcStatus ??= findHeader(trailers, 'grpc-status');
  }

  capacity(): number {
    return 1 << 20;
  }

  onData(_bytes: SharedBytes, _offset: number, length: number): number {
    return length;
  }

  onEnd(): void {
    this.#end(this.#status === '200' && this.#grpcStatus === '0');
  }

  onError(): void {
    this.#end(false);
  }

  onWritable(): void {
    // Nothing is written.
  }

  #end(whole: boolean): void {
    if (this.#over) return;
    this.#over = true;
    this.#onEnd(whole);
  }
}
