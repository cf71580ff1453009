import type { Log, Logger } from '../mesh/runtime/log.ts';
import type { Metrics } from '../mesh/runtime/metrics.ts';
import { BatchSender } from './batch-sender.ts';
import type { HttpRequest } from './http-request.ts';
import { MessageMetrics } from './message-metrics.ts';
import { RequestLog } from './request-log.ts';
import { RequestMetrics } from './request-metrics.ts';
import type { SpanRecord } from './span-record.ts';
import type { TappedBatch } from './tap-record.ts';
import { Taps } from './tap.ts';
import { Tracing } from './tracing.ts';

export type TelemetryOptions = Readonly<{
  metrics: Metrics;
  log: Log;
  reporter: 'waypoint' | 'source';
  samplingPercent: number;
  /** Whether anybody takes spans; without it none are made. */
  exportsSpans: boolean;
  /** Each settles when the next batch can go. */
  sendSpans: (batch: readonly SpanRecord[]) => Promise<unknown>;
  sendTapped: (batch: TappedBatch) => Promise<unknown>;
}>;

/** What is told of requests: traces, metrics, the access log, and whoever taps. */
export class Telemetry {
  readonly taps: Taps;
  readonly #accessLog: Logger;
  readonly #requests: RequestMetrics;
  readonly #messages: MessageMetrics;
  readonly #log: RequestLog;
  readonly #tracing: Tracing;

  constructor(options: TelemetryOptions) {
    const { metrics, log, reporter, samplingPercent, sendSpans, sendTapped } = options;
    this.#accessLog = log.scope('access');
    this.taps = new Taps(sendTapped);
    this.#requests = new RequestMetrics(metrics, reporter);
    this.#messages = new MessageMetrics(metrics, reporter);
    this.#log = new RequestLog(log.writer);
    const spansDropped = metrics
      .counter('halo_trace_spans_total', 'Spans, by what became of them', {
        labelNames: ['result'],
      })
      .cell('dropped');
    const spans = new BatchSender<SpanRecord>(sendSpans, (count) => {
      spansDropped.value += count;
    });
    this.#tracing = new Tracing({
      ...{ samplingPercent, random: Math.random },
      ...(options.exportsSpans && {
        onSpan(span) {
          spans.add(span);
        },
      }),
    });
  }

  /** It has passed what judges it. */
  onRequest(request: HttpRequest): void {
    this.#tracing.trace(request);
    this.#messages.begin(request);
  }

  onRequestEnd(request: HttpRequest): void {
    this.#tracing.onRequestEnd(request);
    this.taps.onRequestEnd(request);
    this.#requests.count(request, request.downstream.service ?? request.endpoint?.service);
    this.#messages.end(request);
    if (this.#accessLog.isEnabled('info')) this.#log.write(request);
  }
}
