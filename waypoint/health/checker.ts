import { isDeepStrictEqual } from 'node:util';
import type { Clock } from '../../certs/clock.ts';
import type { HealthCheck } from '../../mesh/model/backend-policy.ts';
import type { AppProtocol, Service, ServiceKey } from '../../mesh/model/service.ts';
import type { UpstreamTls } from '../../mesh/model/traffic-policy.ts';
import type { Workload, WorkloadUid } from '../../mesh/model/workload.ts';
import type { HealthResult } from './checked-health.ts';

/** How an endpoint answered: `refused` is an answer that counts as all that are needed, as a 503. */
export type ProbeOutcome = Readonly<{ kind: 'passed' | 'failed' | 'refused'; reason: string }>;

/** One workload of a service, with the port at which it is asked. */
export type Probed = Readonly<{
  service: Service;
  workload: Workload;
  port: number;
  /** Of the service port. */
  protocol: AppProtocol | undefined;
  /** As requests to that port have it. */
  tls?: UpstreamTls | undefined;
}>;

/**
 * Asks an endpoint once.
 *
 * @param signal aborts when the answer is not waited for any more.
 */
export type Probe = (
  probed: Probed,
  check: HealthCheck,
  signal: AbortSignal,
) => Promise<ProbeOutcome>;

export type CheckerOptions = Readonly<{
  /** One that only goes forward. */
  clock: Clock;
  /** Must not reject. */
  probe: Probe;
  onResult: (result: HealthResult) => void;
  /** What an endpoint is taken for has changed. */
  onChange: (change: HealthChange) => void;
}>;

export type HealthChange = Readonly<{
  service: ServiceKey;
  workload: WorkloadUid;
  healthy: boolean;
  reason: string;
}>;

/** The first checks of endpoints that come together are spread over this, at most. */
const FIRST_WITHIN_MS = 1000;
/** Each pause is so much longer or shorter, so that checks do not fall into step. Envoy's default is none. */
const JITTER = 0.1;

/** Asks the endpoints of services whether they are well, again and again. Who is asked is told by update(). */
export class HealthChecker implements Disposable {
  readonly #options: CheckerOptions;
  readonly #services = new Map<
    ServiceKey,
    { check: HealthCheck; endpoints: Map<WorkloadUid, CheckedEndpoint> }
  >();

  constructor(options: CheckerOptions) {
    this.#options = options;
  }

  /** How many endpoints are checked. */
  get size(): number {
    let size = 0;
    for (const { endpoints } of this.#services.values()) size += endpoints.size;
    return size;
  }

  /** The endpoints that a service has now; without a check none is asked any more. What was learnt of those that stay is kept. */
  update(
    service: ServiceKey,
    check: HealthCheck | undefined,
    endpoints: ReadonlyMap<WorkloadUid, Probed>,
  ): void {
    const known = this.#services.get(service);
    if (check === undefined) {
      for (const each of known?.endpoints.values() ?? []) each.stop();
      this.#services.delete(service);
      return;
    }
    const isSame = known !== undefined && isDeepStrictEqual(known.check, check);
    const checked = known?.endpoints ?? new Map<WorkloadUid, CheckedEndpoint>();
    this.#services.set(service, { check, endpoints: checked });
    for (const [uid, endpoint] of checked) {
      const now = endpoints.get(uid);
      if (now !== undefined) endpoint.configure(now, check, !isSame);
      else {
        checked.delete(uid);
        endpoint.stop();
      }
    }
    for (const [uid, probed] of endpoints)
      if (!checked.has(uid))
        checked.set(uid, new CheckedEndpoint(service, probed, check, this.#options));
  }

  [Symbol.dispose](): void {
    for (const { endpoints } of this.#services.values())
      for (const endpoint of endpoints.values()) endpoint.abandon();
    this.#services.clear();
  }
}

/** One endpoint, from its first check to the one that is not made any more. */
class CheckedEndpoint {
  readonly #service: ServiceKey;
  readonly #options: CheckerOptions;
  #probed: Probed;
  #check: HealthCheck;
  /** `undefined` until the first check has ended: its outcome counts at once. */
  #healthy: boolean | undefined;
  /** Checks in a row that say otherwise. */
  #contrary = 0;
  #cancel: (() => void) | undefined;
  #running: AbortController | undefined;

  constructor(service: ServiceKey, probed: Probed, check: HealthCheck, options: CheckerOptions) {
    this.#service = service;
    this.#options = options;
    this.#probed = probed;
    this.#check = check;
    this.#checkSoon();
  }

  configure(probed: Probed, check: HealthCheck, isOther: boolean): void {
    this.#probed = probed;
    this.#check = check;
    if (!isOther) return;
    this.#contrary = 0;
    this.#running?.abort();
    this.#cancel?.();
    this.#checkSoon();
  }

  /** It is what configuration says again. */
  stop(): void {
    this.abandon();
    this.#tell(undefined, true);
  }

  abandon(): void {
    this.#cancel?.();
    this.#running?.abort();
  }

  #checkSoon(): void {
    const { clock } = this.#options;
    this.#schedule(clock.random() * Math.min(FIRST_WITHIN_MS, this.#check.intervalMs));
  }

  #schedule(delayMs: number): void {
    this.#cancel = this.#options.clock.schedule(delayMs, () => {
      void this.#run();
    });
  }

  async #run(): Promise<void> {
    const { clock, probe } = this.#options;
    const check = this.#check;
    const running = new AbortController();
    this.#running = running;
    const outcome = await probe(this.#probed, check, running.signal);
    if (running.signal.aborted) return; // of other settings, or of nobody any more
    this.#running = undefined;
    this.#take(outcome);
    this.#schedule(check.intervalMs * (1 + JITTER * (2 * clock.random() - 1)));
  }

  #take({ kind, reason }: ProbeOutcome): void {
    const passed = kind === 'passed';
    const { unhealthyThreshold, healthyThreshold } = this.#check;
    if (passed === this.#healthy) this.#contrary = 0;
    else this.#contrary++;
    const needed = passed ? healthyThreshold : kind === 'refused' ? 1 : unhealthyThreshold;
    if (this.#healthy === undefined || this.#contrary >= needed) {
      // An endpoint that is well from the beginning is no news.
      const isNews = !passed || this.#healthy !== undefined;
      this.#healthy = passed;
      this.#contrary = 0;
      const workload = this.#probed.workload.uid;
      if (isNews)
        this.#options.onChange({ service: this.#service, workload, healthy: passed, reason });
    }
    this.#tell(this.#healthy, passed);
  }

  #tell(healthy: boolean | undefined, passed: boolean): void {
    const workload = this.#probed.workload.uid;
    this.#options.onResult({ service: this.#service, workload, healthy, passed });
  }
}
