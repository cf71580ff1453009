import test from 'ava';
import { StreamLimiter } from '../../../istiod-lite/xds/stream-limiter.ts';

test('a StreamLimiter lets a burst through, makes the next ones wait, and refuses those who would wait over a second', (t) => {
  let now = 1_000_000;
  const limiter = new StreamLimiter(10, () => now);
  const waits = Array.from({ length: 22 }, () => limiter.take());
  t.deepEqual(
    waits.slice(0, 11).filter((wait) => wait !== 0),
    [],
  );
  t.deepEqual(waits.slice(11, 21), [100, 200, 300, 400, 500, 600, 700, 800, 900, 1000]);
  t.is(waits[21], undefined);
  now += 1_000;
  t.is(limiter.take(), 100);
  now += 10_000;
  t.is(limiter.take(), 0);
});
