import test from 'ava';
import { BulkQueue, BulkQueues } from '../../net/bulk-queue.ts';
import {
  flushAtTurnEnd,
  runInBulk,
  runNextTurn,
  tellMoved,
  type TurnTask,
} from '../../net/reactor.ts';

/** More than those who move bulk may read in a turn before the rest of them wait. */
const LARGE_BYTES = 1 << 20;

function taskOf(run: () => void): TurnTask {
  return { runTask: run };
}

test('queues go in turn, however many tasks each of them has', (t) => {
  const order: string[] = [];
  const queues = new BulkQueues();
  const [many, few] = [new BulkQueue(), new BulkQueue()];
  for (const name of ['many 1', 'many 2', 'many 3'])
    queues.add(
      many,
      taskOf(() => order.push(name)),
    );
  queues.add(
    few,
    taskOf(() => order.push('few 1')),
  );
  t.is(queues.tasks, 4);
  for (let task = queues.next(); task !== undefined; task = queues.next()) task.runTask();
  t.deepEqual(order, ['many 1', 'few 1', 'many 2', 'many 3']);
  t.is(queues.tasks, 0);
});

test('a task that asks again waits behind the other queues', (t) => {
  const order: string[] = [];
  const queues = new BulkQueues();
  const [eager, other] = [new BulkQueue(), new BulkQueue()];
  const again = taskOf(() => {
    order.push('eager');
    if (order.length === 1) queues.add(eager, again);
  });
  queues.add(eager, again);
  for (const name of ['other 1', 'other 2'])
    queues.add(
      other,
      taskOf(() => order.push(name)),
    );
  for (let task = queues.next(); task !== undefined; task = queues.next()) task.runTask();
  t.deepEqual(order, ['eager', 'other 1', 'eager', 'other 2']);
});

/** What happens in each turn while three sockets move bulk, of `bytes` at a time, and something small wants every turn. */
async function turnsOf(bytes: number): Promise<string[]> {
  const { promise, resolve } = Promise.withResolvers<string[]>();
  const turns: string[] = [];
  let now = '';
  let left = 3;
  const small = taskOf(() => {
    now += 'small';
    flushAtTurnEnd(
      taskOf(() => {
        turns.push(now);
        now = '';
        if (left > 0) runNextTurn(small);
        else resolve(turns);
      }),
    );
  });
  const bulk = taskOf(() => {
    now += ' bulk';
    left--;
    tellMoved(bytes);
  });
  runNextTurn(
    taskOf(() => {
      runNextTurn(small);
      for (let count = left; count > 0; count--)
        runNextTurn(
          taskOf(() => {
            runInBulk(new BulkQueue(), bulk);
          }),
        );
    }),
  );
  return await promise;
}

test.serial('who moves little waits for one step of bulk, and not for one of each', async (t) => {
  t.deepEqual(await turnsOf(LARGE_BYTES), ['small bulk', 'small bulk', 'small bulk']);
});

test.serial('those whose steps are small go on in the same turn', async (t) => {
  t.deepEqual(await turnsOf(1), ['small bulk bulk bulk']);
});
