import test from 'ava';
import { HeldResources } from '../../../mesh/xds/held-resources.ts';

const onDemand = { typeUrl: 'type.test/A', onDemand: true };
const ignore = (): void => undefined;

test('a scan of addresses does not fill the memory: the oldest key that stands for nothing is let go', (t) => {
  const held = new HeldResources(onDemand);
  held.demand('uid-held', ignore);
  held.hold('uid-held', '1', []);
  for (let index = 1; index < 65_536; index++) {
    held.demand(`n/${index}`, ignore);
    held.answer(`n/${index}`);
  }
  t.deepEqual(held.demand('n/new', ignore), { subscribe: ['n/new'], unsubscribe: ['n/1'] });
  t.is(held.demand('uid-held', ignore), 'answered');
  t.deepEqual(held.demand('n/1', ignore), { subscribe: ['n/1'], unsubscribe: ['n/2'] });
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
