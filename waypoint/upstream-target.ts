import { isDeepStrictEqual } from 'node:util';
import { formatSocketAddress } from '../base/address.ts';
import type { Clock } from '../certs/clock.ts';
import type { AdaptiveConcurrencySettings } from '../mesh/model/backend-policy.ts';
import { endpointPort } from '../mesh/model/endpoint.ts';
import { serviceKey, type Service } from '../mesh/model/service.ts';
import type { TrafficPolicy } from '../mesh/model/traffic-policy.ts';
import type { Workload, WorkloadUid } from '../mesh/model/workload.ts';
import { AdaptiveConcurrency } from './adaptive-concurrency.ts';
import type { Endpoint } from './balance/endpoint.ts';
import { sortIntoLevels, type BalancerSource } from './balance/levels.ts';
import { EndpointPicker, type PickRequest } from './balance/picker.ts';
import { CircuitBreaker, type Permit } from './circuit-breaker.ts';
import { EndpointStates, type EndpointHealth } from './endpoint-state.ts';
import { OutlierDetector, type OutlierEvent } from './outlier.ts';

/** What a target is made of; each change brings a whole one. */
export type TargetConfiguration = Readonly<{
  service: Service;
  servicePort: number;
  policy: TrafficPolicy;
  adaptiveConcurrency?: AdaptiveConcurrencySettings | undefined;
  /** The service's workloads, or those of the subset. */
  workloads: readonly Workload[];
  source: BalancerSource;
  /** What health checks have found; without them, all pass. */
  passes?: (workload: Workload) => boolean;
  /** The labels of a workload's pod, where failover asks for them. */
  labelsOf?: (workload: Workload) => ReadonlyMap<string, string>;
}>;

type Served = EndpointHealth &
  Readonly<{ workload: Workload; port: number; known: Endpoint | undefined }>;

const NO_LABELS: ReadonlyMap<string, string> = new Map();

/**
 * Where requests to one (service, subset, port) go: its endpoints with what was learnt of them, how they are balanced, and what
 * bounds their use. It lives as long as something routes to it; configure() exchanges everything but what was learnt.
 *
 * Health is what configuration says, what outlier detection finds, and what active checks find, which bring ejected endpoints
 * back.
 */
export class UpstreamTarget implements Disposable {
  readonly outliers: OutlierDetector;
  readonly circuitBreaker: CircuitBreaker;
  /** Of what is under way. */
  readonly requestPermits: Permit[] = [];
  readonly retryPermits: Permit[] = [];
  #adaptive: AdaptiveConcurrency | undefined;
  #adaptiveSettings: AdaptiveConcurrencySettings | undefined;
  readonly #clock: Clock;
  readonly #states = new EndpointStates();
  readonly #picker: EndpointPicker;
  #endpoints: ReadonlyMap<Workload, Endpoint> = new Map();
  #byUid: ReadonlyMap<WorkloadUid, Endpoint> | undefined;
  #sweepIntervalMs = 0;
  #cancelSweep: (() => void) | undefined;

