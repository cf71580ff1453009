import test from 'ava';
import { measureRounds, valuesOf } from '../../bench/harness/rounds.ts';

test('rounds are interleaved, and each begins with another subject', async (t) => {
  const order: string[] = [];
  const subject = (name: 'a' | 'b' | 'c') => ({
    name,
    measure: () => {
      order.push(name);
      return Promise.resolve({ count: order.length });
    },
  });
  const results = await measureRounds([subject('a'), subject('b'), subject('c')], 3);
  t.is(order.join(''), 'abcbcacab');
  t.deepEqual(valuesOf(results, 'a', 'count'), [1, 6, 8]);
  t.deepEqual(valuesOf(results, 'a', 'other'), []);
});

test('a measurement that fails says whose it was', async (t) => {
  const measure = (): Promise<never> => Promise.reject(new Error('refused'));
  await t.throwsAsync(measureRounds([{ name: 'nginx', measure }], 1), {
    message: /^nginx: refused/,
  });
});
