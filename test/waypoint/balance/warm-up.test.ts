import test from 'ava';
import { warmPart } from '../../../waypoint/balance/warm-up.ts';
import { EndpointState } from '../../../waypoint/endpoint-state.ts';

const parts = test.macro({
  exec(t, ageMs: number, aggression: number, minimumPercent: number, expected: number) {
    const warmup = { durationMs: 60_000, minimumPercent, aggression };
    const part = warmPart(new EndpointState('a', 1000), warmup, 1000 + ageMs);
    t.true(Math.abs(part - expected) < 1e-9, String(part));
  },
  title: (given = '') => `warmPart() ${given}`,
});

test('begins with the minimum', parts, 0, 1, 10, 0.1);
test('begins with what a second gives where no minimum is asked for', parts, 0, 1, 0, 1 / 60);
test('grows with the time', parts, 30_000, 1, 10, 0.5);
test('grows faster at first with more aggression', parts, 15_000, 2, 10, 0.5);
test('is 1 at the end', parts, 60_000, 1, 10, 1);
test('is 1 ever after', parts, 1e9, 3, 10, 1);
test('is never nothing', parts, 0, 1e-3, 0, 1e-6);
