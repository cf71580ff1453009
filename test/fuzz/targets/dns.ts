import { deepStrictEqual, ok, strictEqual } from 'node:assert';
import { parseIpAddress } from '../../../base/address.ts';
import { answerLimitBytes, encodeAnswer, encodeUpstreamQuery } from '../../../mesh/dns/encode.ts';
import {
  decodeAnswers,
  decodeName,
  decodeQuery,
  decodeResponse,
  FLAG,
  MAX_UDP_BYTES,
  RCODE,
} from '../../../mesh/dns/message.ts';
import { unlessRefused, type Target } from '../oracle.ts';

const REFUSED = ['ERR_DNS_FORMAT'];
const RECORDS = Array.from({ length: 100 }, (_, index) => ({
  kind: 'address' as const,
  ip: parseIpAddress(`10.0.0.${index}`),
}));

/** Queries keep their question on the way on, answers their bound; names in responses end. */
export const target: Target = {
  maxBytes: 64 << 10,
  check(input) {
    checkQuery(input);
    const response = unlessRefused(REFUSED, () => decodeResponse(input));
    if (response === undefined) return;
    const records = decodeAnswers(input);
    strictEqual(records.length, response.answers);
    for (const { start, end, ttlOffset } of records) {
      ok(start < ttlOffset && ttlOffset < end && end <= input.length);
      const name = unlessRefused(REFUSED, () => decodeName(input, start));
      ok((name?.length ?? 0) <= 4 * 255, 'a name that is too long');
    }
    for (const offset of response.ttlOffsets) ok(offset + 4 <= input.length);
  },
};

function checkQuery(input: Buffer): void {
  const query = unlessRefused(REFUSED, () => decodeQuery(input));
  if (query === undefined) return;
  const on = decodeQuery(encodeUpstreamQuery(query, 77));
  strictEqual(on.id, 77);
  deepStrictEqual(on.question, query.question);
  for (const transport of ['udp', 'tcp'] as const) {
    const limit = answerLimitBytes(query, transport);
    const answer = encodeAnswer(query, { rcode: RCODE.ok, records: RECORDS }, limit);
    ok(answer.length <= limit && (transport === 'tcp' || limit <= MAX_UDP_BYTES));
    const read = decodeResponse(answer);
    deepStrictEqual(read.question, query.question);
    strictEqual(read.id, query.id);
    strictEqual((read.flags & FLAG.truncated) === 0, read.answers === RECORDS.length);
  }
}
