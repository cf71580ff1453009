import test from 'ava';
import { type ByteStream, HEADROOM, type SharedBytes } from '../../net/byte-stream.ts';
import { allocateShared } from '../../net/native/memory.ts';
import { Outbox } from '../../net/outbox.ts';

/** A peer that reads so many bytes at a time. */
class NarrowTransport implements ByteStream {
  readonly pieces: Buffer[] = [];
  room: number;
  readonly bytesRead = 0;
  bytesWritten = 0;

  constructor(room: number) {
    this.room = room;
  }

  capacity(): number {
    return this.room;
  }

  write({ buffer }: SharedBytes, offset: number, length: number): number {
    const taken = Math.min(length, this.room);
    if (taken > 0) this.pieces.push(Buffer.from(buffer.subarray(offset, offset + taken)));
    this.room -= taken;
    this.bytesWritten += taken;
    return taken;
  }

  setSink(): void {
    // Nothing is read from it.
  }

  resume(): void {
    // As above.
  }

  end(): void {
    // It is not ended here.
  }

  reset(): void {
    // As above.
  }
}

const HEAD = 'the head, ';
const BODY = 'and what follows it';

/** Sends HEAD and BODY through a transport that takes `room` bytes at once; what comes out, and in how many writes. */
function send(room: number, before: number): { text: string; firstTaken: number; writes: number } {
  const transport = new NarrowTransport(room);
  const outbox = new Outbox(transport, {
    onOutboxReady: () => undefined,
    onOutboxOverflow: () => undefined,
  });
  const at = outbox.room(HEAD.length);
  outbox.commit(at + outbox.buffer.write(HEAD, at, 'latin1'));
  const offset = HEADROOM + before;
  const bytes = { ...allocateShared(offset + BODY.length), free: true };
  bytes.buffer.write(BODY, offset, 'latin1');
  const firstTaken = outbox.writeBehindStage(bytes, offset, BODY.length);
  const { length: writes } = transport.pieces;
  for (let taken = firstTaken; taken < BODY.length; ) {
    transport.room = Math.max(room, 1);
    outbox.unblock();
    taken += outbox.writePart(bytes, offset + taken, BODY.length - taken);
  }
  return { text: Buffer.concat(transport.pieces).toString(), firstTaken, writes };
}

test('what is staged goes out in one write with the bytes behind it', (t) => {
  t.deepEqual(send(1000, 100), { text: HEAD + BODY, firstTaken: BODY.length, writes: 1 });
});

test('without room before the bytes it goes out by itself', (t) => {
  t.deepEqual(send(1000, HEAD.length - 1), {
    ...{ text: HEAD + BODY, firstTaken: BODY.length, writes: 2 },
  });
});

for (let room = 0; room < (HEAD + BODY).length; room++)
  test(`no byte is lost or doubled when ${room} are taken at once`, (t) => {
    const { text, firstTaken } = send(room, 100);
    t.is(text, HEAD + BODY);
    t.is(firstTaken, Math.max(0, room - HEAD.length));
  });
