import test from 'ava';
import { Canceller } from '../../net/canceller.ts';

test('a Canceller tells one party once, whether it came before or after, and nobody who has left', (t) => {
  const told: unknown[] = [];
  const canceller = new Canceller();
  canceller.tell(() => told.push('left'));
  canceller.tell(undefined);
  canceller.tell((cause) => told.push(cause));
  canceller.cancel('first');
  canceller.cancel('second');
  t.deepEqual(told, ['first']);
  canceller.tell((cause) => told.push(cause));
  t.deepEqual(told, ['first', 'first'], 'who comes late is told at once');
});
