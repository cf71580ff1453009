import test from 'ava';
import { SlidingCount } from '../../waypoint/sliding-count.ts';

test('events count for an interval, then less and less for another one', (t) => {
  const count = new SlidingCount(1000);
  for (let event = 0; event < 100; event++) count.add(5000);
  t.is(count.count(5000), 100);
  t.is(count.count(5999), 100);
  t.is(count.count(6000), 100);
  t.is(count.count(6250), 75);
  t.is(count.count(6999.99999) < 1, true);
  t.is(count.count(7000), 0);
});

test('steady events count as many as an interval has', (t) => {
  const count = new SlidingCount(1000);
  for (let nowMs = 0; nowMs < 10_000; nowMs += 10) {
    count.add(nowMs);
    if (nowMs >= 1000) t.true(Math.abs(count.count(nowMs) - 100) <= 1, `${nowMs}`);
  }
});

test('after a long pause nothing of before counts', (t) => {
  const count = new SlidingCount(1000);
  count.add(0);
  count.add(60_000);
  t.is(count.count(60_000), 1);
});
