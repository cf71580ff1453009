import { setTimeout as pause } from 'node:timers/promises';
import test from 'ava';
import { flushAtTurnEnd, runNextTurn } from '../../net/reactor.ts';

/** Far beyond a turn; nothing else wakes the reactor meanwhile. */
const LONG_MS = 1_000;

test('what the continuation of a flush stages is flushed without waiting for another event', async (t) => {
  const order: string[] = [];
  const done = Promise.withResolvers<'flushed'>();
  runNextTurn({
    runTask() {
      order.push('task');
      const settled = Promise.withResolvers<undefined>();
      void settled.promise.then(() => {
        order.push('continuation');
        flushAtTurnEnd({
          runTask() {
            order.push('second flush');
            done.resolve('flushed');
          },
        });
      });
      flushAtTurnEnd({
        runTask() {
          order.push('first flush');
          settled.resolve(undefined);
        },
      });
    },
  });
  t.is(await Promise.race([done.promise, pause(LONG_MS, 'forgotten')]), 'flushed');
  t.deepEqual(order, ['task', 'first flush', 'continuation', 'second flush']);
});

test('what settles and stages for ever does not keep timers from firing', async (t) => {
  let flushes = 0;
  let stopped = false;
  const task = {
    runTask() {
      flushes++;
      void Promise.resolve().then(() => {
        if (!stopped) flushAtTurnEnd(task);
      });
    },
  };
  flushAtTurnEnd(task);
  await pause(20);
  stopped = true;
  t.true(flushes > 2, `${flushes} flushes`);
});
