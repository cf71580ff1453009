import test from 'ava';
import { openLibrary } from '../../../net/native/library.ts';
import { allocateShared } from '../../../net/native/memory.ts';

/** Of a function that was called often enough, V8 has compiled the calls. */
const MANY_CALLS = 200_000;

const library = openLibrary({
  labs: { return: 'i64', arguments: ['i64'] },
  abs: { return: 'i32', arguments: ['i32'] },
  strnlen: { return: 'u64', arguments: ['pointer', 'u64'] },
  bsearch: { return: 'pointer', arguments: ['pointer', 'pointer', 'u64', 'u64', 'pointer'] },
});
const { abs, bsearch, strnlen } = library.functions;

test('this Node lets every function be called without its own around it', (t) => {
  t.deepEqual(library.wrapped, []);
  t.is(abs(-5), 5);
});

test('what all functions inherit is as before, also when a symbol is not there', (t) => {
  t.throws(() => openLibrary({ no_such_symbol: { return: 'void', arguments: [] } }), {
    code: 'ERR_FFI_CALL_FAILED',
  });
  t.is(Object.getPrototypeOf(Function.prototype), Object.prototype);
});

test('values that are not of the declared kind are refused by a call that was compiled for those that are', (t) => {
  const bytes = allocateShared(8);
  const wrong: readonly (readonly [string, (value: never) => unknown, readonly unknown[]])[] = [
    ['i32', (value) => abs(value), ['3', undefined, null, 3n, {}, true]],
    ['address', (value) => strnlen(value, 8n), [0, 5, {}, Symbol()]],
    ['u64', (value) => strnlen(bytes.address, value), [0, 5, '5', undefined, null]],
  ];
  for (const [kind, call, values] of wrong)
    for (const value of values) {
      for (let count = 0; count < MANY_CALLS; count++) {
        abs(count);
        strnlen(bytes.address, 8n);
        if (kind === 'i32') call(count as never);
        else call((kind === 'u64' ? 8n : bytes.address) as never);
      }
      t.throws(
        () => call(value as never),
        { code: 'ERR_INVALID_ARG_VALUE' },
        `${kind} ${String(value)}`,
      );
    }
});

test('texts, buffers and null are addresses', (t) => {
  t.is(strnlen('four', 10n), 4n);
  t.is(strnlen(Buffer.from('three\0'), 10n), 5n);
  t.is(bsearch('a', null, 0n, 1n, null), 0n);
});

test('a call may call back into JavaScript, which may collect meanwhile', (t) => {
  let compared = 0;
  let garbage: unknown;
  const compare = library.lib.registerCallback(
    { return: 'i32', arguments: ['pointer', 'pointer'] },
    () => {
      compared++;
      garbage = Array.from({ length: 50 }, (_, index) => ({ index, garbage: [compared] }));
      return 1;
    },
  );
  const bytes = allocateShared(64);
  for (let count = 0; count < MANY_CALLS / 10; count++)
    t.is(bsearch(bytes.address, bytes.address, 8n, 8n, compare), 0n);
  t.true(Array.isArray(garbage));
  t.true(compared >= MANY_CALLS / 10);
  library.lib.unregisterCallback(compare);
});
