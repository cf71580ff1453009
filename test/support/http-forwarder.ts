import type { ExecutionContext } from 'ava';
import { parseIpAddress, socketAddress, type SocketAddress } from '../../base/address.ts';
import type { ByteSink, ByteStream, SharedBytes } from '../../net/byte-stream.ts';
import type { HeaderList } from '../../net/h2/headers.ts';
import { connectHttp, type HttpClientOptions } from '../../net/http/client.ts';
import type {
  ClientExchange,
  ExchangeHandler,
  HttpClientConnection,
  HttpClientHandler,
  HttpServerConnection,
  ServerExchange,
} from '../../net/http/exchange.ts';
import { type HttpServerOptions, serveHttp } from '../../net/http/server.ts';
import { connectTcp } from '../../net/tcp.ts';
import { listenTcp, type TcpListener } from '../../net/tcp-listener.ts';

export type ForwarderOptions = Readonly<{
  /** Where it listens; the port may be 0. */
  listen: SocketAddress;
  to: SocketAddress;
  upstream?: 'http1' | 'http2';
  server?: HttpServerOptions;
  client?: HttpClientOptions;
}>;

/** A forwarder to a port of loopback, until the test ends. */
export function forwardTo(
  t: ExecutionContext,
  port: number,
  upstream: 'http1' | 'http2' = 'http1',
): HttpForwarder {
  const forwarder = new HttpForwarder({
    listen: { ip: parseIpAddress('127.0.0.1'), port: 0 },
    to: socketAddress('127.0.0.1', port),
    upstream,
  });
  t.teardown(() => {
    forwarder.close();
  });
  return forwarder;
}

/** The plainest reverse proxy: no rules, no retries; each request goes to one server, on connections that are kept. */
export class HttpForwarder {
  readonly #options: ForwarderOptions;
  readonly #listener: TcpListener;
  readonly #connections = new Set<HttpServerConnection>();
  readonly #upstreams = new Set<Upstream>();
  readonly idle: Upstream[] = [];

  constructor(options: ForwarderOptions) {
    this.#options = options;
    this.#listener = listenTcp({ address: options.listen }, (stream) => {
      const connection: HttpServerConnection = serveHttp(stream, 'detect', options.server ?? {}, {
        onRequest: (exchange, headers, endStream) => {
          this.#forward(exchange, headers, endStream);
        },
        onClose: () => this.#connections.delete(connection),
      });
      this.#connections.add(connection);
    });
  }

  get port(): number {
    return this.#listener.local.port;
  }

  close(): void {
    this.#listener.close();
    for (const connection of this.#connections) connection.close();
    for (const { connection } of this.#upstreams) connection?.close();
  }

  onUpstreamClosed(upstream: Upstream): void {
    this.#upstreams.delete(upstream);
    const at = this.idle.indexOf(upstream);
    if (at !== -1) this.idle.splice(at, 1);
  }

  #forward(exchange: ServerExchange, headers: HeaderList, endStream: boolean): void {
    const upstream = this.idle.pop();
    if (upstream === undefined) void this.#connectAndForward(exchange, headers, endStream);
    else upstream.forward(exchange, headers, endStream);
  }

  async #connectAndForward(
    exchange: ServerExchange,
    headers: HeaderList,
    endStream: boolean,
  ): Promise<void> {
    try {
      const { to, upstream = 'http1', client = {} } = this.#options;
      const made = new Upstream(this);
      const stream = await connectTcp(to);
      made.connection = connectHttp(stream, upstream, client, made);
      this.#upstreams.add(made);
      made.forward(exchange, headers, endStream);
    } catch {
      exchange.respond([':status', '503'], { endStream: true });
    }
  }
}

/** A connection to the server, which goes back to the idle ones after each exchange. */
export class Upstream implements HttpClientHandler {
  readonly #owner: HttpForwarder;
  connection: HttpClientConnection | undefined;
  #isIdle = false;

  constructor(owner: HttpForwarder) {
    this.#owner = owner;
  }

  forward(exchange: ServerExchange, headers: HeaderList, endStream: boolean): void {
    this.#isIdle = false;
    const way = new Way(exchange);
    const client = this.connection?.open(headers, endStream, way);
    if (client === undefined) exchange.respond([':status', '503'], { endStream: true });
    else way.join(client);
    if ((this.connection?.availableExchanges() ?? 0) > 0) this.onAvailable();
  }

  onAvailable(): void {
    if (this.#isIdle) return;
    this.#isIdle = true;
    this.#owner.idle.push(this);
  }

  onClose(): void {
    this.#owner.onUpstreamClosed(this);
  }
}

/** One request's way there and back. */
class Way implements ExchangeHandler {
  readonly #downstream: ServerExchange;
  #upstream: ClientExchange | undefined;

  constructor(downstream: ServerExchange) {
    this.#downstream = downstream;
  }

  join(upstream: ClientExchange): void {
    this.#upstream = upstream;
    this.#downstream.setHandler(new Trailers(upstream));
    this.#downstream.setSink(new Direction(upstream));
    upstream.setSink(new Direction(this.#downstream));
  }

  onResponse(headers: HeaderList, endStream: boolean): void {
    this.#downstream.respond(headers, { endStream });
  }

  onInformational(headers: HeaderList): void {
    this.#downstream.sendInformational(headers);
  }

  onTrailers(trailers: HeaderList): void {
    this.#downstream.sendTrailers(trailers);
  }

  onError(): void {
    if (this.#downstream.answered) this.#downstream.reset();
    else this.#downstream.respond([':status', '502'], { endStream: true });
    this.#upstream = undefined;
  }
}

class Trailers implements ExchangeHandler {
  readonly #to: ClientExchange;

  constructor(to: ClientExchange) {
    this.#to = to;
  }

  onTrailers(trailers: HeaderList): void {
    this.#to.sendTrailers(trailers);
  }
}

class Direction implements ByteSink {
  readonly #to: ByteStream;

  constructor(to: ByteStream) {
    this.#to = to;
  }

  capacity(): number {
    return this.#to.capacity();
  }

  onData(bytes: SharedBytes, offset: number, length: number): number {
    return this.#to.write(bytes, offset, length);
  }

  onEnd(): void {
    this.#to.end();
  }

  onError(): void {
    // An answered exchange must not seem to have ended; one that was not is told by its handler.
    if (!('respond' in this.#to)) this.#to.reset();
  }

  onWritable(): void {
    // It is the sink of one side that hears of room there, for the input of the other.
    this.#to.resume();
  }
}
