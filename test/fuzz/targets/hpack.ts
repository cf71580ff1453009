import { deepStrictEqual, ok, strictEqual } from 'node:assert';
import { COMPRESSION_ERROR, Http2Violation } from '../../../net/h2/errors.ts';
import { isValidField } from '../../../net/h2/headers.ts';
import { HpackDecoder } from '../../../net/h2/hpack-decoder.ts';
import { HpackEncoder } from '../../../net/h2/hpack-encoder.ts';
import { splitChoice, type Target } from '../oracle.ts';

const MAX_LIST_BYTES = 16 << 10;
const FIELD_BYTES = 32;
/** Blocks of one connection, each with two bytes of length before it. */
const LENGTH_BYTES = 2;

/** The blocks of an input; the last may be shorter than it says. */
export function blocksOf(input: Buffer): Buffer[] {
  const blocks: Buffer[] = [];
  for (let at = 0; at + LENGTH_BYTES <= input.length; ) {
    const end = at + LENGTH_BYTES + input.readUInt16BE(at);
    blocks.push(input.subarray(at + LENGTH_BYTES, end));
    at = end;
  }
  return blocks;
}

/** Blocks decode within the limit or end the connection; what was decoded is encoded and decoded again. */
export const target: Target = {
  maxBytes: 16 << 10,
  check(input) {
    const [choice, rest] = splitChoice(input);
    const [decoder, encoder, again] = [new HpackDecoder(), new HpackEncoder(), new HpackDecoder()];
    if ((choice & 1) !== 0) decoder.setAllowedTableBytes(choice << 4);
    for (const block of blocksOf(rest)) {
      let headers: string[];
      try {
        headers = decoder.decode(block, 0, block.length, MAX_LIST_BYTES);
      } catch (error) {
        if (!(error instanceof Http2Violation)) throw error;
        strictEqual(error.h2Code, COMPRESSION_ERROR);
        return;
      }
      let bytes = 0;
      let valid = true;
      for (let index = 0; index < headers.length; index += 2) {
        const [name = '', value = ''] = headers.slice(index, index + 2);
        bytes += name.length + value.length + FIELD_BYTES;
        valid &&= isValidField(name, value);
      }
      ok(bytes <= MAX_LIST_BYTES, 'a list beyond the limit');
      if (!decoder.oversized) strictEqual(decoder.malformed, !valid);
      const buffer = Buffer.alloc(encoder.maxBlockBytes(headers));
      const end = encoder.encode(buffer, 0, headers, decoder.neverIndexed);
      deepStrictEqual(again.decode(buffer, 0, end, MAX_LIST_BYTES), headers);
    }
  },
};
