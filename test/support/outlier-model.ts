import type { OutlierPolicy } from '../../mesh/model/traffic-policy.ts';

/** No detector is on; all endpoints may be ejected. */
export const OUTLIERS_OFF: OutlierPolicy = {
  ...{ consecutive5xx: 0, consecutiveGatewayErrors: 0, consecutiveLocalOriginFailures: 0 },
  splitExternalLocalOriginErrors: false,
  ...{ intervalMs: 10_000, baseEjectionMs: 30_000, maxEjectionMs: 300_000 },
  ...{ maxEjectionPercent: 100, minHealthPercent: 0 },
  ...{ successRateStdevFactor: 0, successRateMinimumHosts: 5, successRateRequestVolume: 100 },
  ...{ failurePercentageThreshold: 0, failurePercentageMinimumHosts: 5 },
  failurePercentageRequestVolume: 50,
};

/** What happens to an endpoint, by its place in the list. */
export type OutlierStep =
  | Readonly<{ kind: 'status'; endpoint: number; status: number }>
  | Readonly<{ kind: 'failure'; endpoint: number; failure: 'connect' | 'timeout' | 'reset' }>
  | Readonly<{ kind: 'connected'; endpoint: number }>
  | Readonly<{ kind: 'interval' }>;

type Report = Readonly<{ interval: number; origin: 'external' | 'local'; status: number }>;

type Host = {
  /** Everything that was reported, ever. */
  reports: Report[];
  /** Where in `reports` counting begins for each detector. */
  countFrom: { fiveXx: number; gateway: number; local: number };
  ejections: number;
  ejectedAtMs: number | undefined;
};

/**
 * Outlier detection told as plainly as can be: it keeps every report and counts anew each time. For comparison with the real one.
 */
export class OutlierModel {
  readonly #policy: OutlierPolicy;
  readonly #hosts: readonly Host[];
  #interval = 0;

