import { EventEmitter, once } from 'node:events';
import net from 'node:net';
import type { ExecutionContext } from 'ava';
import { parseIpAddress, socketAddress } from '../../base/address.ts';
import type { BackendRetries } from '../../mesh/model/backend-policy.ts';
import type { HttpRule, RetryPolicy } from '../../mesh/model/http-route.ts';
import type { Service } from '../../mesh/model/service.ts';
import { parseSpiffeId } from '../../mesh/model/identity.ts';
import { Http2Connection } from '../../net/h2/connection.ts';
import { CLIENT_PREFACE, FLAG_ACK, SETTINGS } from '../../net/h2/frame.ts';
import { systemClock } from '../../net/clock.ts';
import type { Http2Options } from '../../net/h2/options.ts';
import type { HttpClientConnection } from '../../net/http/exchange.ts';
import { connectTcp } from '../../net/tcp.ts';
import type { Backend, NoRoom, TryOutcome } from '../../waypoint/backend.ts';
import { Downstream, type HttpVersion } from '../../waypoint/downstream.ts';
import type { HttpRequest } from '../../waypoint/http-request.ts';
import { NO_BACKEND } from '../../waypoint/local-reply.ts';
import { DEFAULT_SETTINGS, type RequestParts } from '../../waypoint/request-parts.ts';
import { serveRequest } from '../../waypoint/request.ts';
import { Deadlines } from '../../waypoint/timeout.ts';
import type { ConnectionEvents } from '../../waypoint/upstream/connection.ts';
import type { UpstreamEndpoint } from '../../waypoint/upstream/endpoint.ts';
import type { PoolLimits } from '../../waypoint/upstream/endpoint-pool.ts';
import { UpstreamPool } from '../../waypoint/upstream/pool.ts';
import { frame } from './h2-frames.ts';
import { RawPeer, serveH2 } from './h2-peer.ts';

/** An HTTP/2 connection of a client to this server. */
export async function connectHttp2(
  { address }: Pick<UpstreamEndpoint, 'address'>,
  events: ConnectionEvents,
  timeoutMs = 10_000,
  options: Http2Options = {},
): Promise<HttpClientConnection> {
  const transport = await connectTcp(address, { timeoutMs });
  const connection = Http2Connection.client(transport, options, {
    onGoaway: () => undefined,
    onAvailable: () => {
      events.onAvailable();
    },
    onClose: (error) => {
      events.onClose(error);
    },
  });
  return {
    availableExchanges: () => connection.availableStreams(),
    open: (headers, endStream, handler) => connection.openStream(headers, handler, { endStream }),
    drain: () => {
      connection.drain();
    },
    close: () => {
      connection.close();
    },
  };
}

export const UNLIMITED: PoolLimits = {
  maxConnections: Infinity,
  maxPendingRequests: Infinity,
  maxRequestsPerConnection: Infinity,
  connectTimeoutMs: 5000,
  idleTimeoutMs: 60_000,
};

export function endpointAt(port: number): UpstreamEndpoint {
  const address = socketAddress('127.0.0.1', port);
  const text = `127.0.0.1:${port}`;
  return { key: text, text, address };
}

/** Endpoints in turn, those that were not tried first; remembers what it was told of them. */
export class TestBackend implements Backend {
  readonly name = 'inbound-vip|80|http|echo.shop.svc.cluster.local';
  readonly version = 'HTTP/2';
  readonly service = undefined;
  readonly endpoints: readonly UpstreamEndpoint[];
  limits = UNLIMITED;
  maxRequests = Infinity;
  maxRetries = Infinity;
  retryPolicy: BackendRetries | undefined;
  standIn: Backend | undefined;
  readonly outcomes: (readonly [port: number, outcome: TryOutcome])[] = [];
  active = 0;
  retries = 0;

  constructor(ports: readonly number[]) {
    this.endpoints = ports.map(endpointAt);
  }

  chooseEndpoint(
    _request: HttpRequest,
    tried: readonly UpstreamEndpoint[],
  ): UpstreamEndpoint | undefined {
    return this.endpoints.find((one) => !tried.includes(one)) ?? this.endpoints[0];
  }

  beginTry(): NoRoom | undefined {
    if (this.active >= this.maxRequests) return 'overflow';
    this.active++;
    return undefined;
  }

  endTry(): void {
    this.active--;
  }

  judge(endpoint: UpstreamEndpoint, outcome: TryOutcome): boolean {
    this.outcomes.push([endpoint.address.port, outcome]);
    return false;
  }

  beginRetry(): boolean {
    if (this.retries >= this.maxRetries) return false;
    this.retries++;
    return true;
  }

  endRetry(): void {
    this.retries--;
  }

  fallback(): Backend | undefined {
    return this.standIn;
  }
}

