import test from 'ava';
import { HeldResources } from '../../../mesh/xds/held-resources.ts';

const onDemand = { typeUrl: 'type.test/A', onDemand: true };
const ignore = (): void => undefined;

test('a key that is released is let go when it stands for nothing, and kept as long as it stands for something', (t) => {
  const held = new HeldResources(onDemand);
  t.is(held.demand('n/10.0.0.9', ignore), 'new');
  held.answer('n/10.0.0.9');
  t.is(held.demand('n/10.0.0.9', ignore), 'answered');
  t.true(held.release('n/10.0.0.9'));
  t.false(held.release('n/10.0.0.9'));
  t.is(held.demand('n/10.0.0.9', ignore), 'new');

  t.is(held.demand('n/10.0.0.1', ignore), 'new');
  held.hold('uid-1', '1', ['n/10.0.0.1']);
  t.false(held.release('n/10.0.0.1'));
  t.is(held.demand('n/10.0.0.1', ignore), 'answered');
  t.deepEqual(held.drop('uid-1'), []); // wanted again: a later pod of this address must be told
  held.hold('uid-2', '1', ['n/10.0.0.1']);
  t.false(held.release('n/10.0.0.1'));
  t.deepEqual(held.drop('uid-2'), ['n/10.0.0.1']);
  t.is(held.demanded, 1);
});

test('an address that a new version has given up stands for nothing any more', (t) => {
  const held = new HeldResources(onDemand);
  held.demand('n/10.0.0.1', ignore);
  held.hold('uid-1', '1', ['n/10.0.0.1']);
  held.hold('uid-1', '2', ['n/10.0.0.2']);
  t.true(held.release('n/10.0.0.1'));
});

test('of two resources at one address, the one that is left keeps its key', (t) => {
  const held = new HeldResources(onDemand);
  held.demand('n/10.0.0.1', ignore);
  held.hold('uid-1', '1', ['n/10.0.0.1']);
  held.hold('uid-2', '1', ['n/10.0.0.1']);
  held.release('n/10.0.0.1');
  t.deepEqual(held.drop('uid-1'), []);
  t.deepEqual(held.drop('uid-2'), ['n/10.0.0.1']);
});

test('a removal by name wakes those who asked by an alias', (t) => {
  const held = new HeldResources(onDemand);
  held.hold('uid-1', '1', ['n/10.0.0.1']);
  let woken = 0;
  held.demand('n/10.0.0.1', () => woken++);
  held.drop('uid-1');
  t.is(woken, 1);
  t.is(held.size, 0);
});

test('a wildcard type tells what it holds and subscribes to nothing', (t) => {
  const held = new HeldResources({ typeUrl: 'type.test/A', onDemand: false });
  held.hold('uid-1', '1', []);
  t.deepEqual(held.firstRequest(), { initialResourceVersions: new Map([['uid-1', '1']]) });
});