  /** @param clock one that only goes forward. */
  constructor(clock: Clock, onOutlierEvent?: (event: OutlierEvent) => void) {
    this.#clock = clock;
    this.#picker = new EndpointPicker(clock);
    this.circuitBreaker = new CircuitBreaker(clock.now);
    this.outliers = new OutlierDetector(this.#states, {
      now: clock.now,
      onAvailability: () => {
        this.#picker.refresh();
      },
      ...(onOutlierEvent === undefined ? {} : { onEvent: onOutlierEvent }),
    });
  }

  configure(configuration: TargetConfiguration): void {
    const { policy, service, source, adaptiveConcurrency } = configuration;
    this.#adapt(adaptiveConcurrency);
    this.outliers.configure(policy.outliers);
    this.circuitBreaker.configure(policy.circuitBreaker, policy.retryBudget);
    this.#picker.replace({
      policy: policy.balancer,
      warmup: policy.warmup,
      panicPercent: policy.outliers?.minHealthPercent ?? 0,
      levels: sortIntoLevels(this.#endpointsOf(configuration), {
        source,
        loadBalancing: service.loadBalancing,
        locality: policy.locality,
      }),
    });
    this.#sweepEvery(policy.outliers?.intervalMs ?? 0);
  }

  /** What bounds requests by their latency, if anything does. */
  get adaptive(): AdaptiveConcurrency | undefined {
    return this.#adaptive;
  }

  /** The endpoint for a request; `undefined` when none is available: 503, flag UH. */
  pick(request: PickRequest): Endpoint | undefined {
    return this.#picker.pick(request);
  }

  /** All that there are, available or not. */
  endpoints(): readonly Endpoint[] {
    return [...this.#endpoints.values()];
  }

  /** A health check of an endpoint has ended. @param healthy what it is taken for now; `undefined`: it is not checked any more. */
  onChecked(workload: WorkloadUid, healthy: boolean | undefined, passed: boolean): void {
    this.#byUid ??= new Map([...this.#endpoints].map(([{ uid }, endpoint]) => [uid, endpoint]));
    const state = this.#byUid.get(workload)?.state;
    if (state === undefined) return;
    if (state.setPasses(healthy ?? true, this.#clock.now())) this.#picker.refresh();
    if (healthy === true && passed) this.outliers.readmit(state);
  }

  [Symbol.dispose](): void {
    this.#cancelSweep?.();
    this.#adaptive?.[Symbol.dispose]();
    this.#picker[Symbol.dispose]();
  }

  /** Other settings measure anew; the same ones go on with what they have learnt. */
  #adapt(settings: AdaptiveConcurrencySettings | undefined): void {
    if (isDeepStrictEqual(settings, this.#adaptiveSettings)) return;
    this.#adaptiveSettings = settings;
    this.#adaptive?.[Symbol.dispose]();
    this.#adaptive = settings && new AdaptiveConcurrency(settings, this.#clock);
  }

  /** The workloads that serve the port, with their states; of one that has not changed the endpoint stays the same. */
  #endpointsOf({
    service,
    servicePort,
    workloads,
    labelsOf,
    passes,
  }: TargetConfiguration): Endpoint[] {
    const key = serviceKey(service.namespace, service.hostname);
    const declared = service.ports.find((port) => port.servicePort === servicePort);
    const served: Served[] = [];
    for (const workload of workloads) {
      const port = endpointPort(workload, key, servicePort, declared);
      if (port === undefined || workload.capacity <= 0) continue;
      const known = this.#endpoints.get(workload);
      const same = known?.port === port ? known : undefined;
      const stateKey = same?.state.key ?? `${workload.uid}:${port}`;
      const healthy = workload.healthy || service.loadBalancing.allowUnhealthy;
      const passing = passes?.(workload) ?? true;
      served.push({ key: stateKey, healthy, passes: passing, workload, port, known: same });
    }
    const states = this.#states.replace(served, this.#clock.now());
    const endpoints = new Map<Workload, Endpoint>();
    for (const [index, { workload, port, known }] of served.entries()) {
      const state = states[index];
      if (state === undefined) continue;
      const labels = labelsOf?.(workload) ?? NO_LABELS;
      const unchanged = known?.state === state && known.labels === labels;
      const endpoint = unchanged
        ? known
        : {
            workload,
            port,
            weight: workload.capacity,
            labels,
            hashKey: placeOf(workload, port),
            state,
          };
      endpoints.set(workload, endpoint);
    }
    this.#endpoints = endpoints;
    this.#byUid = undefined;
    return [...endpoints.values()];
  }

  #sweepEvery(intervalMs: number): void {
    if (this.#sweepIntervalMs === intervalMs) return;
    this.#sweepIntervalMs = intervalMs;
    this.#cancelSweep?.();
    this.#cancelSweep = undefined;
    if (intervalMs > 0) this.#awaitSweep();
  }

  #awaitSweep(): void {
    this.#cancelSweep = this.#clock.schedule(this.#sweepIntervalMs, () => {
      this.outliers.sweep();
      this.#awaitSweep();
    });
  }
}

function placeOf({ addresses: [ip], hostname, uid }: Workload, port: number): string {
  if (ip !== undefined) return formatSocketAddress({ ip, port });
  return `${hostname === '' ? uid : hostname}:${port}`;
}
