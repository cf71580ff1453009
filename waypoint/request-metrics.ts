import type { Service } from '../mesh/model/service.ts';
import {
  type HistogramCell,
  type MetricCell,
  type MetricFamily,
  type Metrics,
  observe,
} from '../mesh/runtime/metrics.ts';
import type { HttpRequest } from './http-request.ts';
import { END_LABEL_NAMES, labelsOfEnds } from './request-labels.ts';
import { formatFlags } from './response-flags.ts';

/** Envoy's bounds, of milliseconds and of bytes. */
const BOUNDS = [
  ...[0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000],
  ...[600_000, 1_800_000, 3_600_000],
];

const LABEL_NAMES = [
  'reporter',
  ...END_LABEL_NAMES,
  ...['request_protocol', 'response_code', 'grpc_response_status', 'response_flags'],
];

/** The series of one label set. */
type RequestSeries = Readonly<{
  requests: MetricCell;
  duration: HistogramCell;
  requestBytes: HistogramCell;
  responseBytes: HistogramCell;
}>;

/** The series of the same ends, by flags and then by what outcomeKey() makes of the rest. */
type SeriesByOutcome = Map<number, Map<number, RequestSeries>>;

/** Stands for an end that is not known, as a key. */
const NOBODY = {};

/** The istio_request* metrics of one thread. */
export class RequestMetrics {
  readonly #reporter: string;
  readonly #requests: MetricFamily<MetricCell>;
  readonly #duration: MetricFamily<HistogramCell>;
  readonly #requestBytes: MetricFamily<HistogramCell>;
  readonly #responseBytes: MetricFamily<HistogramCell>;
  /**
   * By connection, then endpoint, so that a request finds its series without building a label. The endpoint is the same
   * object as long as it lives, and what is gone takes its entries along.
   */
  readonly #known = new WeakMap<object, WeakMap<object, SeriesByOutcome>>();

  /** @param reporter who tells of it: a waypoint, a gateway, which stands for the source, or a proxy beside either end. */
  constructor(metrics: Metrics, reporter: 'waypoint' | 'source' | 'destination' = 'waypoint') {
    this.#reporter = reporter;
    const labels = { labelNames: LABEL_NAMES };
    this.#requests = metrics.counter('istio_requests_total', 'Finished HTTP requests', labels);
    const histogram = (name: string, help: string): MetricFamily<HistogramCell> =>
      metrics.histogram(`istio_${name}`, help, BOUNDS, labels);
    this.#duration = histogram('request_duration_milliseconds', 'Time of HTTP requests');
    this.#requestBytes = histogram('request_bytes', 'Sizes of HTTP requests');
    this.#responseBytes = histogram('response_bytes', 'Sizes of HTTP responses');
  }

  /** @param service where the request went, which need not be the service that was called. */
  count(request: HttpRequest, service: Service | undefined): void {
    const series = this.#series(request, service);
    const { exchange, head } = request;
    series.requests.value++;
    observe(series.duration, BOUNDS, request.endMs - request.startMs);
    observe(series.requestBytes, BOUNDS, head.bytes + exchange.bytesRead);
    observe(series.responseBytes, BOUNDS, request.responseHeaderBytes + exchange.bytesWritten);
  }

  #series(request: HttpRequest, service: Service | undefined): RequestSeries {
    const { downstream, endpoint, flags } = request;
    let byEndpoint = this.#known.get(downstream);
    if (byEndpoint === undefined) this.#known.set(downstream, (byEndpoint = new WeakMap()));
    const end = endpoint ?? service ?? NOBODY;
    let byOutcome = byEndpoint.get(end);
    if (byOutcome === undefined)
      byEndpoint.set(end, (byOutcome = new Map<number, Map<number, RequestSeries>>()));
    let byRest = byOutcome.get(flags);
    if (byRest === undefined) byOutcome.set(flags, (byRest = new Map<number, RequestSeries>()));
    const key = outcomeKey(request);
    let series = byRest.get(key);
    if (series === undefined) byRest.set(key, (series = this.#makeSeries(request, service)));
    return series;
  }

  #makeSeries(request: HttpRequest, service: Service | undefined): RequestSeries {
    const labels = [
      this.#reporter,
      ...labelsOfEnds(request, service),
      request.head.isGrpc ? 'grpc' : 'http',
      String(request.status),
      request.grpcStatus < 0 ? '' : String(request.grpcStatus),
      formatFlags(request.flags),
    ];
    return {
      requests: this.#requests.cell(...labels),
      duration: this.#duration.cell(...labels),
      requestBytes: this.#requestBytes.cell(...labels),
      responseBytes: this.#responseBytes.cell(...labels),
    };
  }
}

/** Status, gRPC status and protocol in one small integer. */
function outcomeKey({ status, grpcStatus, head }: HttpRequest): number {
  return (status * 32 + grpcStatus + 1) * 2 + (head.isGrpc ? 1 : 0);
}
