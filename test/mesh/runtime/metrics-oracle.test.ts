import test from 'ava';
import fc from 'fast-check';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { formatMetrics } from '../../../mesh/runtime/metrics-text.ts';
import { Metrics, observe } from '../../../mesh/runtime/metrics.ts';

/** The lines that Prometheus reads; their order says nothing. */
function samples(text: string): string[] {
  return text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .sort();
}

/** Not empty: we leave a label without a value out, which is the same to Prometheus. */
const labelValue = fc.string({ minLength: 1, maxLength: 20 });

test('our text is what prom-client writes of the same counters, gauges and histograms', async (t) => {
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(fc.tuple(labelValue, labelValue), { maxLength: 5, selector: String }),
      fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { maxLength: 10 }),
      async (sets, values) => {
        const [ours, registry] = [new Metrics(), new Registry()];
        const [help, labelNames, registers] = ['Help', ['first', 'second'], [registry]];
        const bounds = [0.5, 10, 1000];
        const families = {
          counter: ours.counter('a_total', help, { labelNames }),
          gauge: ours.gauge('b', help, { labelNames }),
          histogram: ours.histogram('c_seconds', help, bounds, { labelNames }),
        };
        const theirs = {
          counter: new Counter({ name: 'a_total', help, labelNames, registers }),
          gauge: new Gauge({ name: 'b', help, labelNames, registers }),
          histogram: new Histogram({
            ...{ name: 'c_seconds', help, labelNames, registers, buckets: bounds },
          }),
        };
        for (const set of sets) {
          const cells = {
            counter: families.counter.cell(...set),
            gauge: families.gauge.cell(...set),
            histogram: families.histogram.cell(...set),
          };
          theirs.counter.inc({ first: set[0], second: set[1] }, 0);
          theirs.gauge.set({ first: set[0], second: set[1] }, 0);
          theirs.histogram.zero({ first: set[0], second: set[1] });
          for (const value of values) {
            cells.counter.value += value;
            cells.gauge.value = -value;
            observe(cells.histogram, bounds, value);
            theirs.counter.labels(...set).inc(value);
            theirs.gauge.labels(...set).set(-value);
            theirs.histogram.labels(...set).observe(value);
          }
        }
        const text = formatMetrics(ours.snapshot(), 'prometheus');
        t.deepEqual(
          samples(text),
          samples(await registry.metrics())
            .map(bucketLabelLast)
            .sort(),
        );
      },
    ),
    { numRuns: 50 },
  );
});

/** prom-client has `le` first, we have it last, as istio/ztunnel does. */
function bucketLabelLast(line: string): string {
  return line.replace(/^([a-z_]+)\{(le="[^"]*"),(.*)\} (\S+)$/s, '$1{$3,$2} $4');
}
