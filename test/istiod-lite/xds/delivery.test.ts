import test from 'ava';
import { Delivery } from '../../../istiod-lite/xds/delivery.ts';

const A = 'type-a';
const B = 'type-b';

test('a proxy to which nothing is to be sent has every revision', (t) => {
  t.is(new Delivery().answeredRevision(7), 7);
});

test('what waits or is on its way holds back the revision that it brings', (t) => {
  const delivery = new Delivery();
  const push = {};
  delivery.waits(push, 5);
  delivery.waits(push, 6);
  t.is(delivery.answeredRevision(9), 4);
  delivery.sent(push, { typeUrl: A, nonce: 'n1', names: ['x'] });
  t.is(delivery.answeredRevision(9), 4);
  delivery.waits(push, 8);
  t.true(delivery.acknowledged(A, 'n1'));
  t.is(delivery.answeredRevision(9), 7);
});

test('an acknowledgement counts for the responses of its type before it, and for no other type', (t) => {
  const delivery = new Delivery();
  for (const [nonce, typeUrl, from] of [
    ['n1', A, 1],
    ['n2', B, 2],
    ['n3', A, 3],
  ] as const) {
    const what = {};
    delivery.waits(what, from);
    delivery.sent(what, { typeUrl, nonce, names: [] });
  }
  t.false(delivery.acknowledged(A, 'n2'));
  t.false(delivery.acknowledged(A, 'unknown'));
  t.true(delivery.acknowledged(A, 'n3'));
  t.is(delivery.answeredRevision(9), 1);
  t.false(delivery.acknowledged(A, 'n1'));
  t.true(delivery.acknowledged(B, 'n2'));
  t.is(delivery.answeredRevision(9), 9);
});

test('a rejection holds for the resources that it names until they are taken', (t) => {
  const delivery = new Delivery();
  const send = (nonce: string, names: readonly string[]): void => {
    const what = {};
    delivery.waits(what, 1);
    delivery.sent(what, { typeUrl: A, nonce, names });
  };
  send('n1', ['ns/one', 'ns/two']);
  const rejection = delivery.rejected(A, 'n1', `no: ns/two ${'x'.repeat(5_000)}`, 1);
  t.deepEqual([...(rejection?.names ?? [])], ['ns/two']);
  t.is(rejection?.message.length, 2048);
  t.is(delivery.answeredRevision(3), 3);
  send('n2', ['ns/one']);
  delivery.acknowledged(A, 'n2');
  t.is(delivery.rejections().length, 1);
  send('n3', ['ns/two']);
  delivery.acknowledged(A, 'n3');
  t.deepEqual(delivery.rejections(), []);
  t.is(delivery.rejected(A, 'n3', 'again', 1), undefined);
});

test('a proxy that reads and never answers costs no more and no less than it did', (t) => {
  const delivery = new Delivery();
  for (let revision = 1; revision <= 10_000; revision++) {
    const what = {};
    delivery.waits(what, revision);
    delivery.sent(what, {
      typeUrl: revision % 2 === 0 ? A : 'other',
      nonce: `n${revision}`,
      names: ['x'],
    });
  }
  t.is(delivery.answeredRevision(10_000), 0);
  t.false(delivery.acknowledged(A, 'n2'), 'long forgotten');
  t.true(delivery.acknowledged(A, 'n10000'));
  t.true(delivery.acknowledged('other', 'n9999'));
  t.is(delivery.answeredRevision(10_000), 10_000);
});

test('what is sent in two parts is there when both have been answered', (t) => {
  const delivery = new Delivery();
  const what = {};
  delivery.waits(what, 3);
  delivery.sent(what, { typeUrl: A, nonce: 'n1', names: ['new'], partly: true });
  delivery.acknowledged(A, 'n1');
  t.is(delivery.answeredRevision(3), 2);
  delivery.sent(what, { typeUrl: A, nonce: 'n2', names: ['gone'] });
  delivery.acknowledged(A, 'n2');
  t.is(delivery.answeredRevision(3), 3);
});
