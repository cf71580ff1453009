import { MeshError } from '../../base/errors.ts';
import type { HttpClientConnection } from '../../net/http/exchange.ts';
import { UpstreamConnection, type ConnectionEvents } from './connection.ts';
import type { UpstreamEndpoint } from './endpoint.ts';

/** What the service's traffic policy says about connections to one endpoint. Infinity where nothing is bounded. */
export type PoolLimits = Readonly<{
  maxConnections: number;
  /** Requests that wait for a connection. */
  maxPendingRequests: number;
  maxRequestsPerConnection: number;
  connectTimeoutMs: number;
  /** Of a connection without a request. */
  idleTimeoutMs: number;
}>;

export type UpstreamVersion = 'HTTP/1.1' | 'HTTP/2';

/**
 * Makes a connection: the tunnel or the plain socket, and HTTP on it.
 *
 * @param events hears of the connection from its first moment on.
 * @throws {MeshError} when there is none within `connectTimeoutMs`.
 */
export type ConnectUpstream = (
  endpoint: UpstreamEndpoint,
  version: UpstreamVersion,
  events: ConnectionEvents,
  connectTimeoutMs: number,
) => Promise<HttpClientConnection>;

/** A request that needs a connection. Neither may throw. */
export interface PoolWaiter {
  /** Opens its exchange before it returns. */
  onConnection(connection: UpstreamConnection): void;
  onConnectFailure(error: unknown): void;
}

/**
 * A connection stands within milliseconds. One that does not for so long may never, and is no reason not to dial for those who come
 * later; and those who wait for it alone are dialled for once more.
 */
const PATIENCE_MS = 500;

/** Where so many connections that have room wait for their peer, one more would not help either. */
const MAX_UNRESPONSIVE = 8;

/** A place in the queue. */
export class PendingConnection {
  readonly waiter: PoolWaiter;
  /** Milliseconds of performance.now(). */
  readonly sinceMs = performance.now();
  readonly #pool: EndpointPool;

  constructor(waiter: PoolWaiter, pool: EndpointPool) {
    this.waiter = waiter;
    this.#pool = pool;
  }

  /** The request needs none any more. Idempotent. */
  cancel(): void {
    this.#pool.cancel(this);
  }
}

/**
 * The connections of one version to one endpoint. The one that was used last is used again, so that those that are too
 * many go idle and end. HTTP/2 connections are opened one after another, each as soon as the others are full; those of
 * HTTP/1.1 one for each request that waits. Nobody waits for a dial that hangs as long as another one may succeed.
 */
export class EndpointPool {
  #endpoint: UpstreamEndpoint;
  readonly #version: UpstreamVersion;
  readonly #connect: ConnectUpstream;
  readonly #connections = new Set<UpstreamConnection>();
  /** Those that may have room, the last used one last. */
  readonly #offered: UpstreamConnection[] = [];
  readonly #waiting: PendingConnection[] = [];
  /** When each of those that are under way was begun, the oldest first. */
  readonly #dials: number[] = [];
  #limits: PoolLimits;
  /** Runs while somebody waits. */
  #patience: NodeJS.Timeout | undefined;

  constructor(
    endpoint: UpstreamEndpoint,
    version: UpstreamVersion,
    connect: ConnectUpstream,
    limits: PoolLimits,
  ) {
    this.#endpoint = endpoint;
    this.#version = version;
    this.#connect = connect;
    this.#limits = limits;
  }

  /** As it was asked for last: of several services with the endpoint, and of a service that has changed, the newest. */
  get endpoint(): UpstreamEndpoint {
    return this.#endpoint;
  }

  get size(): number {
    return this.#connections.size;
  }

  /** Nothing is open, wanted or under way. */
  get isEmpty(): boolean {
    return this.#connections.size === 0 && this.#dials.length === 0 && this.#waiting.length === 0;
  }

