import test from 'ava';
import fc from 'fast-check';
import {
  decodeAck,
  decodeRequest,
  encodeAck,
  encodeRequest,
  MAX_ZDS_MESSAGE_BYTES,
  type ZdsRequest,
} from '../../../mesh/zds/messages.ts';

const short = fc.string({ unit: 'grapheme', maxLength: 40 });
const info = fc.record({ name: short, namespace: short, serviceAccount: short });
const request: fc.Arbitrary<ZdsRequest> = fc.oneof(
  fc.record({ kind: fc.constant('add' as const), uid: short, info }),
  fc.record({ kind: fc.constantFrom('keep' as const, 'del' as const), uid: short }),
  fc.constant({ kind: 'snapshot-sent' as const }),
);

test('decodeRequest() reads what encodeRequest() writes', (t) => {
  fc.assert(
    fc.property(request, (one) => {
      t.deepEqual(decodeRequest(encodeRequest(one)), one);
    }),
    { numRuns: 500 },
  );
});

/** Of characters of one to four bytes; a long one is one character many times. */
const reasons = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 600 }),
  fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }).map((one) => one.repeat(600)),
);

test('decodeAck() reads what encodeAck() writes, and every reason fits', (t) => {
  fc.assert(
    fc.property(reasons, (reason) => {
      const bytes = encodeAck(reason);
      t.true(bytes.length < MAX_ZDS_MESSAGE_BYTES, `${bytes.length} bytes`);
      t.true(reason.startsWith(decodeAck(bytes).replace(/\uFFFD$/, '')));
    }),
    { numRuns: 500 },
  );
});
