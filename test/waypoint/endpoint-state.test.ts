import test from 'ava';
import { EndpointStates } from '../../waypoint/endpoint-state.ts';

const well = (...keys: readonly string[]): { key: string; healthy: boolean }[] =>
  keys.map((key) => ({ key, healthy: true }));

test('what was learnt of an endpoint outlives a new list of endpoints', (t) => {
  const states = new EndpointStates();
  const [a] = states.replace(well('a', 'b'), 0);
  if (a === undefined) return t.fail();
  using _request = a.beginRequest();
  states.setEjected(a, true);
  const again = states.replace(well('c', 'a'), 5000);
  t.is(again[1], a);
  t.is(a.active, 1);
  t.false(a.available);
  t.is(a.warmSinceMs, 0);
  t.is(again[0]?.warmSinceMs, 5000);
  t.is(states.size, 2);
  t.is(states.ejected, 1);
});

test('an endpoint that is gone is not available, and forgotten once nothing is left of it', (t) => {
  const states = new EndpointStates();
  const [a] = states.replace(well('a', 'b'), 0);
  if (a === undefined) return t.fail();
  const request = a.beginRequest();
  states.setEjected(a, true);
  states.replace(well('b'), 0);
  t.true(a.retired);
  t.false(a.available);
  t.is(states.ejected, 0);
  t.is(states.get('a'), a);
  request[Symbol.dispose]();
  states.forgetRetired();
  t.is(states.get('a'), a); // ejected still: leaving and coming back frees nobody
  states.setEjected(a, false);
  states.forgetRetired();
  t.is(states.get('a'), undefined);
});

test('an endpoint that comes back before it is forgotten is the same, and warms up anew', (t) => {
  const states = new EndpointStates();
  const [a] = states.replace(well('a'), 0);
  if (a === undefined) return t.fail();
  using _request = a.beginRequest();
  states.setEjected(a, true);
  states.replace([], 10);
  t.deepEqual(states.replace(well('a'), 20), [a]);
  t.false(a.available);
  t.is(a.warmSinceMs, 20);
  t.is(states.ejected, 1);
  states.setEjected(a, false);
  t.true(a.available);
});

test('an endpoint that becomes healthy again warms up anew', (t) => {
  const states = new EndpointStates();
  const [a] = states.replace(well('a'), 0);
  states.replace([{ key: 'a', healthy: false }], 10);
  t.false(a?.available);
  t.is(a?.warmSinceMs, 0);
  states.replace(well('a'), 20);
  t.true(a?.available);
  t.is(a?.warmSinceMs, 20);
});

test('a request stops counting once, however often it is disposed of', (t) => {
  const [a] = new EndpointStates().replace(well('a'), 0);
  if (a === undefined) return t.fail();
  const [one, other] = [a.beginRequest(), a.beginRequest()];
  t.is(a.active, 2);
  one[Symbol.dispose]();
  one[Symbol.dispose]();
  t.is(a.active, 1);
  other[Symbol.dispose]();
  t.is(a.active, 0);
});

test('two endpoints of one key are one', (t) => {
  const states = new EndpointStates();
  const [one, other] = states.replace(well('a', 'a'), 0);
  t.is(one, other);
  t.is(states.size, 1);
});
