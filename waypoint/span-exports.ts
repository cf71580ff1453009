import { setTimeout as wait } from 'node:timers/promises';
import type * as Api from '@opentelemetry/api';
import type { Attributes, HrTime, SpanContext } from '@opentelemetry/api';
import type { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import type { Resource } from '@opentelemetry/resources';
import type { MetricCell, Metrics } from '../mesh/runtime/metrics.ts';
import type { SpanRecord } from './span-record.ts';

type Span = Parameters<OTLPTraceExporter['export']>[0][number];

type Loaded = Readonly<{ api: typeof Api; resource: Resource }>;

export type SpanExportsOptions = Readonly<{
  /** To which `/v1/traces` is added. */
  endpoint: string;
  /** Of the proxy itself. */
  resource: Attributes;
  metrics: Metrics;
  onFailure: (error: Error) => void;
}>;

/** Bounds and times of OpenTelemetry's own batches (OTEL_BSP_*), but for the delay: 5 s there, so long as Envoy has it here. */
const MAX_QUEUE = 2048;
const MAX_BATCH = 512;
const DELAY_MS = 1_000;
const TIMEOUT_MS = 10_000;
const END_MS = 3_000;

/** ExportResultCode.SUCCESS of @opentelemetry/core. */
const EXPORT_SUCCESS = 0;
const SCOPE = { name: 'halo/waypoint' };

/** Exports spans by OTLP (protobuf over HTTP), in batches, one at a time. What comes beyond the queue is dropped and counted. */
export class SpanExports implements AsyncDisposable {
  readonly #exporter: OTLPTraceExporter;
  readonly #loaded: Loaded;
  readonly #onFailure: (error: Error) => void;
  readonly #exported: MetricCell;
  readonly #dropped: MetricCell;
  readonly #failed: MetricCell;
  readonly #queue: SpanRecord[] = [];
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;

  private constructor(options: SpanExportsOptions, exporter: OTLPTraceExporter, loaded: Loaded) {
    this.#exporter = exporter;
    this.#loaded = loaded;
    this.#onFailure = options.onFailure;
    const spans = options.metrics.counter(
      'halo_trace_spans_total',
      'Spans, by what became of them',
      {
        labelNames: ['result'],
      },
    );
    this.#exported = spans.cell('exported');
    this.#dropped = spans.cell('dropped');
    this.#failed = spans.cell('failed');
  }

  /** Loads OpenTelemetry: who exports nothing does not pay for it. */
  static async open(options: SpanExportsOptions): Promise<SpanExports> {
    const [api, { OTLPTraceExporter: Exporter }, { resourceFromAttributes }] = await Promise.all([
      import('@opentelemetry/api'),
      import('@opentelemetry/exporter-trace-otlp-proto'),
      import('@opentelemetry/resources'),
    ]);
    const exporter = new Exporter({
      url: `${options.endpoint}/v1/traces`,
      timeoutMillis: TIMEOUT_MS,
    });
    const resource = resourceFromAttributes(options.resource);
    return new SpanExports(options, exporter, { api, resource });
  }

  add(spans: readonly SpanRecord[]): void {
    const taken = spans.slice(0, Math.max(0, MAX_QUEUE - this.#queue.length));
    this.#queue.push(...taken);
    this.#dropped.value += spans.length - taken.length;
    if (this.#queue.length >= MAX_BATCH) this.#start();
    else
      this.#timer ??= setTimeout(() => {
        this.#start();
      }, DELAY_MS).unref();
  }

  /** Exports what is queued, as far as that can be done in 3 s, and ends. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#start();
    const patience = new AbortController();
    const given = wait(END_MS, undefined, patience).catch(() => undefined);
    await Promise.race([this.#running, given]);
    patience.abort();
    this.#dropped.value += this.#queue.splice(0).length;
    void this.#exporter.shutdown();
  }

  #start(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#running ??= this.#exportAll().finally(() => {
      this.#running = undefined;
    });
  }

  async #exportAll(): Promise<void> {
    while (this.#queue.length > 0) {
      const batch = this.#queue.splice(0, MAX_BATCH);
      const error = await this.#export(batch);
      if (error === undefined) {
        this.#exported.value += batch.length;
        continue;
      }
      this.#failed.value += batch.length;
      this.#onFailure(error);
    }
  }

  #export(batch: readonly SpanRecord[]): Promise<Error | undefined> {
    const { promise, resolve } = Promise.withResolvers<Error | undefined>();
    const spans = batch.map((record) => readableSpan(record, this.#loaded));
    this.#exporter.export(spans, ({ code, error }) => {
      const result: number = code;
      resolve(
        result === EXPORT_SUCCESS ? undefined : (error ?? new Error('the export has failed')),
      );
    });
    return promise;
  }
}

function readableSpan(record: SpanRecord, { api, resource }: Loaded): Span {
  const { traceId, spanId, parentId, name, startMs, endMs, failed, attributes } = record;
  const context: SpanContext = {
    ...{ traceId, spanId, traceFlags: api.TraceFlags.SAMPLED },
    ...(record.traceState !== '' && { traceState: stateOf(record.traceState) }),
  };
  const status = failed ? api.SpanStatusCode.ERROR : api.SpanStatusCode.UNSET;
  return {
    ...{ name, kind: api.SpanKind.SERVER, spanContext: () => context, resource },
    ...(parentId !== '' && {
      parentSpanContext: {
        traceId,
        spanId: parentId,
        traceFlags: api.TraceFlags.SAMPLED,
        isRemote: true,
      },
    }),
    ...{ startTime: hrTime(startMs), endTime: hrTime(endMs), duration: hrTime(endMs - startMs) },
    ...{ status: { code: status }, attributes },
    ...{ links: [], events: [], ended: true, instrumentationScope: SCOPE },
    ...{ droppedAttributesCount: 0, droppedEventsCount: 0, droppedLinksCount: 0 },
  };
}

/** As it came: it is handed on, not changed. */
function stateOf(text: string): NonNullable<SpanContext['traceState']> {
  const state: NonNullable<SpanContext['traceState']> = {
    set: () => state,
    unset: () => state,
    get: () => undefined,
    serialize: () => text,
  };
  return state;
}

/** Seconds and nanoseconds. */
function hrTime(timeMs: number): HrTime {
  const seconds = Math.floor(timeMs / 1000);
  return [seconds, Math.round((timeMs - seconds * 1000) * 1e6)];
}
