import test from 'ava';
import { takeHandshakeTurn } from '../../net/handshake-turns.ts';
import { runNextTurn } from '../../net/reactor.ts';

/** Costs what a first flight costs, and more. */
function burn(ms: number): void {
  for (const until = performance.now() + ms; performance.now() < until; );
}

test('handshakes that come at once leave turns to what else goes on, and keep their order', async (t) => {
  const order: string[] = [];
  const done = Promise.withResolvers<undefined>();
  const step = (name: string): void => {
    takeHandshakeTurn({
      shakeHands() {
        burn(1.1);
        order.push(name);
        if (name === 'd') done.resolve(undefined);
      },
    });
  };
  let turns = 0;
  const others = {
    runTask() {
      order.push('-');
      if (++turns < 4) runNextTurn(others);
    },
  };
  runNextTurn({
    runTask() {
      runNextTurn(others);
      for (const name of ['a', 'b', 'c', 'd']) step(name);
    },
  });
  await done.promise;
  t.is(order.join(''), 'a-b-c-d');
});