export const RULE: HttpRule = {
  name: 'HTTPRoute/shop/echo/0',
  matches: [],
  filters: [],
  backends: [],
};

export const policy = (retry: Partial<RetryPolicy>): RetryPolicy => ({
  ...{ attempts: 2, conditions: ['5xx'], statusCodes: [], backoffMs: 1 },
  ...retry,
});

export type WaypointOptions = Readonly<{
  rule?: Partial<HttpRule>;
  parts?: Partial<RequestParts>;
  server?: Http2Options;
  version?: HttpVersion;
  service?: Service;
}>;

/** Requests through the waypoint's own way, HTTP/2 on both sides, between real sockets. */
export class TestWaypoint {
  readonly port: number;
  readonly backend: TestBackend;
  /** Requests that have ended. */
  readonly records: HttpRequest[] = [];
  readonly faults: unknown[] = [];
  readonly pool: UpstreamPool;
  readonly #events = new EventEmitter().setMaxListeners(0);

  constructor(t: ExecutionContext, ports: readonly number[], options: WaypointOptions = {}) {
    const backend = new TestBackend(ports);
    this.backend = backend;
    this.pool = new UpstreamPool((endpoint, _version, events, timeoutMs) =>
      connectHttp2(endpoint, events, timeoutMs),
    );
    const rule = { ...RULE, ...options.rule };
    const parts: RequestParts = {
      settings: DEFAULT_SETTINGS,
      pool: this.pool,
      deadlines: new Deadlines(systemClock),
      random: Math.random,
      onFault: (error) => this.faults.push(error),
      normalise: () => undefined,
      authorize: () => undefined,
      limitRate: () => undefined,
      findRule: () => rule,
      filterRequest: () => undefined,
      chooseBackend: () =>
        backend.endpoints.length === 0
          ? { kind: 'reply', reply: NO_BACKEND }
          : { kind: 'backend', backend },
      trace: () => undefined,
      mirror: () => undefined,
      filterResponse: (_request, list) => list,
      onRequestEnd: (request) => {
        this.records.push(request);
        this.#events.emit('record');
      },
      ...options.parts,
    };
    const downstream = new Downstream({
      version: options.version ?? 'HTTP/2',
      service: options.service,
      remote: { ip: parseIpAddress('10.0.0.7'), port: 40_001 },
      local: { ip: parseIpAddress('10.96.0.10'), port: 80 },
      identity: parseSpiffeId('spiffe://cluster.local/ns/shop/sa/client'),
    });
    const serverOptions = { extendedConnect: true, ...options.server };
    const server = serveH2(
      t,
      (stream, headers, endStream) => {
        void serveRequest(stream, headers, endStream, downstream, parts);
      },
      serverOptions,
    );
    this.port = server.port;
    t.teardown(() => {
      this.pool[Symbol.dispose]();
    });
  }

  async connect(t: ExecutionContext, options: Http2Options = {}): Promise<Http2Connection> {
    const transport = await connectTcp(socketAddress('127.0.0.1', this.port));
    const connection = Http2Connection.client(transport, options, {});
    t.teardown(() => {
      connection.close();
    });
    return connection;
  }

  /** The record of the request that ended as number `count`. */
  async record(count = 1): Promise<HttpRequest> {
    while (this.records.length < count) await once(this.#events, 'record');
    const record = this.records[count - 1];
    if (record === undefined) throw new Error('no record');
    return record;
  }
}

/** An upstream that says exactly what a test says. */
export class RawUpstream {
  readonly port: number;
  readonly #peers: RawPeer[] = [];
  readonly #events = new EventEmitter().setMaxListeners(0);
  connections = 0;

  private constructor(server: net.Server, settings: readonly Buffer[]) {
    this.port = (server.address() as net.AddressInfo).port;
    server.on('connection', (socket: net.Socket) => {
      this.connections++;
      const peer = new RawPeer(socket, CLIENT_PREFACE.length);
      peer.send(frame(SETTINGS, 0, 0, Buffer.concat(settings)), frame(SETTINGS, FLAG_ACK, 0));
      this.#peers.push(peer);
      this.#events.emit('peer');
    });
  }

  static async listen(t: ExecutionContext, ...settings: readonly Buffer[]): Promise<RawUpstream> {
    const server = net.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const sockets = new Set<net.Socket>();
    server.on('connection', (socket: net.Socket) => sockets.add(socket));
    t.teardown(() => {
      for (const socket of sockets) socket.destroy();
      server.close();
    });
    return new RawUpstream(server, settings);
  }

  /** The next connection that was made. */
  async next(): Promise<RawPeer> {
    while (this.#peers.length === 0) await once(this.#events, 'peer');
    const peer = this.#peers.shift();
    if (peer === undefined) throw new Error('no connection');
    return peer;
  }
}

/** A port of 127.0.0.1 that nobody listens on. */
export async function closedPort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
