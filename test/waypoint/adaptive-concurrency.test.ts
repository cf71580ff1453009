import test from 'ava';
import {
  DEFAULT_ADAPTIVE_CONCURRENCY,
  type AdaptiveConcurrencySettings,
} from '../../mesh/model/backend-policy.ts';
import { AdaptiveConcurrency } from '../../waypoint/adaptive-concurrency.ts';
import { HandClock } from '../support/hand-clock.ts';

const settings: AdaptiveConcurrencySettings = {
  ...DEFAULT_ADAPTIVE_CONCURRENCY,
  minRtt: { ...DEFAULT_ADAPTIVE_CONCURRENCY.minRtt, requestCount: 5, intervalMs: 10_000 },
};

/** So many requests at a time, as many as are let through, that all take `latencyMs`. */
async function serve(
  controller: AdaptiveConcurrency,
  clock: HandClock,
  { times, latencyMs, atOnce }: Readonly<{ times: number; latencyMs: number; atOnce: number }>,
): Promise<void> {
  for (let round = 0; round < times; round++) {
    let begun = 0;
    for (let index = 0; index < atOnce; index++) if (controller.begin()) begun++;
    await clock.advance(latencyMs);
    while (begun-- > 0) controller.end(latencyMs);
  }
}

test('at first few requests are let through, until the ideal round trip is known', async (t) => {
  const clock = new HandClock(0);
  using controller = new AdaptiveConcurrency(settings, clock);
  const begun = [1, 2, 3, 4].map(() => controller.begin());
  t.deepEqual(begun, [true, true, true, false]);
  for (const each of begun) if (each) controller.end(undefined);
  t.true(controller.measuring);
  await serve(controller, clock, { times: 2, latencyMs: 10, atOnce: 3 });
  t.false(controller.measuring);
  t.is(controller.minRttMs, 10);
});

test('the limit grows while the latency stays near the ideal, up to the maximum', async (t) => {
  const clock = new HandClock(0);
  using controller = new AdaptiveConcurrency({ ...settings, maxConcurrency: 40 }, clock);
  await serve(controller, clock, { times: 2, latencyMs: 10, atOnce: 3 });
  const limits: number[] = [];
  for (let update = 0; update < 12; update++) {
    await serve(controller, clock, { times: 10, latencyMs: 10, atOnce: 3 });
    limits.push(controller.limit);
  }
  t.true(limits.every((limit, index) => index === 0 || limit >= (limits[index - 1] ?? 0)));
  t.is(limits[0], 5); // 1.25 * 3 + sqrt(1.25 * 3), without its fraction
  t.is(limits.at(-1), 40);
});

test('the limit shrinks in proportion when requests take longer, by half at most', async (t) => {
  const clock = new HandClock(0);
  using controller = new AdaptiveConcurrency(settings, clock);
  await serve(controller, clock, { times: 2, latencyMs: 10, atOnce: 3 });
  await serve(controller, clock, { times: 100, latencyMs: 10, atOnce: 3 });
  await clock.advance(100); // what was measured has its effect
  const before = controller.limit;
  t.true(before > 30, String(before));
  await clock.advance(100); // nothing was measured, so nothing changes
  t.is(controller.limit, before);
  await serve(controller, clock, { times: 1, latencyMs: 99, atOnce: 3 });
  await clock.advance(2);
  t.is(controller.limit, Math.floor(before / 2 + Math.sqrt(before / 2)));
});

test('the ideal is measured anew after its interval, and after some updates at the minimum', async (t) => {
  const clock = new HandClock(0);
  using controller = new AdaptiveConcurrency(settings, clock);
  await serve(controller, clock, { times: 2, latencyMs: 10, atOnce: 3 });
  await serve(controller, clock, { times: 50, latencyMs: 10, atOnce: 3 });
  await clock.advance(100);
  const before = controller.limit;
  t.true(before > 5);
  await clock.advance(10_000 + 750); // with half of the jitter
  t.true(controller.measuring);
  t.is(controller.limit, 3);
  await serve(controller, clock, { times: 2, latencyMs: 20, atOnce: 3 });
  t.is(controller.minRttMs, 20);
  t.is(controller.limit, before);
  for (let update = 0; update < 60 && !controller.measuring; update++)
    await serve(controller, clock, { times: 1, latencyMs: 120, atOnce: 3 });
  t.true(controller.measuring);
});

test('a request without an answer says nothing of the latency and gives its place back', (t) => {
  using controller = new AdaptiveConcurrency(settings, new HandClock(0));
  for (let round = 0; round < 100; round++) {
    t.true(controller.begin());
    controller.end(undefined);
  }
  t.true(controller.measuring);
});
