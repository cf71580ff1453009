import test from 'ava';
import { perObject } from '../../base/per-object.ts';

test('a value is made once for each object, also when it is undefined', (t) => {
  let made = 0;
  const lengthOf = perObject(({ name }: Readonly<{ name?: string }>) => {
    made++;
    return name?.length;
  });
  const [one, equal, none] = [{ name: 'one' }, { name: 'one' }, {}];
  t.deepEqual([one, one, equal, none, none].map(lengthOf), [3, 3, 3, undefined, undefined]);
  t.is(made, 3);
});

test('what throws is made anew the next time', (t) => {
  let calls = 0;
  const fail = perObject((key: object): never => {
    calls++;
    throw new Error(`no ${typeof key}`);
  });
  const key = {};
  for (let times = 0; times < 2; times++) t.throws(() => fail(key), { message: 'no object' });
  t.is(calls, 2);
});
