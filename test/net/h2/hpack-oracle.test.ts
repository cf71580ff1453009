/** Holds HpackDecoder against nghttp2, which is in Node: header blocks of the corpus, and blocks that differ from them. */
import { readdirSync, readFileSync } from 'node:fs';
import http2 from 'node:http2';
import { duplexPair } from 'node:stream';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import { Http2Violation } from '../../../net/h2/errors.ts';
import {
  CLIENT_PREFACE,
  FLAG_END_HEADERS,
  FLAG_END_STREAM,
  GOAWAY,
  HEADERS,
  RST_STREAM,
  SETTINGS,
} from '../../../net/h2/frame.ts';
import { COMPRESSION_ERROR } from '../../../net/h2/errors.ts';
import { HpackDecoder } from '../../../net/h2/hpack-decoder.ts';
import { CORPUS } from '../../fuzz/engine.ts';
import { blocksOf } from '../../fuzz/targets/hpack.ts';
import { frame } from '../../support/h2-frames.ts';

/** A request that any server takes, so that only what a block adds can be wrong. RFC 7541 appendix A: 2, 6, 4. */
const REQUEST = Buffer.of(0x82, 0x86, 0x84);
/** Below what node:http2 allows, so that a list is never too large for one of the two alone. */
const MAX_LIST_BYTES = 60_000;

/** Whether nghttp2 could read a block, sent as the header of a request. */
async function nghttp2Reads(block: Buffer): Promise<boolean> {
  const [client, server] = duplexPair();
  const session = http2.performServerHandshake(server);
  session.on('error', () => undefined);
  session.on('stream', (stream) => {
    stream.on('error', () => undefined);
    stream.respond({}, { endStream: true });
  });
  client.write(
    Buffer.concat([
      ...[CLIENT_PREFACE, frame(SETTINGS, 0, 0)],
      frame(HEADERS, FLAG_END_HEADERS | FLAG_END_STREAM, 1, block),
    ]),
  );
  let received = Buffer.alloc(0);
  try {
    for await (const chunk of client) {
      received = Buffer.concat([received, chunk as Buffer]);
      for (let at = 0; at + 9 <= received.length; at += 9 + received.readUIntBE(at, 3)) {
        const type = received[at + 3];
        if (type === HEADERS || type === RST_STREAM) return true; // the block was read, whatever it asked
        if (type === GOAWAY && at + 17 <= received.length)
          return received.readUInt32BE(at + 13) !== COMPRESSION_ERROR;
      }
    }
    return true;
  } finally {
    session.destroy();
    client.destroy();
  }
}

function weRead(block: Buffer): boolean {
  try {
    new HpackDecoder().decode(block, 0, block.length, MAX_LIST_BYTES);
    return true;
  } catch (error) {
    if (error instanceof Http2Violation) return false;
    throw error;
  }
}

const folder = join(CORPUS, 'hpack');
const blocks = readdirSync(folder)
  .flatMap((file) => blocksOf(readFileSync(join(folder, file)).subarray(1)))
  .filter(({ length }) => length > 0 && length < 4096);

test('HpackDecoder and nghttp2 read the same blocks of the corpus', async (t) => {
  t.true(blocks.length > 5);
  for (const block of blocks) t.is(weRead(block), await nghttp2Reads(block), block.toString('hex'));
});

test('HpackDecoder and nghttp2 read the same blocks, however they are changed', async (t) => {
  const change = fc.record({
    // Those that need no block before them.
    block: fc.constantFrom(...blocks.filter(weRead)),
    at: fc.nat(4096),
    byte: fc.nat(255),
    tail: fc.oneof(fc.constant(new Uint8Array(0)), fc.uint8Array({ maxLength: 12 })),
  });
  let read = 0;
  let refused = 0;
  await fc.assert(
    fc.asyncProperty(change, async ({ block, at, byte, tail }) => {
      const changed = Buffer.concat([REQUEST, block, tail]);
      changed[REQUEST.length + (at % block.length)] = byte;
      const ours = weRead(changed);
      if (ours) read++;
      else refused++;
      return ours === (await nghttp2Reads(changed));
    }),
    { numRuns: 500 },
  );
  t.true(read > 50 && refused > 50, `${read} read, ${refused} refused`);
});
