import test from 'ava';
import { Metrics, observe } from '../../../mesh/runtime/metrics.ts';
import {
  formatMetrics,
  mergeSnapshots,
  metricsFormatFor,
} from '../../../mesh/runtime/metrics-text.ts';
import { addBuildMetric, addProcessMetrics } from '../../../mesh/runtime/process-metrics.ts';

test('a counter is told in both text forms', (t) => {
  const metrics = new Metrics();
  const family = metrics.counter('istio_xds_message_total', 'Messages', { labelNames: ['url'] });
  family.cell('a').value += 3;
  family.cell('b').value++;
  family.cell('a').value++;
  t.is(
    formatMetrics(metrics.snapshot(), 'prometheus'),
    '# HELP istio_xds_message_total Messages\n# TYPE istio_xds_message_total counter\n' +
      'istio_xds_message_total{url="a"} 4\nistio_xds_message_total{url="b"} 1\n',
  );
  t.is(
    formatMetrics(metrics.snapshot(), 'openmetrics'),
    '# HELP istio_xds_message Messages\n# TYPE istio_xds_message counter\n' +
      'istio_xds_message_total{url="a"} 4\nistio_xds_message_total{url="b"} 1\n# EOF\n',
  );
});

test('a histogram counts every bucket that holds the value', (t) => {
  const metrics = new Metrics();
  const bounds = [0.1, 1];
  const cell = metrics.histogram('seconds', 'Time', bounds, { labelNames: ['kind'] }).cell('x');
  for (const value of [0.1, 0.5, 7]) observe(cell, bounds, value);
  t.is(
    formatMetrics(metrics.snapshot(), 'prometheus'),
    '# HELP seconds Time\n# TYPE seconds histogram\n' +
      'seconds_bucket{kind="x",le="0.1"} 1\nseconds_bucket{kind="x",le="1"} 2\n' +
      'seconds_bucket{kind="x",le="+Inf"} 3\nseconds_sum{kind="x"} 7.6\nseconds_count{kind="x"} 3\n',
  );
});

test('snapshots of several threads, cloned, become one', (t) => {
  const threads = [1, 2].map((amount) => {
    const metrics = new Metrics();
    metrics.counter('bytes_total', 'Bytes', { labelNames: ['to'] }).cell('x').value = amount;
    metrics.gauge('longest', 'Longest', { merge: 'max' }).cell().value = amount;
    const bounds = [1];
    observe(metrics.histogram('seconds', 'Time', bounds).cell(), bounds, amount);
    return structuredClone(metrics.snapshot());
  });
  const text = formatMetrics(mergeSnapshots(threads), 'prometheus');
  const samples = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  t.deepEqual(samples, [
    'bytes_total{to="x"} 3',
    'longest 2',
    'seconds_bucket{le="1"} 1',
    'seconds_bucket{le="+Inf"} 2',
    'seconds_sum 3',
    'seconds_count 2',
  ]);
});

test('label values cannot end their quotes or their line (M4)', (t) => {
  const metrics = new Metrics();
  metrics.counter('x_total', 'X', { labelNames: ['a'] }).cell('"} 1\ny_total{b="\\').value = 1;
  const [, , sample = '', rest] = formatMetrics(metrics.snapshot(), 'prometheus').split('\n');
  t.is(sample, 'x_total{a="\\"} 1\\ny_total{b=\\"\\\\"} 1');
  t.is(rest, '');
});

test('series and label values of one family are bounded (M4)', (t) => {
  const metrics = new Metrics();
  const family = metrics.counter('x_total', 'X', { labelNames: ['a', 'b'] });
  for (let index = 0; index < 10_500; index++) family.cell(`v${index}`, 'b').value++;
  family.cell('y'.repeat(100_000)).value++;
  const entries = family.entries();
  t.is(entries.length, 10_001);
  t.is(family.cell('overflow', 'overflow').value, 501);
  t.true(entries.every(({ labels }) => labels.every((value) => value.length <= 512)));
});

test('an empty label value is left out', (t) => {
  const metrics = new Metrics();
  metrics.gauge('x', 'X', { labelNames: ['region', 'zone'] }).cell('', 'z').value = 1;
  t.regex(formatMetrics(metrics.snapshot(), 'prometheus'), /^x\{zone="z"\} 1$/m);
});

test('a name is taken once', (t) => {
  const metrics = new Metrics();
  metrics.gauge('x', 'X');
  t.throws(() => metrics.counter('x', 'X'), { message: 'Cannot add metric x: it exists' });
});

test('metricsFormatFor() follows the Accept header of Prometheus', (t) => {
  const accept = 'application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*';
  t.is(metricsFormatFor(accept), 'openmetrics');
  t.is(metricsFormatFor('text/plain'), 'prometheus');
  t.is(metricsFormatFor(undefined), 'prometheus');
});

test('process metrics are those of this process', (t) => {
  const metrics = new Metrics();
  addProcessMetrics(metrics);
  const text = formatMetrics(metrics.snapshot(), 'prometheus');
  t.regex(text, /^process_open_fds [1-9]\d*$/m);
  t.regex(text, /^process_max_fds [1-9]\d+$/m);
  t.regex(text, /^process_resident_memory_bytes [1-9]\d{6,}$/m);
});

test('the build is a metric of its own', (t) => {
  const metrics = new Metrics();
  addBuildMetric(metrics, 'ztunnel', '1.2.3');
  const text = formatMetrics(mergeSnapshots([metrics.snapshot()]), 'prometheus');
  t.regex(text, /^istio_build\{component="ztunnel",tag="1\.2\.3"\} 1$/m);
});
