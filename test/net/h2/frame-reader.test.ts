import test from 'ava';
import fc from 'fast-check';
import { Http2Violation } from '../../../net/h2/errors.ts';
import {
  CLIENT_PREFACE,
  DATA,
  encodeGoaway,
  encodePing,
  encodeRstStream,
  encodeSettings,
  encodeSettingsAck,
  encodeWindowUpdate,
  FLAG_ACK,
  FLAG_PADDED,
  type FrameHeader,
  GOAWAY,
  PING,
  RST_STREAM,
  SETTINGS,
  WINDOW_UPDATE,
} from '../../../net/h2/frame.ts';
import { FrameReader, type FrameReceiver } from '../../../net/h2/frame-reader.ts';
import { frame } from '../../support/h2-frames.ts';
import { shared } from '../../support/collect.ts';

/** Writes down what it is told, DATA payload joined. */
class Log implements FrameReceiver {
  openBlockStream = 0;
  readonly lines: string[] = [];
  #data = '';

  onDataBegin({ length, streamId }: FrameHeader): void {
    this.#data = `DATA ${streamId} ${length}:`;
  }

  onDataPayload(bytes: { buffer: Buffer }, offset: number, length: number): void {
    this.#data += bytes.buffer.toString('hex', offset, offset + length);
    // The memory is the receiver's to overwrite, with the room for a header before it.
    bytes.buffer.fill(0xff, Math.max(0, offset - 9), offset + length);
  }

  onDataPadding(length: number): void {
    this.#data += ` pad ${length} `;
  }

  onDataEnd({ flags }: FrameHeader): void {
    this.lines.push(`${this.#data} end ${flags}`);
  }

  onFrame(
    { type, flags, streamId }: FrameHeader,
    buffer: Buffer,
    at: number,
    length: number,
  ): void {
    this.lines.push(`${type} ${flags} ${streamId}:${buffer.toString('hex', at, at + length)}`);
  }

  onUnknownFrame(): void {
    this.lines.push('unknown');
  }
}

function read(pieces: readonly Buffer[], fromClient = false): string[] {
  const log = new Log();
  const reader = new FrameReader(log, 1 << 14, fromClient);
  for (const piece of pieces) {
    const { bytes, length } = shared(piece);
    reader.read(bytes, 9, length);
  }
  return log.lines;
}

const control = fc.oneof(
  fc.uint8Array({ minLength: 8, maxLength: 8 }).map((bytes) => frame(PING, 0, 0, bytes)),
  fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes) => frame(RST_STREAM, 0, 1, bytes)),
  fc.uint8Array({ minLength: 8, maxLength: 700 }).map((bytes) => frame(GOAWAY, 0, 0, bytes)),
  fc.uint8Array({ maxLength: 300 }).map((bytes) => frame(1, 5, 3, bytes)),
  fc.uint8Array({ maxLength: 300 }).map((bytes) => frame(200, 5, 3, bytes)),
);
const data = fc
  .tuple(fc.uint8Array({ maxLength: 400 }), fc.option(fc.nat(255)), fc.nat(1))
  .map(([bytes, padding, end]) =>
    padding === null
      ? frame(DATA, end, 5, bytes)
      : frame(
          DATA,
          end | FLAG_PADDED,
          5,
          Buffer.concat([Buffer.from([padding]), bytes, Buffer.alloc(padding)]),
        ),
  );
const frames = fc.array(fc.oneof(control, data), { maxLength: 30 });

test('FrameReader finds the same frames however the input is cut', (t) => {
  fc.assert(
    fc.property(
      frames,
      fc.array(fc.integer({ min: 1, max: 600 }), { minLength: 1 }),
      (list, sizes) => {
        const input = Buffer.concat([CLIENT_PREFACE, frame(SETTINGS, 0, 0), ...list]);
        const pieces: Buffer[] = [];
        for (let at = 0, turn = 0; at < input.length; turn++) {
          const size = sizes[turn % sizes.length] ?? 1;
          pieces.push(input.subarray(at, at + size));
          at += size;
        }
        const whole = read([input], true);
        t.deepEqual(read(pieces, true), whole);
        t.is(whole.length, list.length + 1);
      },
    ),
    { numRuns: 300 },
  );
});

test('FrameReader survives any bytes after the first frame', (t) => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 20 }), (pieces) => {
      try {
        read([frame(SETTINGS, 0, 0), ...pieces.map((piece) => Buffer.from(piece))]);
      } catch (error) {
        t.true(error instanceof Http2Violation, String(error));
      }
    }),
    { numRuns: 2000 },
  );
});

test('FrameReader skips the long text of a GOAWAY that is cut', (t) => {
  const goaway = frame(GOAWAY, 0, 0, Buffer.alloc(5000, 1));
  const ping = frame(PING, 0, 0, Buffer.alloc(8));
  const input = Buffer.concat([frame(SETTINGS, 0, 0), goaway, ping]);
  const lines = read([input.subarray(0, 100), input.subarray(100)]);
  t.is(lines[1], `${GOAWAY} 0 0:${'01'.repeat(8 + 256)}`);
  t.is(lines[2], `${PING} 0 0:${'00'.repeat(8)}`);
});

test('control frames are written as the RFC draws them', (t) => {
  const buffer = Buffer.alloc(100);
  const written = (end: number): Buffer => buffer.subarray(1, end);
  const settings = new Map([
    [3, 200],
    [4, 1 << 22],
  ]);
  const payload = Buffer.from('0003000000c8000400400000', 'hex');
  t.deepEqual(written(encodeSettings(buffer, 1, settings)), frame(SETTINGS, 0, 0, payload));
  t.deepEqual(written(encodeSettingsAck(buffer, 1)), frame(SETTINGS, FLAG_ACK, 0));
  const eight = Buffer.from('fffffffe00000001', 'hex');
  t.deepEqual(written(encodePing(buffer, 1, 1, 0xfffffffe, 1)), frame(PING, 1, 0, eight));
  const goaway = Buffer.from('7fffffff0000000b', 'hex');
  t.deepEqual(written(encodeGoaway(buffer, 1, 0x7fffffff, 11)), frame(GOAWAY, 0, 0, goaway));
  const four = Buffer.from('00000008', 'hex');
  t.deepEqual(written(encodeRstStream(buffer, 1, 0x10203, 8)), frame(RST_STREAM, 0, 0x10203, four));
  t.deepEqual(written(encodeWindowUpdate(buffer, 1, 7, 8)), frame(WINDOW_UPDATE, 0, 7, four));
});
