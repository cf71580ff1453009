import type { Workload } from '../model/workload.ts';
import {
  observe,
  type HistogramCell,
  type MetricCell,
  type MetricFamily,
  type Metrics,
} from '../runtime/metrics.ts';
import type { DnsQuery } from './message.ts';

const LABEL_NAMES = [
  'request_query_type',
  'request_protocol',
  'source_canonical_service',
  'source_canonical_revision',
];
/** As istio/ztunnel counts. */
const DURATION_BOUNDS_SECONDS = [0.0005, 0.001, 0.01, 0.1, 1, 5];
/** Types by name; any other is one value, so that a client cannot make 65,536 series. */
const TYPE_NAMES: ReadonlyMap<number, string> = new Map([
  ...([
    [1, 'A'],
    [2, 'NS'],
    [5, 'CNAME'],
    [6, 'SOA'],
    [12, 'PTR'],
    [15, 'MX'],
  ] as const),
  ...([
    [16, 'TXT'],
    [28, 'AAAA'],
    [33, 'SRV'],
    [64, 'SVCB'],
    [65, 'HTTPS'],
    [255, 'ANY'],
  ] as const),
]);

/** The DNS proxy's metrics, of all pods of one thread. */
export class DnsMetrics {
  readonly #requests: MetricFamily<MetricCell>;
  readonly #upstreamRequests: MetricFamily<MetricCell>;
  readonly #upstreamFailures: MetricFamily<MetricCell>;
  readonly #upstreamDuration: MetricFamily<HistogramCell>;

  constructor(metrics: Metrics) {
    const labelled = { labelNames: LABEL_NAMES };
    const add = (name: string, help: string): MetricFamily<MetricCell> =>
      metrics.counter(`istio_dns_${name}_total`, help, labelled);
    this.#requests = add('requests', 'DNS requests of clients');
    this.#upstreamRequests = add('upstream_requests', 'DNS requests that were forwarded');
    this.#upstreamFailures = add('upstream_failures', 'Forwarded DNS requests that failed');
    this.#upstreamDuration = metrics.histogram(
      ...(['istio_dns_upstream_request_duration_seconds', 'Time of forwarded requests'] as const),
      DURATION_BOUNDS_SECONDS,
      labelled,
    );
  }

  /** Counts a request of a client that is known, or not. */
  request(query: DnsQuery, transport: 'udp' | 'tcp', client: Workload | undefined): void {
    this.#requests.cell(...labelsOf(query, transport, client)).value++;
  }

  /** Counts a forwarded request once it has ended. */
  upstream(
    query: DnsQuery,
    transport: 'udp' | 'tcp',
    client: Workload | undefined,
    ended: Readonly<{ failed: boolean; durationMs: number }>,
  ): void {
    const labels = labelsOf(query, transport, client);
    this.#upstreamRequests.cell(...labels).value++;
    if (ended.failed) this.#upstreamFailures.cell(...labels).value++;
    const cell = this.#upstreamDuration.cell(...labels);
    observe(cell, DURATION_BOUNDS_SECONDS, ended.durationMs / 1000);
  }
}

function labelsOf(
  query: DnsQuery,
  transport: 'udp' | 'tcp',
  client: Workload | undefined,
): readonly string[] {
  return [
    TYPE_NAMES.get(query.question.type) ?? 'other',
    transport,
    orUnknown(client?.canonicalName),
    orUnknown(client?.canonicalRevision),
  ];
}

function orUnknown(value: string | undefined): string {
  return value === undefined || value === '' ? 'unknown' : value;
}
