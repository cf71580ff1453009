import { deepStrictEqual } from 'node:assert';
import { formatLastChunk } from '../../../net/http1/serialize.ts';
import { cut, readRequests } from '../../support/http1-messages.ts';
import { splitChoice, type Target } from '../oracle.ts';

const HEAD = Buffer.from('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n');

/** However a chunked body is cut, the same bytes come out; and written again they are read again. */
export const target: Target = {
  maxBytes: 60 << 10,
  check(input) {
    const [choice, rest] = splitChoice(input);
    const whole = readRequests([HEAD, rest]);
    deepStrictEqual(readRequests([HEAD, ...cut(rest, 1 + (choice & 0x7f))]), whole);
    const [first] = whole.messages;
    if (first?.trailers === undefined) return;
    const { body, trailers } = first;
    const chunk = body === '' ? '' : `${body.length.toString(16)}\r\n${body}\r\n`;
    const bytes = Buffer.from(chunk + formatLastChunk(trailers), 'latin1');
    const [again] = readRequests([HEAD, bytes]).messages;
    deepStrictEqual([again?.body, again?.trailers], [body, trailers]);
  },
};
