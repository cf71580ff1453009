import { deepStrictEqual, ok, strictEqual } from 'node:assert';
import {
  decodeAck,
  decodeHello,
  decodeRequest,
  encodeAck,
  encodeRequest,
  MAX_ZDS_MESSAGE_BYTES,
} from '../../../mesh/zds/messages.ts';
import { splitChoice, unlessRefused, type Target } from '../oracle.ts';

const REFUSED = ['ERR_PROTO', 'ERR_ZDS'];

/** What is read is written and read again, where it fits the peer's buffer. */
export const target: Target = {
  maxBytes: 2 * MAX_ZDS_MESSAGE_BYTES,
  check(input) {
    const [choice, bytes] = splitChoice(input);
    if (choice % 3 === 0) {
      const request = unlessRefused(REFUSED, () => decodeRequest(bytes));
      if (request === undefined) return;
      const written = unlessRefused(REFUSED, () => encodeRequest(request));
      if (written !== undefined) deepStrictEqual(decodeRequest(written), request);
    } else if (choice % 3 === 1) {
      const error = unlessRefused(REFUSED, () => decodeAck(bytes));
      if (error === undefined) return;
      const written = encodeAck(error);
      ok(written.length < MAX_ZDS_MESSAGE_BYTES, 'an ack that the peer cuts off');
      if (error.length <= 300) strictEqual(decodeAck(written), error);
    } else
      unlessRefused(REFUSED, () => {
        decodeHello(bytes);
      });
  },
};
