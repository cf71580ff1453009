import { makeTraceparent } from '../mesh/hbone/headers.ts';
import type { HttpRequest } from './http-request.ts';
import { makeSpanRecord, type SpanRecord } from './span-record.ts';
import {
  findTraceparent,
  isSampled,
  NOT_SAMPLED,
  parentIdOf,
  removeTraceContext,
  traceIdOf,
  traceStateOf,
  type TraceDecision,
} from './trace-context.ts';

export type TracingOptions = Readonly<{
  /** Of traces that begin here. With 0, and no `onSpan`, what clients have begun is handed on as it came. */
  samplingPercent: number;
  /** Takes the spans; without it none are made. */
  onSpan?: (span: SpanRecord) => void;
  /** From 0 to below 1. */
  random: () => number;
}>;

/**
 * The traces that requests belong to (W3C Trace Context): a client's is gone on with, its decision about sampling is
 * kept; where there is none, one begins here.
 */
export class Tracing {
  readonly #options: TracingOptions;

  constructor(options: TracingOptions) {
    this.#options = options;
  }

  /** Writes the head that the upstream gets, and decides whether there will be a span. */
  trace(request: HttpRequest): void {
    request.trace = this.#decide(request.head.list);
  }

  /** A request that was answered here, before it was traced, has its span too. */
  onRequestEnd(request: HttpRequest): void {
    const { onSpan } = this.#options;
    if (onSpan === undefined) return;
    const decision = (request.trace ??= this.#decide(request.head.list));
    if (decision.sampled) onSpan(makeSpanRecord(request, decision));
  }

  #decide(list: string[]): TraceDecision {
    const at = findTraceparent(list);
    if (at < 0) return this.#begin(list);
    const parent = list[at] ?? '';
    // No span of ours: the next one's parent is whoever called us.
    if (this.#options.onSpan === undefined || !isSampled(parent)) return NOT_SAMPLED;
    const traceId = traceIdOf(parent);
    const spanId = parentIdOf(makeTraceparent());
    list[at] = `00-${traceId}-${spanId}-${parent.slice(53, 55)}`;
    const traceState = traceStateOf(list);
    return { sampled: true, traceId, spanId, parentId: parentIdOf(parent), traceState };
  }

  #begin(list: string[]): TraceDecision {
    removeTraceContext(list);
    const { onSpan, samplingPercent, random } = this.#options;
    const begun = makeTraceparent();
    if (onSpan === undefined || random() * 100 >= samplingPercent) {
      list.push('traceparent', begun);
      return NOT_SAMPLED;
    }
    list.push('traceparent', `${begun.slice(0, 53)}01`);
    const [traceId, spanId] = [traceIdOf(begun), parentIdOf(begun)];
    return { sampled: true, traceId, spanId, parentId: '', traceState: '' };
  }
}
