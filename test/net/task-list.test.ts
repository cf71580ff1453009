import test from 'ava';
import { TaskList } from '../../net/task-list.ts';
import type { TurnTask } from '../../net/turn-task.ts';

function makeTask(run: () => void): TurnTask {
  return { runTask: run };
}

function runAll(list: TaskList): void {
  for (let index = 0, task = list.take(0); task !== undefined; task = list.take(++index))
    task.runTask();
  list.restart();
}

test('a TaskList gives its tasks in order, those that come meanwhile too, and begins anew', (t) => {
  const list = new TaskList();
  t.true(list.isEmpty);
  for (let round = 0; round < 3; round++) {
    const ran: string[] = [];
    const late = makeTask(() => ran.push('late'));
    list.add(
      makeTask(() => {
        ran.push('first');
        list.add(late);
      }),
    );
    list.add(makeTask(() => ran.push('second')));
    t.false(list.isEmpty);
    runAll(list);
    t.deepEqual(ran, ['first', 'second', 'late']);
    t.true(list.isEmpty);
  }
});

test('a TaskList keeps no task that was taken, and few places after a burst', (t) => {
  const list = new TaskList();
  const burst = 5000;
  let ran = 0;
  for (let index = 0; index < burst; index++) list.add(makeTask(() => ran++));
  runAll(list);
  t.is(ran, burst);
  t.is(list.take(0), undefined);
  list.add(makeTask(() => ran++));
  runAll(list);
  t.is(ran, burst + 1);
});
