import test from 'ava';
import type { HashSource } from '../../../mesh/model/traffic-policy.ts';
import { hashText } from '../../../waypoint/balance/hash.ts';
import { findQueryParameter, hashRequest } from '../../../waypoint/balance/hash-key.ts';
import { seededRandom } from '../../support/numbers.ts';

const headers = [
  ...[':method', 'GET', ':path', '/a?user=x%20y&flag&user=z', 'x-user', 'alice'],
  ...['cookie', 'a=1; session="abc"', 'cookie', 'b=2'],
];

const hashed = test.macro({
  exec(t, source: HashSource, text: string | undefined) {
    const found = hashRequest(source, headers, '10.0.0.7', () => 0.5);
    t.deepEqual(found, text === undefined ? undefined : { hash: hashText(text) });
  },
  title: (given = '') => `hashRequest() ${given}`,
});

test('takes a header', hashed, { kind: 'header', name: 'X-User' }, 'alice');
test('has nothing without the header', hashed, { kind: 'header', name: 'x-other' }, undefined);
test('takes the first parameter of a name', hashed, { kind: 'query', name: 'user' }, 'x%20y');
test(
  'has nothing of a parameter without value',
  hashed,
  { kind: 'query', name: 'flag' },
  undefined,
);
test('takes the address of the client', hashed, { kind: 'source-ip' }, '10.0.0.7');
test('takes a cookie', hashed, { kind: 'cookie', name: 'session', path: '', ttlMs: 5 }, 'abc');
test('takes a cookie of another field', hashed, { kind: 'cookie', name: 'b', path: '' }, '2');
test(
  'has nothing without the cookie and a ttl',
  hashed,
  { kind: 'cookie', name: 'c', path: '' },
  undefined,
);

test('hashRequest() makes a cookie that has the same hash when it comes back', (t) => {
  const source = { kind: 'cookie', name: 'c', path: '/x', ttlMs: 1500 } as const;
  const made = hashRequest(source, headers, '', seededRandom(4711));
  const [, value = ''] =
    /^c="([0-9a-f]{16})"; Max-Age=2; Path=\/x; HttpOnly$/.exec(made?.setCookie ?? '') ?? [];
  t.not(value, '');
  const again = hashRequest(source, ['cookie', `c="${value}"`], '', seededRandom(1));
  t.deepEqual(again, { hash: made?.hash ?? 0 });
  t.not(made?.hash, hashRequest(source, headers, '', seededRandom(4712))?.hash);
});

test('hashRequest() makes a cookie for as long as the client stays where the ttl is 0', (t) => {
  const source = { kind: 'cookie', name: 'c', path: '', ttlMs: 0 } as const;
  t.regex(hashRequest(source, [], '', () => 0.5)?.setCookie ?? '', /^c="[0-9a-f]{16}"; HttpOnly$/);
});

test('findQueryParameter() looks behind the question mark only', (t) => {
  t.is(findQueryParameter('/user=1', 'user'), undefined);
  t.is(findQueryParameter('/p&user=1?user=2', 'user'), '2');
  t.is(findQueryParameter('/p?', 'user'), undefined);
});
