import { once } from 'node:events';
import test, { type ExecutionContext } from 'ava';
import { findHeader } from '../../net/h2/headers.ts';
import { Metrics } from '../../mesh/runtime/metrics.ts';
import { formatMetrics, mergeSnapshots } from '../../mesh/runtime/metrics-text.ts';
import type { Verdict } from '../../waypoint/request-parts.ts';
import { BatchSender } from '../../waypoint/batch-sender.ts';
import { SpanExports } from '../../waypoint/span-exports.ts';
import type { SpanRecord } from '../../waypoint/span-record.ts';
import { Tracing } from '../../waypoint/tracing.ts';
import { Metrics as ReadMetrics } from '../support/mesh-metrics.ts';
import { openStream } from '../support/h2-client.ts';
import { request } from '../support/h2-frames.ts';
import { serveH2 } from '../support/h2-peer.ts';
import { OtlpCollector } from '../support/otlp-collector.ts';
import { TestWaypoint } from '../support/waypoint-requests.ts';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const PARENT = '00f067aa0ba902b7';
const SAMPLED = `00-${TRACE}-${PARENT}-01`;
const WELL_FORMED = /^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$/;

/** Sends one request through a waypoint that traces; answers with what the upstream got and the spans that were made. */
async function send(
  t: ExecutionContext,
  fields: readonly string[],
  options: Readonly<{
    samplingPercent?: number;
    exports?: boolean;
    denied?: Verdict;
    status?: string;
  }> = {},
): Promise<Readonly<{ upstream: readonly string[]; spans: readonly SpanRecord[] }>> {
  const { samplingPercent = 0, exports = true, denied, status = '200' } = options;
  const spans: SpanRecord[] = [];
  let got: readonly string[] = [];
  const upstream = serveH2(t, (stream, list) => {
    got = list;
    stream.respond([':status', status], { endStream: true });
  });
  const tracing = new Tracing({
    ...{ samplingPercent, random: () => 0.5 },
    ...(exports && { onSpan: (span: SpanRecord) => spans.push(span) }),
  });
  const waypoint = new TestWaypoint(t, [upstream.port], {
    parts: {
      authorize: () => denied,
      trace: (asked) => {
        tracing.trace(asked);
      },
      onRequestEnd: (asked) => {
        tracing.onRequestEnd(asked);
      },
    },
  });
  const connection = await waypoint.connect(t);
  const [, body] = openStream(connection, [...request('GET'), ...fields]);
  await body.until((c) => c.ended || c.error !== undefined);
  return { upstream: got, spans };
}

test('a trace that the client samples goes on with a span of ours, whatever the rate', async (t) => {
  const { upstream, spans } = await send(t, [
    ...['traceparent', SAMPLED, 'tracestate', 'a=1', 'tracestate', 'b=2'],
  ]);
  const [span] = spans;
  t.is(spans.length, 1);
  t.like(span, { traceId: TRACE, parentId: PARENT, traceState: 'a=1,b=2', failed: false });
  t.not(span?.spanId, PARENT);
  t.is(findHeader(upstream, 'traceparent'), `00-${TRACE}-${span?.spanId ?? ''}-01`);
  t.is(findHeader(upstream, 'tracestate'), 'a=1');
});

test('a trace that the client does not sample is handed on as it came, without a span', async (t) => {
  const traceparent = `00-${TRACE}-${PARENT}-00`;
  const sent = ['traceparent', traceparent, 'tracestate', 'a=1'];
  const { upstream, spans } = await send(t, sent, { samplingPercent: 100 });
  t.is(findHeader(upstream, 'traceparent'), traceparent);
  t.is(findHeader(upstream, 'tracestate'), 'a=1');
  t.deepEqual(spans, []);
});

test('without a trace one begins, sampled at the rate', async (t) => {
  const sampled = await send(t, [], { samplingPercent: 51 });
  t.regex(findHeader(sampled.upstream, 'traceparent') ?? '', /-01$/);
  t.is(sampled.spans.length, 1);
  t.is(sampled.spans[0]?.parentId, '');
  const { spans, upstream } = await send(t, [], { samplingPercent: 49 });
  t.regex(findHeader(upstream, 'traceparent') ?? '', WELL_FORMED);
  t.regex(findHeader(upstream, 'traceparent') ?? '', /-00$/);
  t.deepEqual(spans, []);
});

test('without a collector no span is promised to anybody', async (t) => {
  const begun = await send(t, [], { samplingPercent: 100, exports: false });
  t.regex(findHeader(begun.upstream, 'traceparent') ?? '', /-00$/);
  const gone = await send(t, ['traceparent', SAMPLED], { exports: false });
  t.is(findHeader(gone.upstream, 'traceparent'), SAMPLED);
});

for (const [what, fields] of [
  ['of zeros', ['traceparent', `00-${'0'.repeat(32)}-${PARENT}-01`]],
  ['of version ff', ['traceparent', `ff-${TRACE}-${PARENT}-01`]],
  ['in capitals', ['traceparent', SAMPLED.toUpperCase()]],
  ['of version 00 that goes on', ['traceparent', `${SAMPLED}-more`]],
  ['twice', ['traceparent', SAMPLED, 'traceparent', SAMPLED]],
] as const)
  test(`a traceparent ${what} is not gone on with, nor is its tracestate (M5)`, async (t) => {
    const { upstream, spans } = await send(t, [...fields, 'tracestate', 'a=1']);
    const names = upstream.filter((_, index) => index % 2 === 0);
    t.is(names.filter((name) => name === 'traceparent').length, 1);
    t.false(names.includes('tracestate'));
    const traceparent = findHeader(upstream, 'traceparent') ?? '';
    t.regex(traceparent, WELL_FORMED);
    t.false(traceparent.includes(TRACE));
    t.deepEqual(spans, []);
  });

