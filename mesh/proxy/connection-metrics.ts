import type { SpiffeId } from '../model/identity.ts';
import type { Service } from '../model/service.ts';
import type { WorkloadDescription } from '../model/workload.ts';
import type { MetricCell, MetricFamily, Metrics } from '../runtime/metrics.ts';

/** Why a connection failed; `CONNECT` stands for whatever has no word of its own. */
export type FailureFlag =
  | 'DENY'
  | 'CONNECT'
  | 'TLS_FAILURE'
  | 'H2_HANDSHAKE_FAILURE'
  | 'NETWORK_POLICY'
  | 'IDENTITY_ERROR'
  | 'CERT_REVOKED';

/** Who talks to whom, as far as it is known. */
export type Traffic = Readonly<{
  reporter: 'source' | 'destination' | 'waypoint';
  source?: WorkloadDescription | undefined;
  destination?: WorkloadDescription | undefined;
  service?: Service | undefined;
  /** Proved by mTLS, or undefined. */
  sourceIdentity?: SpiffeId | undefined;
  destinationIdentity?: SpiffeId | undefined;
  mutualTls: boolean;
}>;

/** The series that connections of one label set share. */
type TrafficSeries = Readonly<{
  opened: MetricCell;
  closed: MetricCell;
  received: MetricCell;
  sent: MetricCell;
  /** Looked up when one fails. */
  failed: (flag: FailureFlag) => MetricCell;
}>;

const UNKNOWN = 'unknown';
/** The names of istio/ztunnel, which dashboards read; the last four only where a locality is known. */
const LABEL_NAMES = [
  ...['reporter', 'source_workload', 'source_canonical_service', 'source_canonical_revision'],
  ...['source_workload_namespace', 'source_principal', 'source_app', 'source_version'],
  ...['source_cluster', 'destination_service', 'destination_service_namespace'],
  ...['destination_service_name', 'destination_workload', 'destination_canonical_service'],
  ...['destination_canonical_revision', 'destination_workload_namespace'],
  ...['destination_principal', 'destination_app', 'destination_version', 'destination_cluster'],
  ...['request_protocol', 'response_flags', 'connection_security_policy'],
  ...['source_region', 'source_zone', 'destination_region', 'destination_zone'],
] as const;
const FLAGS_INDEX = LABEL_NAMES.indexOf('response_flags');

/** Stands for an end that is not known, as a key. */
const NOBODY = {};

/** The istio_tcp_* counters of one thread. */
export class ConnectionMetrics {
  readonly #opened: MetricFamily<MetricCell>;
  readonly #closed: MetricFamily<MetricCell>;
  readonly #received: MetricFamily<MetricCell>;
  readonly #sent: MetricFamily<MetricCell>;
  readonly #failed: MetricFamily<MetricCell>;
  /**
   * Series by source, destination and service: a second connection builds no labels. Model values are replaced, never
   * changed, so their identity is their content; when one goes its entry goes with it.
   */
  readonly #known = new WeakMap<
    object,
    WeakMap<object, WeakMap<object, Map<string, TrafficSeries>>>
  >();

  constructor(metrics: Metrics) {
    const add = (name: string, help: string): MetricFamily<MetricCell> =>
      metrics.counter(`istio_tcp_${name}_total`, help, { labelNames: LABEL_NAMES });
    this.#opened = add('connections_opened', 'TCP connections opened');
    this.#closed = add('connections_closed', 'TCP connections closed');
    this.#received = add('received_bytes', 'Bytes from client to server');
    this.#sent = add('sent_bytes', 'Bytes from server to client');
    this.#failed = add('connections_failed', 'TCP connections that failed');
  }

  /** Counts a connection as opened; the meter counts the rest of its life. */
  open(traffic: Traffic): ConnectionMeter {
    const series = this.#series(traffic);
    series.opened.value++;
    return new ConnectionMeter(series);
  }

  /** Counts a connection that failed before it was set up. */
  fail(traffic: Traffic, flag: FailureFlag): void {
    this.#series(traffic).failed(flag).value++;
  }

  #series(traffic: Traffic): TrafficSeries {
    const { source = NOBODY, destination = NOBODY, service = NOBODY } = traffic;
    const bySource = getOrAdd(this.#known, source, () => new WeakMap());
    const byDestination = getOrAdd(bySource, destination, () => new WeakMap());
    const byService = getOrAdd(byDestination, service, () => new Map<string, TrafficSeries>());
    const { reporter, mutualTls, sourceIdentity = '', destinationIdentity = '' } = traffic;
    const key = `${reporter} ${mutualTls} ${sourceIdentity} ${destinationIdentity}`;
    return getOrAdd(byService, key, () => this.#makeSeries(traffic));
  }

  #makeSeries(traffic: Traffic): TrafficSeries {
    const labels = labelValues(traffic);
    return {
      opened: this.#opened.cell(...labels),
      closed: this.#closed.cell(...labels),
      received: this.#received.cell(...labels),
      sent: this.#sent.cell(...labels),
      failed: (flag) => this.#failed.cell(...labels.with(FLAGS_INDEX, flag)),
    };
  }
}

/** Counts one connection. Bytes are told as totals, at every scrape and at the end, so none costs anything on its way. */
export class ConnectionMeter {
  readonly #series: TrafficSeries;
  #clientToServerBytes = 0;
  #serverToClientBytes = 0;
  #closed = false;

  constructor(series: TrafficSeries) {
    this.#series = series;
  }

  /** Counts what is new since the last call; both are totals since the connection was opened. */
  update(clientToServerBytes: number, serverToClientBytes: number): void {
    this.#series.received.value += clientToServerBytes - this.#clientToServerBytes;
    this.#series.sent.value += serverToClientBytes - this.#serverToClientBytes;
    this.#clientToServerBytes = clientToServerBytes;
    this.#serverToClientBytes = serverToClientBytes;
  }

  /** Counts the connection as closed, once. */
  close(flag?: FailureFlag): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#series.closed.value++;
    if (flag !== undefined) this.#series.failed(flag).value++;
  }
}

function labelValues(traffic: Traffic): string[] {
  const { source, destination, service } = traffic;
  return [
    traffic.reporter,
    ...[orUnknown(source?.workloadName), orUnknown(source?.canonicalName)],
    ...[orUnknown(source?.canonicalRevision), orUnknown(source?.namespace)],
    ...[orUnknown(traffic.sourceIdentity), orUnknown(source?.canonicalName)],
    ...[orUnknown(source?.canonicalRevision), orUnknown(source?.clusterId)],
    ...[orUnknown(service?.hostname), orUnknown(service?.namespace), orUnknown(service?.name)],
    ...[orUnknown(destination?.workloadName), orUnknown(destination?.canonicalName)],
    ...[orUnknown(destination?.canonicalRevision), orUnknown(destination?.namespace)],
    ...[orUnknown(traffic.destinationIdentity), orUnknown(destination?.canonicalName)],
    ...[orUnknown(destination?.canonicalRevision), orUnknown(destination?.clusterId)],
    ...['tcp', '-', traffic.mutualTls ? 'mutual_tls' : UNKNOWN],
    ...[source?.locality.region ?? '', source?.locality.zone ?? ''],
    ...[destination?.locality.region ?? '', destination?.locality.zone ?? ''],
  ];
}

function orUnknown(value: string | undefined): string {
  return value === undefined || value === '' ? UNKNOWN : value;
}

function getOrAdd<K, V>(
  map: { get(key: K): V | undefined; set(key: K, value: V): unknown },
  key: K,
  make: () => V,
): V {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}
