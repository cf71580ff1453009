import type { OutlierPolicy } from '../mesh/model/traffic-policy.ts';
import type { EndpointState, EndpointStates, SuccessCount } from './endpoint-state.ts';

/** Why an endpoint is an outlier, by Envoy's names. */
export type EjectionCause =
  | 'consecutive_5xx'
  | 'consecutive_gateway_failure'
  | 'consecutive_local_origin_failure'
  | 'success_rate'
  | 'local_origin_success_rate'
  | 'failure_percentage'
  | 'local_origin_failure_percentage';

export type OutlierEvent = Readonly<
  | { kind: 'ejected'; endpoint: string; cause: EjectionCause; forMs: number }
  /** It is an outlier, and stays because too many are ejected. */
  | { kind: 'not-ejected'; endpoint: string; cause: EjectionCause }
  | { kind: 'returned'; endpoint: string; ejectedMs: number }
>;

/** How a connection or request failed before the endpoint answered. */
export type LocalOriginFailure = 'connect' | 'timeout' | 'reset';

/** What a failure without an answer counts as where local origin is not split off. Envoy. */
const STATUS_OF_FAILURE = { connect: 503, timeout: 504, reset: 503 } as const;

export type OutlierOptions = Readonly<{
  /** Milliseconds of a clock that only goes forward. */
  now: () => number;
  /** An endpoint has become available, or stopped being it. */
  onAvailability: () => void;
  onEvent?: (event: OutlierEvent) => void;
  /** The first outlier is ejected whatever maxEjectionPercent says; the last endpoint only at 100 percent. Envoy, off there too. */
  alwaysEjectOne?: boolean;
}>;

/** Numbers by Envoy's names, under `cluster.<name>.outlier_detection`. */
export type OutlierCounters = Readonly<{
  ejections_active: number;
  ejections_enforced_total: number;
  ejections_overflow: number;
  /** By cause: `ejections_detected_<cause>` and `ejections_enforced_<cause>`. */
  detected: ReadonlyMap<EjectionCause, number>;
  enforced: ReadonlyMap<EjectionCause, number>;
}>;

/**
 * Takes endpoints that fail out of the choice for a while: the more often, the longer. Consecutive failures act on the response
 * that completes them, the statistics at the end of an interval, on which the owner calls sweep().
 */
export class OutlierDetector {
  readonly #states: EndpointStates;
  readonly #options: OutlierOptions;
  readonly #detected = new Map<EjectionCause, number>();
  readonly #enforced = new Map<EjectionCause, number>();
  #policy: OutlierPolicy | undefined;
  #active = 0;
  #enforcedTotal = 0;
  #overflow = 0;

  constructor(states: EndpointStates, options: OutlierOptions) {
    this.#states = states;
    this.#options = options;
  }

  get counters(): OutlierCounters {
    return {
      ejections_active: this.#active,
      ejections_enforced_total: this.#enforcedTotal,
      ejections_overflow: this.#overflow,
      detected: this.#detected,
      enforced: this.#enforced,
    };
  }

  /** Without a policy nothing is ejected any more, and what was returns at once. */
  configure(policy: OutlierPolicy | undefined): void {
    this.#policy = policy;
    if (policy !== undefined) return;
    for (const state of this.#states.all()) if (state.outlier.ejected) this.#return(state);
  }

  /**
   * The endpoint answered; a gRPC answer counts by httpStatusFor(). Of each request one thing is reported, once.
   *
   * @returns whether this ejected it.
   */
  reportStatus(state: EndpointState, status: number): boolean {
    const policy = this.#policy;
    if (policy === undefined) return false;
    const { outlier } = state;
    const before = outlier.ejected;
    if (policy.splitExternalLocalOriginErrors) this.reportConnected(state);
    outlier.external.add(status < 500);
    if (status < 500) {
      outlier.consecutive5xx = 0;
      outlier.consecutiveGatewayErrors = 0;
      return false;
    }
    if (status >= 502 && status <= 504) {
      outlier.consecutiveGatewayErrors++;
      if (outlier.consecutiveGatewayErrors === policy.consecutiveGatewayErrors)
        this.#failedInARow(state, 'consecutive_gateway_failure');
    } else outlier.consecutiveGatewayErrors = 0;
    outlier.consecutive5xx++;
    if (outlier.consecutive5xx === policy.consecutive5xx)
      this.#failedInARow(state, 'consecutive_5xx');
    return !before && outlier.ejected;
  }

  /** The endpoint could not be asked, or did not answer. @returns whether this ejected it. */
  reportFailure(state: EndpointState, failure: LocalOriginFailure): boolean {
    const policy = this.#policy;
    if (policy === undefined) return false;
    if (!policy.splitExternalLocalOriginErrors)
      return this.reportStatus(state, STATUS_OF_FAILURE[failure]);
    const { outlier } = state;
    const before = outlier.ejected;
    outlier.localOrigin.add(false);
    outlier.consecutiveLocalOriginFailures++;
    if (outlier.consecutiveLocalOriginFailures === policy.consecutiveLocalOriginFailures)
      this.#failedInARow(state, 'consecutive_local_origin_failure');
    return !before && outlier.ejected;
  }

  /** A TCP connection was made, of whose bytes nothing is known: it counts only where local origin is told apart. */
  reportConnected(state: EndpointState): void {
    if (this.#policy?.splitExternalLocalOriginErrors !== true) return;
    state.outlier.localOrigin.add(true);
    state.outlier.consecutiveLocalOriginFailures = 0;
  }

  /** A health check has passed: it is no outlier any more. Envoy `successful_active_health_check_uneject_host`. */
  readmit(state: EndpointState): void {
    if (state.outlier.ejected) this.#return(state);
  }

  /** An interval is over: returns those whose time is up, judges the others by the interval's counts. */
  sweep(): void {
    const policy = this.#policy;
    if (policy === undefined) return;
    const nowMs = this.#options.now();
    for (const state of this.#states.all()) {
      const { outlier } = state;
      if (outlier.ejected) {
        if (outlier.ejectedAtMs + ejectionMs(policy, outlier.multiplier) <= nowMs)
          this.#return(state);
      } else if (outlier.multiplier > 0) outlier.multiplier--;
      outlier.external.rotate();
      outlier.localOrigin.rotate();
    }
    this.#judge(policy, 'external', 'success_rate', 'failure_percentage');
    if (policy.splitExternalLocalOriginErrors)
      this.#judge(
        ...[policy, 'localOrigin' as const],
        ...(['local_origin_success_rate', 'local_origin_failure_percentage'] as const),
      );
    this.#states.forgetRetired();
  }

  #judge(
    policy: OutlierPolicy,
    which: 'external' | 'localOrigin',
    rateCause: EjectionCause,
    percentageCause: EjectionCause,
  ): void {
    const counts = (state: EndpointState): SuccessCount => state.outlier[which];
    if (policy.successRateStdevFactor > 0) {
      const judged = this.#busyMembers(counts, policy.successRateRequestVolume);
      if (judged.length >= Math.max(1, policy.successRateMinimumHosts)) {
        const least = leastSuccessRate(
          judged.map((state) => counts(state).successRate),
          policy.successRateStdevFactor,
        );
        for (const state of judged)
          if (counts(state).successRate < least) this.#eject(state, rateCause);
      }
    }
    if (policy.failurePercentageThreshold > 0) {
      const judged = this.#busyMembers(counts, policy.failurePercentageRequestVolume);
      if (judged.length < policy.failurePercentageMinimumHosts) return;
      for (const state of judged)
        if (100 - counts(state).successRate >= policy.failurePercentageThreshold)
          this.#eject(state, percentageCause);
    }
  }

