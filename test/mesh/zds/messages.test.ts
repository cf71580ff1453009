import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import {
  decodeAck,
  decodeHello,
  decodeRequest,
  encodeAck,
  encodeHello,
  encodeRequest,
  MAX_ZDS_MESSAGE_BYTES,
  type ZdsRequest,
} from '../../../mesh/zds/messages.ts';

const wire = (name: string): Buffer => readFileSync(join(import.meta.dirname, 'wire', name));
const info = { name: 'cart-1', namespace: 'shop', serviceAccount: 'cart' };

const requests: readonly (readonly [file: string, request: ZdsRequest])[] = [
  ['zds-add.bin', { kind: 'add', uid: '5f1c-uid', info }],
  ['zds-keep.bin', { kind: 'keep', uid: '5f1c-uid' }],
  ['zds-del.bin', { kind: 'del', uid: '5f1c-uid' }],
  ['zds-snapshot.bin', { kind: 'snapshot-sent' }],
];

for (const [file, request] of requests)
  test(`a ${request.kind} request has the bytes that Istio's has`, (t) => {
    t.deepEqual(Buffer.from(encodeRequest(request)), wire(file));
    t.deepEqual(decodeRequest(wire(file)), request);
  });

test("hello and ack have the bytes that Istio's have", (t) => {
  t.deepEqual(Buffer.from(encodeHello()), wire('zds-hello.bin'));
  t.notThrows(() => {
    decodeHello(wire('zds-hello.bin'));
  });
  t.deepEqual(Buffer.from(encodeAck('no such namespace')), wire('zds-ack.bin'));
  t.is(decodeAck(wire('zds-ack.bin')), 'no such namespace');
  t.is(decodeAck(encodeAck()), '');
});

test('an add without workload info and a request that asks nothing are refused', (t) => {
  t.throws(() => decodeRequest(Buffer.from([0x0a, 0x03, 0x0a, 0x01, 0x75])), { code: 'ERR_ZDS' });
  t.throws(() => decodeRequest(new Uint8Array(0)), { code: 'ERR_ZDS' });
  t.throws(() => decodeRequest(Buffer.from('not protobuf')), { code: 'ERR_PROTO' });
});

test('a request that the peer would cut off is not sent, and a long reason is shortened', (t) => {
  const uid = 'u'.repeat(MAX_ZDS_MESSAGE_BYTES);
  t.throws(() => encodeRequest({ kind: 'del', uid }), { code: 'ERR_ZDS' });
  t.true(encodeAck('x'.repeat(5000)).length < MAX_ZDS_MESSAGE_BYTES);
});
