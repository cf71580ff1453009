import test from 'ava';
import { makeCallGraph } from '../../../bench/ambient/call-graph.ts';
import { Deployment } from '../../../bench/ambient/deployment.ts';
import { measure, type MeasurePlan } from '../../../bench/ambient/measure.ts';
import { MODES, type ModeName } from '../../../bench/ambient/modes.ts';

/** One of everything: what is looked at is that all of it can be measured, also on a busy machine. */
const plan: MeasurePlan = {
  load: { callsPerSecond: 150, warmSeconds: 0.2, seconds: 1, connections: 4, maxLateSeconds: 30 },
  ...{ podStarts: 1, changes: 1 },
  extraLoads: [
    { name: 'large', body: 'large' },
    { name: 'fresh', connections: 0 },
  ],
};
const noted: string[] = [];

const measures = test.macro(async (t, name: ModeName) => {
  const mode = MODES.find((one) => one.name === name);
  if (mode === undefined) throw new Error(`there is no mode ${name}`);
  await using deployment = await Deployment.start({
    ...{ mode, graph: makeCallGraph(3), nodes: 2, late: 1, beside: 1 },
  });
  const { security, values, histogram, raw } = await measure(deployment, plan, (text) =>
    noted.push(text),
  );
  const meshed = name !== 'none';
  t.like(security, { encrypts: meshed, authorises: meshed });
  t.deepEqual(security.ciphers, meshed ? ['TLS_AES_128_GCM_SHA256'] : []);
  t.is(
    histogram.reduce((sum, [, count]) => sum + count, 0),
    50,
    'every request was answered',
  );
  t.true((values['bytesPerCall'] ?? 0) > 100);
  // The body comes back over all three calls.
  t.true((values['large.bytesPerCall'] ?? 0) > 16 << 10);
  t.true((values['fresh.bytesPerCall'] ?? 0) > 100);
  t.is(raw.podStartMs.length, 1);
  const positive = meshed ? ['memoryMb', 'proportionalMb', 'cpuUsPerCall', 'enrolmentMs'] : [];
  for (const value of [...positive, 'podStartMs', 'p50Us'])
    t.true((values[value] ?? NaN) > 0, `${value} ${values[value]}`);
  const processes = { none: 0, ambient: 2, 'ambient+10%': 3, sidecar: 8, 'sidecar-envoy': 8 };
  t.is(values['processes'], processes[name as keyof typeof processes]);
});

// One after another: each has a machine of namespaces of its own, and they measure.
test.serial(
  'without a mesh the application can be measured, and is seen to be plain',
  measures,
  'none',
);
test.serial('a ztunnel on each node encrypts, authorises and can be measured', measures, 'ambient');
test.serial('so do a ztunnel on each node and a waypoint', measures, 'ambient+10%');
test.serial('so does a sidecar of our own engine in each pod', measures, 'sidecar');
test.serial('so does an Envoy in each pod', measures, 'sidecar-envoy');
