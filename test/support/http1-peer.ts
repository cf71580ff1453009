import { EventEmitter, once } from 'node:events';
import net from 'node:net';
import type { ExecutionContext } from 'ava';
import { parseIpAddress, socketAddress } from '../../base/address.ts';
import type { HeaderList } from '../../net/h2/headers.ts';
import { connectHttp, type HttpClientOptions } from '../../net/http/client.ts';
import type {
  ClientExchange,
  HttpClientConnection,
  HttpServerConnection,
  ServerExchange,
} from '../../net/http/exchange.ts';
import { type HttpServerOptions, serveHttp } from '../../net/http/server.ts';
import { connectTcp } from '../../net/tcp.ts';
import { listenTcp } from '../../net/tcp-listener.ts';
import { Collector } from './collect.ts';

/** A socket that speaks by raw bytes and remembers what it was told. */
export class RawSocket {
  readonly socket: net.Socket;
  readonly #events = new EventEmitter();
  readonly #chunks: Buffer[] = [];
  /** `end` for an end in order, the error's code for a reset. */
  ended: string | undefined;

  constructor(socket: net.Socket) {
    this.socket = socket;
    this.#events.setMaxListeners(0);
    const change = (): void => void this.#events.emit('change');
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk);
      change();
    });
    socket.on('end', () => {
      this.ended ??= 'end';
      change();
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.ended ??= error.code ?? error.message;
      change();
    });
  }

  static async connect(t: ExecutionContext, port: number): Promise<RawSocket> {
    const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    t.teardown(() => socket.destroy());
    await once(socket, 'connect');
    return new RawSocket(socket);
  }

  /** All that has come, latin1. */
  get text(): string {
    return Buffer.concat(this.#chunks).toString('latin1');
  }

  send(...texts: string[]): void {
    for (const text of texts) this.socket.write(text, 'latin1');
  }

  async until(condition: (raw: this) => boolean): Promise<string> {
    while (!condition(this)) await once(this.#events, 'change');
    return this.text;
  }

  /** Resolves with what has come when that ends with `suffix`. */
  async untilText(suffix: string): Promise<string> {
    return await this.until((raw) => raw.text.endsWith(suffix));
  }

  async untilEnd(): Promise<string | undefined> {
    await this.until((raw) => raw.ended !== undefined);
    return this.ended;
  }
}

/** Lets this process do what it can do now: on loopback what was sent is there. */
export async function settle(): Promise<void> {
  for (let round = 0; round < 50; round++) await new Promise(setImmediate);
}

/** Resolves when a count moves no more. */
export async function untilSteady(count: () => number): Promise<void> {
  for (let before = -1; before !== count(); ) {
    before = count();
    await settle();
  }
}

export type Served = Readonly<{
  exchange: ServerExchange;
  headers: HeaderList;
  endStream: boolean;
}>;

export type HttpServer = Readonly<{
  port: number;
  /** In the order in which they came. */
  requests: Served[];
  connections: HttpServerConnection[];
  /** Errors of the connections that are over; undefined for an end in order. */
  closed: (Error | undefined)[];
  /** Resolves when so many connections are over. */
  untilClosed(count?: number): Promise<void>;
  untilRequests(count: number): Promise<void>;
  /** The first request that came, when it has. */
  first(): Promise<Served>;
}>;

/** Lets a server of Node's listen on loopback, until the test ends; returns its port. */
export async function listen(t: ExecutionContext, server: net.Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  return (server.address() as net.AddressInfo).port;
}

/** Our server, on a port of its own. */
export function startHttp(
  t: ExecutionContext,
  onRequest: (served: Served) => void,
  options: HttpServerOptions & { version?: Parameters<typeof serveHttp>[1] } = {},
): HttpServer {
  const events = new EventEmitter();
  events.setMaxListeners(0);
  const requests: Served[] = [];
  const connections: HttpServerConnection[] = [];
  const closed: (Error | undefined)[] = [];
  const until = async (condition: () => boolean): Promise<void> => {
    while (!condition()) await once(events, 'change');
  };
  const listener = listenTcp(
    { address: { ip: parseIpAddress('127.0.0.1'), port: 0 } },
    (stream) => {
      const connection = serveHttp(stream, options.version ?? 'http1', options, {
        onRequest(exchange, headers, endStream) {
          const served = { exchange, headers, endStream };
          requests.push(served);
          onRequest(served);
          events.emit('change');
        },
        onClose(error) {
          closed.push(error);
          events.emit('change');
        },
      });
      connections.push(connection);
    },
  );
  t.teardown(() => {
    listener.close();
    for (const connection of connections) connection.close();
  });
  return {
    ...{ port: listener.local.port, requests, connections, closed },
    untilClosed: (count = 1) => until(() => closed.length >= count),
    untilRequests: (count) => until(() => requests.length >= count),
    async first() {
      await until(() => requests.length > 0);
      const [served] = requests;
      if (served === undefined) throw new Error('no request');
      return served;
    },
  };
}

/** Answers with a text, at once. */
export function answerText(text: string): (served: Served) => void {
  return ({ exchange }) => {
    exchange.respond([':status', '200', 'content-length', String(text.length)]);
    void new Collector(exchange).write(text).then(() => {
      exchange.end();
    });
  };
}

/** Sends back what comes, as it comes, and then its trailers. */
export function echo({ exchange }: Served): void {
  let trailers: HeaderList | undefined;
  exchange.setHandler({ onTrailers: (list) => (trailers = list) });
  exchange.respond([':status', '200']);
  exchange.setSink({
    capacity: () => exchange.capacity(),
    onData: (bytes, offset, length) => exchange.write(bytes, offset, length),
    onEnd: () => {
      if (trailers === undefined) exchange.end();
      else exchange.sendTrailers(trailers);
    },
    onError: () => undefined,
    onWritable: () => {
      exchange.resume();
    },
  });
}

export type Told = {
  responses: HeaderList[];
  informationals: HeaderList[];
  trailers: HeaderList[];
  error: Error | undefined;
};

export type OpenExchange = Readonly<{ exchange: ClientExchange; body: Collector; told: Told }>;

export type HttpClient = Readonly<{
  connection: HttpClientConnection;
  /** The server's side. */
  peer: RawSocket;
  closed: Promise<Error | undefined>;
  /** How often it was told that there is room. */
  available: () => number;
}>;

/** Our client with a server that speaks by raw bytes. */
export async function startClient(
  t: ExecutionContext,
  options: HttpClientOptions = {},
): Promise<HttpClient> {
  const server = net.createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'connection');
  const { port } = server.address() as net.AddressInfo;
  const transport = await connectTcp(socketAddress('127.0.0.1', port));
  const [socket] = (await accepted) as [net.Socket];
  const closed = Promise.withResolvers<Error | undefined>();
  let available = 0;
  const connection = connectHttp(transport, 'http1', options, {
    onAvailable: () => available++,
    onClose: closed.resolve,
  });
  t.teardown(() => {
    connection.close();
    socket.destroy();
    server.close();
  });
  const peer = new RawSocket(socket);
  return { connection, peer, closed: closed.promise, available: () => available };
}

export const GET: HeaderList = [
  ...[':method', 'GET', ':scheme', 'http', ':authority', 'a.test', ':path', '/'],
];
export const POST: HeaderList = [
  ...[':method', 'POST', ':scheme', 'http', ':authority', 'a.test', ':path', '/'],
];

export function openExchange(
  connection: HttpClientConnection,
  list: HeaderList = GET,
  endStream = list === GET,
): OpenExchange {
  const told: Told = { responses: [], informationals: [], trailers: [], error: undefined };
  const exchange = connection.open(list, endStream, {
    onResponse: (response) => told.responses.push(response),
    onInformational: (response) => told.informationals.push(response),
    onTrailers: (trailers) => told.trailers.push(trailers),
    onError: (error) => (told.error = error),
  });
  if (exchange === undefined) throw new Error('no room for an exchange');
  return { exchange, body: new Collector(exchange), told };
}
