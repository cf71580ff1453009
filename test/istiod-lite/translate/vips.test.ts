import test from 'ava';
import { VipAllocator } from '../../../istiod-lite/translate/vips.ts';

const entry = (name: string) => ({
  group: 'networking.istio.io',
  kind: 'ServiceEntry',
  namespace: 'shop',
  name,
});

test('a VIP depends on nothing but the name, is in 240.240.0.0/16, and is kept', (t) => {
  const first = new VipAllocator();
  const address = first.allocate(entry('a'), 'a.example.com');
  t.regex(address, /^240\.240\.\d+\.\d+$/);
  t.is(first.allocate(entry('a'), 'a.example.com'), address);
  t.is(new VipAllocator().allocate(entry('a'), 'a.example.com'), address);
});

test('no two hosts share a VIP, also when their names draw the same place', (t) => {
  const vips = new VipAllocator();
  const given = new Set(
    Array.from({ length: 5_000 }, (_, n) => vips.allocate(entry('a'), `h${n}.example.com`)),
  );
  t.is(given.size, 5_000);
  // In another order the places that were drawn twice would fall otherwise: that is what is kept.
  const next = new VipAllocator(vips.entries());
  for (let n = 4_999; n >= 0; n--)
    t.true(given.has(next.allocate(entry('a'), `h${n}.example.com`)));
  t.deepEqual(next.entries(), vips.entries());
});

test('a VIP that is released can be given again; what was kept and is no VIP is left out', (t) => {
  const vips = new VipAllocator([
    ['shop/a/x', '10.0.0.1'],
    ['shop/a/y', '240.240.1.1'],
    ['shop/a/z', '240.240.1.1'],
  ]);
  t.deepEqual(vips.entries(), [['shop/a/y', '240.240.1.1']]);
  vips.release(entry('a'), new Set(['y']));
  t.is(vips.entries().length, 1);
  vips.release(entry('a'), new Set());
  t.deepEqual(vips.entries(), []);
});

test('when all VIPs are in use the next one is refused with a reason', (t) => {
  const vips = new VipAllocator();
  for (let n = 0; n < 65_534; n++) vips.allocate(entry('a'), `h${n}`);
  t.throws(() => vips.allocate(entry('b'), 'x'), { code: 'ERR_NO_VIP' });
});

test('a VIP that the status says is honoured where it is of the range and nobody else has it', (t) => {
  const vips = new VipAllocator();
  t.is(vips.allocate(entry('a'), 'a.example.com', ['10.96.0.1', '240.240.1.2']), '240.240.1.2');
  t.not(vips.allocate(entry('b'), 'b.example.com', ['240.240.1.2']), '240.240.1.2');
  t.not(vips.allocate(entry('c'), 'c.example.com', ['10.96.0.1', 'no address']), '10.96.0.1');
  t.is(vips.allocate(entry('a'), 'a.example.com', ['240.240.9.9']), '240.240.1.2', 'kept');
});
