/**
 * What a waypoint has learnt of one endpoint of one target (service, subset, port). It outlives changes of configuration:
 * a new list of endpoints, or another policy, finds it by its key.
 *
 * Available = known to configuration, healthy there and by its checks, and not ejected. Balancers read `available` and `active` and nothing else.
 */
export class EndpointState {
  readonly key: string;
  /** Requests that were sent to it and are not over. */
  active = 0;
  /** May be chosen. Kept, not computed, because every pick reads it. */
  available = true;
  /** Not among the endpoints any more: never chosen, not even in panic. */
  retired = false;
  /** When it came, or became healthy again. */
  warmSinceMs: number;
  readonly outlier = new OutlierRecord();
  #healthy = true;
  #passes = true;

  constructor(key: string, nowMs: number) {
    this.key = key;
    this.warmSinceMs = nowMs;
  }

  get healthy(): boolean {
    return this.#healthy;
  }

  /** @returns whether it became available, or stopped being it. */
  setHealthy(healthy: boolean, nowMs: number): boolean {
    if (healthy && !this.#healthy) this.warmSinceMs = nowMs;
    this.#healthy = healthy;
    return this.refresh();
  }

  /** Whether it passes its health checks; who is not checked does. */
  get passes(): boolean {
    return this.#passes;
  }

  /** @returns whether it became available, or stopped being it. */
  setPasses(passes: boolean, nowMs: number): boolean {
    if (passes && !this.#passes) this.warmSinceMs = nowMs;
    this.#passes = passes;
    return this.refresh();
  }

  /** To be called when `retired` or the ejection has changed. @returns whether `available` has. */
  refresh(): boolean {
    const before = this.available;
    const { retired, outlier } = this;
    this.available = this.#healthy && this.#passes && !retired && !outlier.ejected;
    return before !== this.available;
  }

  /** Counts a request until it is disposed of. */
  beginRequest(): ActiveRequest {
    this.active++;
    return new ActiveRequest(this);
  }
}

/** A request that counts at its endpoint; it stops counting once, however often it is disposed of. */
export class ActiveRequest implements Disposable {
  #state: EndpointState | undefined;

  constructor(state: EndpointState) {
    this.#state = state;
  }

  [Symbol.dispose](): void {
    if (this.#state === undefined) return;
    this.#state.active--;
    this.#state = undefined;
  }
}

/** What outlier detection keeps of an endpoint. */
export class OutlierRecord {
  ejected = false;
  ejectedAtMs = 0;
  /** How many times longer than the base the next ejection lasts; it shrinks while the endpoint is well. */
  multiplier = 0;
  consecutive5xx = 0;
  consecutiveGatewayErrors = 0;
  consecutiveLocalOriginFailures = 0;
  /** Of the interval that runs. */
  readonly external = new SuccessCount();
  readonly localOrigin = new SuccessCount();

  forgetConsecutive(): void {
    this.consecutive5xx = 0;
    this.consecutiveGatewayErrors = 0;
    this.consecutiveLocalOriginFailures = 0;
  }
}

/** Successes among all requests of an interval, and of the one before. */
export class SuccessCount {
  #total = 0;
  #success = 0;
  /** Of the interval that is over. */
  total = 0;
  success = 0;

  add(success: boolean): void {
    this.#total++;
    if (success) this.#success++;
  }

  /** The interval is over. */
  rotate(): void {
    this.total = this.#total;
    this.success = this.#success;
    this.#total = 0;
    this.#success = 0;
  }

  /** Percent of the interval that is over. */
  get successRate(): number {
    return this.total === 0 ? 100 : (100 * this.success) / this.total;
  }
}

/** What is told of an endpoint: its key, and whether configuration and its checks take it for healthy. */
export type EndpointHealth = Readonly<{ key: string; healthy: boolean; passes?: boolean }>;

/** The states of a target's endpoints. */
export class EndpointStates {
  readonly #states = new Map<string, EndpointState>();
  #size = 0;
  #ejected = 0;

  /** How many endpoints the target has; those that are gone and still busy do not count. */
  get size(): number {
    return this.#size;
  }

  /** How many of them are ejected. */
  get ejected(): number {
    return this.#ejected;
  }

  /** @returns whether the endpoint became available, or stopped being it. */
  setEjected(state: EndpointState, ejected: boolean): boolean {
    if (state.outlier.ejected !== ejected && !state.retired) this.#ejected += ejected ? 1 : -1;
    state.outlier.ejected = ejected;
    return state.refresh();
  }

  get(key: string): EndpointState | undefined {
    return this.#states.get(key);
  }

  /**
   * Takes the endpoints of a new configuration, which keep what was learnt of them. One that is gone is retired at once; it
   * is remembered while it has requests or is ejected, so that coming back frees it of neither.
   *
   * @returns the states in the order of the endpoints.
   */
  replace(endpoints: readonly EndpointHealth[], nowMs: number): EndpointState[] {
    const current = new Set<EndpointState>();
    const states = endpoints.map(({ key, healthy, passes = true }) => {
      let state = this.#states.get(key);
      if (state === undefined) {
        state = new EndpointState(key, nowMs);
        this.#states.set(key, state);
      } else if (state.retired) state.warmSinceMs = nowMs;
      state.retired = false;
      state.setHealthy(healthy, nowMs);
      state.setPasses(passes, nowMs);
      current.add(state);
      return state;
    });
    this.#size = current.size;
    this.#ejected = 0;
    for (const { outlier } of current) if (outlier.ejected) this.#ejected++;
    for (const state of this.#states.values()) {
      if (current.has(state)) continue;
      state.retired = true;
      state.refresh();
    }
    this.forgetRetired();
    return states;
  }

  /** Forgets endpoints that are gone and have nothing left to be remembered. */
  forgetRetired(): void {
    for (const [key, state] of this.#states)
      if (state.retired && state.active === 0 && !state.outlier.ejected) this.#states.delete(key);
  }

  /** Every state, also of endpoints that are gone and not forgotten yet. */
  all(): Iterable<EndpointState> {
    return this.#states.values();
  }
}