test('a traceparent of a later version is gone on with as version 00', async (t) => {
  const { upstream } = await send(t, ['traceparent', `cc-${TRACE}-${PARENT}-01-what-comes`]);
  t.regex(findHeader(upstream, 'traceparent') ?? '', new RegExp(`^00-${TRACE}-[0-9a-f]{16}-01$`));
});

test('a request that policy refuses has a span too', async (t) => {
  const denied = { status: 403, flags: 0, details: 'rbac', body: '' };
  const { spans } = await send(t, ['traceparent', SAMPLED], { denied });
  t.is(spans.length, 1);
  t.is(spans[0]?.attributes['http.status_code'], '403');
});

test('spans reach a collector by OTLP, with the tags that Istio gives them', async (t) => {
  const collector = await OtlpCollector.listen(t);
  const metrics = new Metrics();
  await using exports = await openExports(t, collector, metrics);
  const { spans } = await send(t, ['traceparent', SAMPLED, 'tracestate', 'a=1'], { status: '503' });
  exports.add(spans);
  const [span] = await collector.collected(1);
  t.deepEqual(collector.requests, ['POST /v1/traces application/x-protobuf']);
  t.like(span, {
    ...{ traceId: TRACE, parentId: PARENT, traceState: 'a=1', kind: 2, status: 2 },
    ...{ spanId: spans[0]?.spanId, name: '10.96.0.10:80/*' },
  });
  const nowNs = BigInt(Date.now()) * 1_000_000n;
  const minuteNs = 60_000_000_000n;
  t.true(span !== undefined && span.startNs <= span.endNs);
  t.true(span !== undefined && nowNs - span.startNs < minuteNs && span.endNs - nowNs < minuteNs);
  t.is(span?.resource.get('service.name'), 'waypoint.shop');
  const { 'http.url': url, ...tags } = Object.fromEntries(span?.attributes ?? []);
  t.regex(url ?? '', /^https?:\/\/[^/]+\//);
  t.like(tags, {
    ...{ component: 'proxy', 'http.method': 'GET', 'http.protocol': 'HTTP/2', error: 'true' },
    ...{ 'http.status_code': '503', response_flags: '-', 'peer.address': '10.0.0.7' },
    ...{ upstream_cluster: 'inbound-vip|80|http|echo.shop.svc.cluster.local' },
    ...{ request_size: '0', response_size: '0' },
  });
  t.truthy(tags['guid:x-request-id']);
});

test('spans that no collector takes are counted, and the next ones are tried', async (t) => {
  const collector = await OtlpCollector.listen(t);
  collector.status = 400; // of those that are not tried again
  const metrics = new Metrics();
  const failures: Error[] = [];
  await using exports = await openExports(t, collector, metrics, (error) => failures.push(error));
  const { spans } = await send(t, ['traceparent', SAMPLED]);
  exports.add(spans);
  await collector.asked(1);
  collector.status = 200;
  exports.add(spans);
  await collector.collected(1);
  t.is(failures.length, 1);
  t.is(countOf(metrics, 'failed'), 1);
});

test('a queue that is full drops spans and counts them', async (t) => {
  const collector = await OtlpCollector.listen(t);
  const metrics = new Metrics();
  await using exports = await openExports(t, collector, metrics);
  const { spans } = await send(t, ['traceparent', SAMPLED]);
  const [span] = spans;
  if (span === undefined) return t.fail('no span');
  exports.add(Array.from({ length: 3000 }, () => span));
  await collector.collected(2048);
  t.is(countOf(metrics, 'dropped'), 3000 - 2048);
  t.true(collector.requests.length >= 4);
});

test('what is queued at the end is exported', async (t) => {
  const collector = await OtlpCollector.listen(t);
  const { spans } = await send(t, ['traceparent', SAMPLED]);
  {
    await using exports = await openExports(t, collector, new Metrics());
    exports.add(spans);
  }
  t.is(collector.spans.length, 1);
});

test('a thread hands its spans on in batches, one at a time, and drops what is beyond its bound', async (t) => {
  const { spans } = await send(t, ['traceparent', SAMPLED]);
  const [span] = spans;
  if (span === undefined) return t.fail('no span');
  const batches: number[] = [];
  const gate = Promise.withResolvers<null>();
  const last = new EventTarget();
  let dropped = 0;
  const sender = new BatchSender<SpanRecord>(
    async (batch) => {
      batches.push(batch.length);
      if (batches.length === 2) last.dispatchEvent(new Event('last'));
      return await gate.promise;
    },
    (count) => (dropped += count),
  );
  for (let count = 0; count < 1 + 1024 + 7; count++) sender.add(span);
  t.deepEqual(batches, [1]);
  t.is(dropped, 7);
  const second = once(last, 'last');
  gate.resolve(null);
  await second;
  t.deepEqual(batches, [1, 1024]);
});

async function openExports(
  t: ExecutionContext,
  { endpoint }: OtlpCollector,
  metrics: Metrics,
  onFailure: (error: Error) => void = (error) => t.fail(error.message),
): Promise<SpanExports> {
  const resource = { 'service.name': 'waypoint.shop' };
  return await SpanExports.open({ endpoint, resource, metrics, onFailure });
}

function countOf(metrics: Metrics, result: string): number {
  const text = formatMetrics(mergeSnapshots([metrics.snapshot()]), 'prometheus');
  return new ReadMetrics(text).sum('halo_trace_spans_total', { result });
}
