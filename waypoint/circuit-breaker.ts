import type { CircuitBreaker as Limits, RetryBudget } from '../mesh/model/traffic-policy.ts';
import { SlidingCount } from './sliding-count.ts';

export type LimitedResource = 'connections' | 'pending' | 'requests' | 'retries';

/** What overflows are counted under, by Envoy's names. A pending request and an active one share theirs. */
export type OverflowCounters = {
  upstream_cx_overflow: number;
  upstream_rq_pending_overflow: number;
  upstream_rq_retry_overflow: number;
};

const OVERFLOW_NAMES = {
  connections: 'upstream_cx_overflow',
  pending: 'upstream_rq_pending_overflow',
  requests: 'upstream_rq_pending_overflow',
  retries: 'upstream_rq_retry_overflow',
} as const satisfies Record<LimitedResource, keyof OverflowCounters>;

/** A place under a limit; it is given back once, however often it is disposed of. */
export class Permit implements Disposable {
  #owner: CircuitBreaker | undefined;
  readonly #resource: LimitedResource;

  constructor(owner: CircuitBreaker, resource: LimitedResource) {
    this.#owner = owner;
    this.#resource = resource;
  }

  [Symbol.dispose](): void {
    const owner = this.#owner;
    this.#owner = undefined;
    owner?.release(this.#resource);
  }
}

/**
 * Bounds what one replica has under way to one (service, subset, port). Over the bound of pending or requests a request is
 * answered with 503, `x-envoy-overloaded` and flag UO; over that of connections it waits, pending; over that of retries it
 * gets the answer that it has. What is under way stays when limits change, so it may be more than a new limit allows.
 */
export class CircuitBreaker {
  readonly overflows: OverflowCounters = {
    upstream_cx_overflow: 0,
    upstream_rq_pending_overflow: 0,
    upstream_rq_retry_overflow: 0,
  };
  readonly #active = { connections: 0, pending: 0, requests: 0, retries: 0 };
  readonly #now: () => number;
  #limits: Limits | undefined;
  #budget: RetryBudget | undefined;
  #requestsBegun: SlidingCount | undefined;

  /** @param now milliseconds of a clock that only goes forward. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Without limits nothing is bounded. A budget takes the place of `maxRetries`. */
  configure(limits: Limits | undefined, budget: RetryBudget | undefined): void {
    this.#limits = limits;
    this.#budget = budget;
    const intervalMs = budget?.intervalMs ?? 0;
    if (intervalMs === 0) this.#requestsBegun = undefined;
    else if (this.#requestsBegun?.intervalMs !== intervalMs)
      this.#requestsBegun = new SlidingCount(intervalMs);
  }

  /** How many are under way. */
  active(resource: LimitedResource): number {
    return this.#active[resource];
  }

  /** @returns `undefined` over the limit; that is counted. */
  acquire(resource: LimitedResource): Permit | undefined {
    if (this.#active[resource] >= this.#limitOf(resource)) {
      this.overflows[OVERFLOW_NAMES[resource]]++;
      return undefined;
    }
    this.#active[resource]++;
    if (resource === 'requests') this.#requestsBegun?.add(this.#now());
    return new Permit(this, resource);
  }

  /** Only permits call it. */
  release(resource: LimitedResource): void {
    this.#active[resource]--;
  }

  #limitOf(resource: LimitedResource): number {
    switch (resource) {
      case 'connections':
        return this.#limits?.maxConnections ?? Infinity;
      case 'pending':
        return this.#limits?.maxPendingRequests ?? Infinity;
      case 'requests':
        return this.#limits?.maxRequests ?? Infinity;
      case 'retries':
        return this.#budget === undefined
          ? (this.#limits?.maxRetries ?? Infinity)
          : this.#budgetedRetries(this.#budget);
    }
  }

  /** A part of the requests that are under way, or, with an interval, of those that began in it where that is more. */
  #budgetedRetries({ percent, minConcurrency }: RetryBudget): number {
    const underWay = this.#active.requests + this.#active.pending;
    const begun = this.#requestsBegun?.count(this.#now()) ?? 0;
    return Math.max(minConcurrency, (percent / 100) * Math.max(underWay, begun));
  }
}