  constructor(policy: OutlierPolicy, size: number) {
    this.#policy = policy;
    this.#hosts = Array.from({ length: size }, () => ({
      reports: [],
      countFrom: { fiveXx: 0, gateway: 0, local: 0 },
      ejections: 0,
      ejectedAtMs: undefined,
    }));
  }

  /** The places of the endpoints that are ejected. */
  get ejected(): number[] {
    return [...this.#hosts.keys()].filter((index) => this.#hosts[index]?.ejectedAtMs !== undefined);
  }

  step(step: OutlierStep, nowMs: number): void {
    const split = this.#policy.splitExternalLocalOriginErrors;
    if (step.kind === 'interval') {
      this.#sweep(nowMs);
      return;
    }
    const host = this.#hosts[step.endpoint];
    if (host === undefined) return;
    const interval = this.#interval;
    if (step.kind === 'status') {
      if (split) host.reports.push({ interval, origin: 'local', status: 200 });
      host.reports.push({ interval, origin: 'external', status: step.status });
    } else if (step.kind === 'connected') {
      if (split) host.reports.push({ interval, origin: 'local', status: 200 });
    } else {
      const status = step.failure === 'timeout' ? 504 : 503;
      host.reports.push({ interval, origin: split ? 'local' : 'external', status });
    }
    this.#judgeRuns(host, nowMs);
  }

  #judgeRuns(host: Host, nowMs: number): void {
    const { consecutive5xx, consecutiveGatewayErrors, consecutiveLocalOriginFailures } =
      this.#policy;
    const last = host.reports.at(-1);
    const isGateway = (status: number): boolean => [502, 503, 504].includes(status);
    const is5xx = (status: number): boolean => status >= 500;
    if (host.ejectedAtMs !== undefined || last === undefined) return;
    if (last.origin === 'local') {
      const run = runLength(host.reports.slice(host.countFrom.local), 'local', is5xx);
      if (run > 0 && run === consecutiveLocalOriginFailures) {
        this.#eject(host, nowMs);
        host.countFrom.local = host.reports.length;
      }
      return;
    }
    const gateways = runLength(host.reports.slice(host.countFrom.gateway), 'external', isGateway);
    const fives = runLength(host.reports.slice(host.countFrom.fiveXx), 'external', is5xx);
    if (gateways > 0 && gateways === consecutiveGatewayErrors) {
      this.#eject(host, nowMs);
      host.countFrom.gateway = host.reports.length;
    }
    if (fives > 0 && fives === consecutive5xx) {
      this.#eject(host, nowMs);
      host.countFrom.fiveXx = host.reports.length;
    }
  }

  #sweep(nowMs: number): void {
    const policy = this.#policy;
    const longest = Math.max(policy.maxEjectionMs, policy.baseEjectionMs);
    for (const host of this.#hosts) {
      if (host.ejectedAtMs === undefined) {
        host.ejections = Math.max(0, host.ejections - 1);
        continue;
      }
      const until = host.ejectedAtMs + Math.min(longest, policy.baseEjectionMs * host.ejections);
      if (nowMs < until) continue;
      host.ejectedAtMs = undefined;
      const all = host.reports.length;
      host.countFrom = { fiveXx: all, gateway: all, local: all };
    }
    const origins = policy.splitExternalLocalOriginErrors
      ? (['external', 'local'] as const)
      : (['external'] as const);
    for (const origin of origins) {
      this.#judgeRates(origin, nowMs);
      this.#judgePercentages(origin, nowMs);
    }
    this.#interval++;
  }

  #rates(origin: Report['origin'], volume: number): (readonly [Host, number])[] {
    return this.#hosts
      .filter((host) => host.ejectedAtMs === undefined)
      .map((host) => {
        const judged = host.reports.filter(
          (each) => each.origin === origin && each.interval === this.#interval,
        );
        const good = judged.filter(({ status }) => status < 500).length;
        return [host, judged.length, (100 * good) / judged.length] as const;
      })
      .filter(([, count]) => count > 0 && count >= volume)
      .map(([host, , rate]) => [host, rate] as const);
  }

  #judgeRates(origin: Report['origin'], nowMs: number): void {
    const { successRateStdevFactor, successRateMinimumHosts, successRateRequestVolume } =
      this.#policy;
    const rates = this.#rates(origin, successRateRequestVolume);
    if (successRateStdevFactor === 0 || rates.length === 0) return;
    if (rates.length < successRateMinimumHosts) return;
    const mean = rates.reduce((sum, [, rate]) => sum + rate, 0) / rates.length;
    const stdev = Math.sqrt(
      rates.reduce((sum, [, rate]) => sum + (rate - mean) ** 2, 0) / rates.length,
    );
    const least = mean - (successRateStdevFactor / 1000) * stdev;
    for (const [host, rate] of rates) if (rate < least) this.#eject(host, nowMs);
  }

  #judgePercentages(origin: Report['origin'], nowMs: number): void {
    const policy = this.#policy;
    const rates = this.#rates(origin, policy.failurePercentageRequestVolume);
    if (policy.failurePercentageThreshold === 0) return;
    if (rates.length < policy.failurePercentageMinimumHosts) return;
    for (const [host, rate] of rates)
      if (100 - rate >= policy.failurePercentageThreshold) this.#eject(host, nowMs);
  }

  #eject(host: Host, nowMs: number): void {
    const policy = this.#policy;
    const wouldBe = (100 * (this.ejected.length + 1)) / this.#hosts.length;
    if (host.ejectedAtMs !== undefined || wouldBe > policy.maxEjectionPercent) return;
    host.ejectedAtMs = nowMs;
    const longest = Math.max(policy.maxEjectionMs, policy.baseEjectionMs);
    if (host.ejections * policy.baseEjectionMs < longest + policy.baseEjectionMs) host.ejections++;
  }
}

/** How many of the last reports of an origin are all bad. */
function runLength(
  reports: readonly Report[],
  origin: Report['origin'],
  isBad: (status: number) => boolean,
): number {
  const own = reports.filter((each) => each.origin === origin);
  const good = own.findLastIndex(({ status }) => !isBad(status));
  return own.length - 1 - good;
}
