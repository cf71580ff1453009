import test from 'ava';
import type { HeaderChanges } from '../../../mesh/model/http-filter.ts';
import type { HeaderList } from '../../../net/h2/headers.ts';
import { changeHeaders, checkHeaderChanges } from '../../../waypoint/filters/headers.ts';

const NONE: HeaderChanges = { set: [], add: [], remove: [] };

function changed(headers: HeaderList, changes: Partial<HeaderChanges>): HeaderList {
  Object.freeze(headers);
  return changeHeaders(headers, checkHeaderChanges({ ...NONE, ...changes }, 'request'));
}

const field = (name: string, value: string): { name: string; value: string } => ({ name, value });

test('set overwrites every field of its name where the first was, or appends one', (t) => {
  const headers = [':path', '/', 'a', '1', 'b', '2', 'a', '3'];
  t.deepEqual(changed(headers, { set: [field('a', 'x')] }), [':path', '/', 'a', 'x', 'b', '2']);
  t.deepEqual(changed(['b', '2'], { set: [field('a', 'x')] }), ['b', '2', 'a', 'x']);
});

test('add joins its value to the last field by a comma, or appends one', (t) => {
  t.deepEqual(changed(['a', '1'], { add: [field('a', '2')] }), ['a', '1,2']);
  t.deepEqual(changed(['a', '1', 'a', '2'], { add: [field('a', '3')] }), ['a', '1', 'a', '2,3']);
  t.deepEqual(changed(['a', ''], { add: [field('a', '2')] }), ['a', '2']);
  t.deepEqual(changed([], { add: [field('a', '2')] }), ['a', '2']);
});

test('add never joins cookies by a comma', (t) => {
  const once = [field('set-cookie', 'b=2'), field('cookie', 'd=4')];
  t.deepEqual(changed(['set-cookie', 'a=1', 'cookie', 'c=3'], { add: once }), [
    ...['set-cookie', 'a=1', 'cookie', 'c=3; d=4', 'set-cookie', 'b=2'],
  ]);
});

test('remove leaves no field of its name, and comes last', (t) => {
  t.deepEqual(changed(['a', '1', 'b', '2', 'a', '3'], { remove: ['a'] }), ['b', '2']);
  t.deepEqual(changed(['a', '1', 'a', '2', 'a', '3'], { remove: ['a'] }), []);
  t.deepEqual(changed([], { set: [field('a', '1')], add: [field('a', '2')], remove: ['a'] }), []);
});

test('where nothing changes the list is the same one', (t) => {
  const headers = [':path', '/', 'a', '1'];
  t.is(changed(headers, {}), headers);
  t.is(changed(headers, { remove: ['b'], set: [field('a', '1')] }), headers);
});

test('setting Host sends the request to another authority, under one name', (t) => {
  const headers = [':authority', 'shop', ':path', '/', 'host', 'shop', 'a', '1'];
  for (const name of ['host', ':authority'])
    t.deepEqual(changed(headers, { set: [field(name, 'cart:81')] }), [
      ...[':authority', 'cart:81', ':path', '/', 'a', '1'],
    ]);
  t.deepEqual(changed([':path', '/', 'host', 'shop'], { set: [field('host', 'cart')] }), [
    ...[':authority', 'cart', ':path', '/'],
  ]);
});

test('a value that is not ASCII is written as UTF-8, a character a byte', (t) => {
  t.deepEqual(changed([], { set: [field('a', 'é')] }), ['a', '\xc3\xa9']);
});

const REFUSED: readonly (readonly [string, Partial<HeaderChanges>])[] = [
  ['a pseudo-header field', { set: [field(':path', '/admin')] }],
  ['a pseudo-header field that is taken away', { remove: [':method'] }],
  ['an authority that is added to', { add: [field('host', 'b')] }],
  ['a Host that is taken away', { remove: ['host'] }],
  ['an authority with a path', { set: [field('host', 'a/b')] }],
  ['an empty authority', { set: [field('host', '')] }],
  ['framing', { set: [field('content-length', '0')] }],
  ['framing that is taken away', { remove: ['transfer-encoding'] }],
  ['a field of the connection', { add: [field('connection', 'x-user')] }],
  ['an upgrade', { set: [field('upgrade', 'h2c')] }],
  ['a name in upper case', { set: [field('X-User', 'a')] }],
  ['a name that is none', { set: [field('x user', 'a')] }],
  ['a second field in a value', { set: [field('a', 'b\r\nc: d')] }],
  ['NUL in a value', { add: [field('a', 'b\0')] }],
  ['a space around a value', { set: [field('a', ' b')] }],
];
for (const [what, changes] of REFUSED)
  test(`${what} is refused`, (t) => {
    t.throws(() => changed([], changes), { code: 'ERR_HEADER_CHANGE' });
  });

test('of a response neither the status nor a host can be set', (t) => {
  for (const name of [':status', 'host', ':authority'])
    t.throws(() => checkHeaderChanges({ ...NONE, set: [field(name, '200')] }, 'response'), {
      code: 'ERR_HEADER_CHANGE',
    });
});
