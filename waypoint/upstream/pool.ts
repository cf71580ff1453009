import type { UpstreamConnection } from './connection.ts';
import type { UpstreamEndpoint } from './endpoint.ts';
import {
  type ConnectUpstream,
  EndpointPool,
  type PendingConnection,
  type PoolLimits,
  type PoolWaiter,
  type UpstreamVersion,
} from './endpoint-pool.ts';

/** How often idle connections are looked for. */
const SWEEP_MS = 5000;

/** The HTTP connections of one thread to all endpoints. They outlive the configuration that chose the endpoint. */
export class UpstreamPool implements Disposable {
  readonly #connect: ConnectUpstream;
  /** By the endpoint's key. */
  readonly #http1 = new Map<string, EndpointPool>();
  readonly #http2 = new Map<string, EndpointPool>();
  readonly #sweeper: NodeJS.Timeout;

  constructor(connect: ConnectUpstream) {
    this.#connect = connect;
    this.#sweeper = setInterval(() => {
      this.sweep(performance.now());
    }, SWEEP_MS);
    this.#sweeper.unref();
  }

  /** See EndpointPool.acquire(). */
  acquire(
    endpoint: UpstreamEndpoint,
    version: UpstreamVersion,
    limits: PoolLimits,
    waiter: PoolWaiter,
  ): UpstreamConnection | PendingConnection | undefined {
    const pools = version === 'HTTP/2' ? this.#http2 : this.#http1;
    let pool = pools.get(endpoint.key);
    if (pool === undefined) {
      pool = new EndpointPool(endpoint, version, this.#connect, limits);
      pools.set(endpoint.key, pool);
    }
    return pool.acquire(endpoint, limits, waiter);
  }

  /** Open connections. */
  get size(): number {
    let size = 0;
    for (const pool of this.#all()) size += pool.size;
    return size;
  }

  /** Nothing new begins on what is open now to these endpoints: what is idle ends at once, running requests go on. */
  retire(isMeant: (endpoint: UpstreamEndpoint) => boolean): void {
    for (const pool of this.#all()) if (isMeant(pool.endpoint)) pool.retire();
  }

  /** The same for all that is open now. */
  retireAll(): void {
    for (const pool of this.#all()) pool.retire();
  }

  /** Ends what has been idle for too long, and forgets endpoints that are not used. */
  sweep(nowMs: number): void {
    for (const pools of [this.#http1, this.#http2])
      for (const [key, pool] of pools) {
        pool.sweep(nowMs);
        if (pool.isEmpty) pools.delete(key);
      }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#sweeper);
    for (const pool of this.#all()) pool.close();
  }

  *#all(): Generator<EndpointPool> {
    yield* this.#http1.values();
    yield* this.#http2.values();
  }
}