  /** Those that had enough requests in the interval to be judged by it. */
  #busyMembers(counts: (state: EndpointState) => SuccessCount, volume: number): EndpointState[] {
    const busy: EndpointState[] = [];
    for (const state of this.#states.all()) {
      const judged = !state.outlier.ejected && !state.retired;
      if (judged && counts(state).total >= Math.max(1, volume)) busy.push(state);
    }
    return busy;
  }

  #failedInARow(state: EndpointState, cause: EjectionCause): void {
    this.#eject(state, cause);
    // Also where it stays: it must fail as often again.
    if (cause === 'consecutive_5xx') state.outlier.consecutive5xx = 0;
    else if (cause === 'consecutive_gateway_failure') state.outlier.consecutiveGatewayErrors = 0;
    else state.outlier.consecutiveLocalOriginFailures = 0;
  }

  #eject(state: EndpointState, cause: EjectionCause): void {
    const policy = this.#policy;
    if (policy === undefined || state.outlier.ejected || state.retired) return;
    increment(this.#detected, cause);
    const { key: endpoint, outlier } = state;
    if (!this.#mayEject(policy)) {
      this.#overflow++;
      this.#options.onEvent?.({ kind: 'not-ejected', endpoint, cause });
      return;
    }
    this.#active++;
    this.#enforcedTotal++;
    increment(this.#enforced, cause);
    outlier.ejectedAtMs = this.#options.now();
    const longestMs = Math.max(policy.maxEjectionMs, policy.baseEjectionMs);
    if (policy.baseEjectionMs * outlier.multiplier < longestMs + policy.baseEjectionMs)
      outlier.multiplier++;
    this.#setEjected(state, true);
    const forMs = ejectionMs(policy, outlier.multiplier);
    this.#options.onEvent?.({ kind: 'ejected', endpoint, cause, forMs });
  }

  /** Whether one more may be ejected. */
  #mayEject({ maxEjectionPercent }: OutlierPolicy): boolean {
    const { size, ejected } = this.#states;
    if (100 * (ejected + 1) <= maxEjectionPercent * size) return true;
    return this.#options.alwaysEjectOne === true && ejected === 0 && size > 1;
  }

  #return(state: EndpointState): void {
    const { outlier } = state;
    outlier.forgetConsecutive();
    this.#active--;
    this.#setEjected(state, false);
    const ejectedMs = this.#options.now() - outlier.ejectedAtMs;
    this.#options.onEvent?.({ kind: 'returned', endpoint: state.key, ejectedMs });
  }

  #setEjected(state: EndpointState, ejected: boolean): void {
    if (this.#states.setEjected(state, ejected)) this.#options.onAvailability();
  }
}

function ejectionMs({ baseEjectionMs, maxEjectionMs }: OutlierPolicy, multiplier: number): number {
  return Math.min(baseEjectionMs * multiplier, Math.max(maxEjectionMs, baseEjectionMs));
}

/** So far below the mean a success rate may lie. The deviation is that of the whole population. */
function leastSuccessRate(rates: readonly number[], stdevFactor: number): number {
  const mean = rates.reduce((sum, rate) => sum + rate, 0) / rates.length;
  const variance = rates.reduce((sum, rate) => sum + (rate - mean) ** 2, 0) / rates.length;
  return mean - (stdevFactor / 1000) * Math.sqrt(variance);
}

function increment(counts: Map<EjectionCause, number>, cause: EjectionCause): void {
  counts.set(cause, (counts.get(cause) ?? 0) + 1);
}
