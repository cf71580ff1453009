import { Roster } from '../base/roster.ts';
import type { Service } from '../mesh/model/service.ts';
import type { MetricCell, MetricFamily, Metrics } from '../mesh/runtime/metrics.ts';
import type { GrpcTraffic } from './grpc-messages.ts';
import type { HttpRequest } from './http-request.ts';
import { END_LABEL_NAMES, labelsOfEnds } from './request-labels.ts';

type MessageSeries = Readonly<{ request: MetricCell; response: MetricCell }>;

/** A series says nothing of how requests end: streams are counted long before that. */
const LABEL_NAMES = ['reporter', ...END_LABEL_NAMES, 'request_protocol'];

/** The istio_*_messages_total metrics of one thread: gRPC messages, those of open streams too. */
export class MessageMetrics {
  readonly #reporter: string;
  readonly #request: MetricFamily<MetricCell>;
  readonly #response: MetricFamily<MetricCell>;
  readonly #open = new Roster<GrpcTraffic>();
  /** By connection, then endpoint, as RequestMetrics has its series. */
  readonly #known = new WeakMap<object, WeakMap<object, MessageSeries>>();

  /** @param reporter as RequestMetrics has it. */
  constructor(metrics: Metrics, reporter: 'waypoint' | 'source' = 'waypoint') {
    this.#reporter = reporter;
    const labels = { labelNames: LABEL_NAMES };
    const counter = (direction: string): MetricFamily<MetricCell> =>
      metrics.counter(`istio_${direction}_messages_total`, `gRPC ${direction} messages`, labels);
    this.#request = counter('request');
    this.#response = counter('response');
    metrics.onCollect(() => {
      for (const { report } of this.#open.all()) report?.();
    });
  }

  /** From here until end(), its messages are in every snapshot. Of what is no gRPC, there are none. */
  begin(request: HttpRequest): void {
    const { messages } = request;
    if (messages === undefined) return;
    messages.report = () => {
      this.#report(request);
    };
    this.#open.add(messages);
  }

  /** Idempotent; also for a request that was never begun. */
  end(request: HttpRequest): void {
    if (request.messages !== undefined && this.#open.delete(request.messages))
      this.#report(request);
  }

  #report(request: HttpRequest): void {
    const { messages, endpoint } = request;
    // Nothing has been sent before there is an endpoint.
    if (messages === undefined || endpoint === undefined) return;
    const series = this.#series(request, endpoint, request.downstream.service);
    series.request.value += messages.request.count - messages.reportedRequest;
    series.response.value += messages.response.count - messages.reportedResponse;
    messages.reportedRequest = messages.request.count;
    messages.reportedResponse = messages.response.count;
  }

  #series(request: HttpRequest, endpoint: object, service: Service | undefined): MessageSeries {
    const { downstream } = request;
    let byEndpoint = this.#known.get(downstream);
    if (byEndpoint === undefined) this.#known.set(downstream, (byEndpoint = new WeakMap()));
    let series = byEndpoint.get(endpoint);
    if (series === undefined) {
      const labels = [this.#reporter, ...labelsOfEnds(request, service), 'grpc'];
      series = { request: this.#request.cell(...labels), response: this.#response.cell(...labels) };
      byEndpoint.set(endpoint, series);
    }
    return series;
  }
}
