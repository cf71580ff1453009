import type { MetricCell, MetricFamily, Metrics } from '../../mesh/runtime/metrics.ts';
import type { CompiledRule } from './compiled-limits.ts';

/** What became of a request by one rule. */
export type RateLimitOutcome =
  | 'admitted'
  | 'limited'
  /** It would have been limited. */
  | 'shadow_limited'
  /** It could not be counted, and passed. */
  | 'failed_open'
  /** It could not be counted, and was refused. */
  | 'failed_closed';

/** Counts by policy, rule and outcome. */
export class RateLimitMetrics {
  readonly #requests: MetricFamily<MetricCell>;
  readonly #available: MetricCell;
  readonly #outages: MetricCell;
  readonly #cells = new WeakMap<CompiledRule, Map<RateLimitOutcome, MetricCell>>();

  constructor(metrics: Metrics) {
    this.#requests = metrics.counter(
      'halo_rate_limit_requests_total',
      'Requests by the rule of a RateLimitPolicy that counted them',
      { labelNames: ['policy', 'rule', 'scope', 'outcome'] },
    );
    this.#available = metrics
      .gauge('halo_rate_limit_redis_available', 'Whether global limits can be counted')
      .cell();
    this.#outages = metrics
      .counter('halo_rate_limit_redis_outages_total', 'Times that Redis stopped answering')
      .cell();
  }

  count(rule: CompiledRule, outcome: RateLimitOutcome): void {
    let cells = this.#cells.get(rule);
    if (cells === undefined) {
      cells = new Map<RateLimitOutcome, MetricCell>();
      this.#cells.set(rule, cells);
    }
    let cell = cells.get(outcome);
    if (cell === undefined) {
      const { policy, scope } = rule.of;
      cell = this.#requests.cell(policy, rule.rule.name, scope, outcome);
      cells.set(outcome, cell);
    }
    cell.value++;
  }

  setAvailable(isAvailable: boolean): void {
    if (!isAvailable) this.#outages.value++;
    this.#available.value = isAvailable ? 1 : 0;
  }
}
