import type { ServiceKey } from '../mesh/model/service.ts';
import type { MetricCell, MetricFamily, Metrics } from '../mesh/runtime/metrics.ts';
import type { HealthResult } from './health/checked-health.ts';
import type { UpstreamTarget } from './upstream-target.ts';

const BY_CLUSTER = { labelNames: ['cluster_name'] };
/** Each thread sees the same endpoints. */
const GAUGE = { ...BY_CLUSTER, merge: 'max' } as const;

/** What is known of endpoints, by Envoy's names, which dashboards and alerts read. */
export class EndpointMetrics {
  readonly #members: MetricFamily<MetricCell>;
  readonly #available: MetricFamily<MetricCell>;
  readonly #ejected: MetricFamily<MetricCell>;
  readonly #counters: readonly (readonly [
    family: MetricFamily<MetricCell>,
    read: (target: UpstreamTarget) => number,
  ])[];
  readonly #limit: MetricFamily<MetricCell>;
  readonly #checks: MetricFamily<MetricCell>;
  readonly #byService = new Map<ServiceKey, { passed: MetricCell; failed: MetricCell }>();

  constructor(metrics: Metrics) {
    const gauge = (name: string, help: string): MetricFamily<MetricCell> =>
      metrics.gauge(`envoy_cluster_${name}`, help, GAUGE);
    const counter = (name: string, help: string): MetricFamily<MetricCell> =>
      metrics.counter(`envoy_cluster_${name}`, help, BY_CLUSTER);
    this.#members = gauge('membership_total', 'Endpoints');
    this.#available = gauge('membership_healthy', 'Endpoints that requests may be sent to');
    this.#ejected = gauge('outlier_detection_ejections_active', 'Endpoints that are ejected');
    this.#counters = [
      [
        counter('outlier_detection_ejections_enforced_total', 'Ejections'),
        ({ outliers }) => outliers.counters.ejections_enforced_total,
      ],
      [
        counter('outlier_detection_ejections_overflow', 'Outliers beyond the maximum that stayed'),
        ({ outliers }) => outliers.counters.ejections_overflow,
      ],
      [
        counter('upstream_rq_pending_overflow', 'Requests that a circuit breaker refused'),
        ({ circuitBreaker }) => circuitBreaker.overflows.upstream_rq_pending_overflow,
      ],
      [
        counter('upstream_rq_retry_overflow', 'Retries that a circuit breaker refused'),
        ({ circuitBreaker }) => circuitBreaker.overflows.upstream_rq_retry_overflow,
      ],
    ];
    this.#limit = metrics.gauge(
      'halo_adaptive_concurrency_limit',
      'The most requests at a time, by adaptive concurrency, of all data threads',
      BY_CLUSTER,
    );
    this.#checks = metrics.counter('halo_health_checks_total', 'Health checks of endpoints', {
      labelNames: ['service', 'result'],
    });
  }

  /** Sets everything that targets keep themselves; to be called for each scrape. */
  collect(targets: Iterable<readonly [name: string, target: UpstreamTarget]>): void {
    for (const family of [this.#members, this.#available, this.#ejected, this.#limit])
      family.clear();
    for (const [name, target] of targets) {
      const endpoints = target.endpoints();
      const available = endpoints.filter(({ state }) => state.available).length;
      this.#members.cell(name).value = endpoints.length;
      this.#available.cell(name).value = available;
      this.#ejected.cell(name).value = target.outliers.counters.ejections_active;
      for (const [family, read] of this.#counters) family.cell(name).value = read(target);
      if (target.adaptive !== undefined) this.#limit.cell(name).value = target.adaptive.limit;
    }
  }

  countCheck({ service, passed, healthy }: HealthResult): void {
    if (healthy === undefined) return; // it was not checked
    let cells = this.#byService.get(service);
    if (cells === undefined) {
      cells = {
        passed: this.#checks.cell(service, 'passed'),
        failed: this.#checks.cell(service, 'failed'),
      };
      this.#byService.set(service, cells);
    }
    cells[passed ? 'passed' : 'failed'].value++;
  }
}