  /**
   * A connection with room, on which the caller opens its exchange at once; or a place in the queue for one.
   *
   * @param endpoint with the same key as before; what is dialled from now on is dialled as it says.
   * @returns `undefined` when no more may wait.
   */
  acquire(
    endpoint: UpstreamEndpoint,
    limits: PoolLimits,
    waiter: PoolWaiter,
  ): UpstreamConnection | PendingConnection | undefined {
    this.#endpoint = endpoint;
    this.#limits = limits;
    const free = this.#free();
    if (free !== undefined) return free;
    if (this.#waiting.length >= limits.maxPendingRequests) return undefined;
    const pending = new PendingConnection(waiter, this);
    this.#waiting.push(pending);
    this.#dial();
    return pending;
  }

  cancel(pending: PendingConnection): void {
    const at = this.#waiting.indexOf(pending);
    if (at >= 0) this.#waiting.splice(at, 1);
  }

  /** No new requests on what is open; for an endpoint that is gone, or a certificate that was renewed. */
  retire(): void {
    for (const connection of [...this.#connections]) connection.drain();
  }

  /** Ends all at once. */
  close(): void {
    clearTimeout(this.#patience);
    for (const connection of [...this.#connections]) connection.close();
  }

  /** Ends what nobody has used for the idle time. */
  sweep(nowMs: number): void {
    for (const connection of [...this.#connections])
      if (nowMs - connection.lastUsedMs > this.#limits.idleTimeoutMs) connection.drain();
  }

  onFull(connection: UpstreamConnection): void {
    this.#withdraw(connection);
  }

  onAvailable(connection: UpstreamConnection): void {
    if (!connection.offered && connection.hasRoom) {
      connection.offered = true;
      this.#offered.push(connection);
    }
    if (this.#waiting.length > 0) this.#serve();
  }

  onClose(connection: UpstreamConnection): void {
    this.#connections.delete(connection);
    this.#withdraw(connection);
    this.#dial();
  }

  #withdraw(connection: UpstreamConnection): void {
    if (!connection.offered) return;
    connection.offered = false;
    const at = this.#offered.lastIndexOf(connection); // it is mostly the last one
    if (at >= 0) this.#offered.splice(at, 1);
  }

  /** The last one whose peer answers; one that does not, where no other may be made, or there are many of them. */
  #free(): UpstreamConnection | undefined {
    let slow: UpstreamConnection | undefined;
    let slowCount = 0;
    for (let at = this.#offered.length - 1; at >= 0 && slowCount < MAX_UNRESPONSIVE; at--) {
      const connection = this.#offered[at];
      if (connection === undefined) break;
      if (!connection.hasRoom)
        this.#withdraw(connection); // it drains
      else if (!connection.isUnresponsive) return connection;
      else {
        slow ??= connection;
        slowCount++;
      }
    }
    return slowCount === MAX_UNRESPONSIVE || !this.#hasRoom ? slow : undefined;
  }

  #serve(): void {
    while (this.#waiting.length > 0) {
      const free = this.#free();
      if (free === undefined) break;
      this.#waiting.shift()?.waiter.onConnection(free);
    }
    this.#dial();
  }

  /**
   * As many connections as those who wait need.
   *
   * @param sinceMs who came before does not need another one than the dial that was begun for it, though that may hang.
   */
  #dial(sinceMs = performance.now() - PATIENCE_MS): void {
    const most = this.#version === 'HTTP/2' ? 1 : Infinity;
    let missing = Math.min(most, this.#waiting.length) - this.#dials.length;
    if (hasOlder(this.#dials, performance.now() - PATIENCE_MS)) {
      const newcomers = this.#waiting.filter((pending) => pending.sinceMs > sinceMs);
      missing = Math.max(missing, Math.min(most, newcomers.length) - this.#recentDials);
    }
    for (; missing > 0 && this.#hasRoom; missing--) void this.#open();
    if (this.#waiting.length > 0) this.#patience ??= this.#beginPatience();
  }

  get #hasRoom(): boolean {
    return this.#connections.size + this.#dials.length < this.#limits.maxConnections;
  }

  get #recentDials(): number {
    const sinceMs = performance.now() - PATIENCE_MS;
    return this.#dials.filter((beganMs) => beganMs > sinceMs).length;
  }

  #beginPatience(): NodeJS.Timeout {
    return setTimeout(() => {
      this.#patience = undefined;
      if (this.#waiting.length === 0) return;
      if (this.#hasRoom && this.#recentDials === 0) void this.#open();
      this.#serve(); // by what answers again
    }, PATIENCE_MS);
  }

  async #open(): Promise<void> {
    const { maxRequestsPerConnection, connectTimeoutMs } = this.#limits;
    const beganMs = performance.now();
    this.#dials.push(beganMs);
    const connection = new UpstreamConnection(this, maxRequestsPerConnection);
    try {
      const opened = await this.#connect(
        this.#endpoint,
        this.#version,
        connection,
        connectTimeoutMs,
      );
      connection.attach(opened);
      if (connection.closed) {
        const message = 'Cannot use a connection: it ended at once';
        throw new MeshError('ERR_UPSTREAM_CLOSED', 'upstream', message);
      }
    } catch (error) {
      this.#endDial(beganMs);
      this.#fail(error, beganMs);
      return;
    }
    this.#endDial(beganMs);
    this.#connections.add(connection);
    this.onAvailable(connection);
    // One that stood at once shows that there is a way again, for those whose dials hang too.
    const isQuick = performance.now() - beganMs < PATIENCE_MS;
    this.#dial(isQuick ? -Infinity : undefined);
  }

  #endDial(beganMs: number): void {
    this.#dials.splice(this.#dials.indexOf(beganMs), 1);
  }

  /** Of those who counted on this dial all, in HTTP/2, else the first. */
  #fail(error: unknown, beganMs: number): void {
    const later = this.#waiting.findIndex(({ sinceMs }) => sinceMs > beganMs + PATIENCE_MS);
    const counted = later < 0 ? this.#waiting.length : later;
    const failed = this.#waiting.splice(
      0,
      this.#version === 'HTTP/2' ? counted : Math.min(1, counted),
    );
    for (const { waiter } of failed) waiter.onConnectFailure(error);
    this.#dial();
  }
}

function hasOlder([oldest]: readonly number[], ms: number): boolean {
  return oldest !== undefined && oldest <= ms;
}
