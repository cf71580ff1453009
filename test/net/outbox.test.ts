import test from 'ava';
import { type ByteStream, HEADROOM, type SharedBytes } from '../../net/byte-stream.ts';
import { allocateShared } from '../../net/native/memory.ts';
import { Outbox, SMALL_STAGE_BYTES, smallStages, StagePool } from '../../net/outbox.ts';

/** A peer that reads so many bytes at a time. */
class NarrowTransport implements ByteStream {
  readonly pieces: Buffer[] = [];
  room: number;
  readonly closed = false;
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

function write(outbox: Outbox, text: string): void {
  const at = outbox.room(text.length);
  outbox.commit(at + outbox.buffer.write(text, at, 'latin1'));
}

function outboxOver(transport: ByteStream, stages: StagePool): Outbox {
  const owner = { onOutboxReady: () => undefined, onOutboxOverflow: () => undefined };
  return new Outbox(transport, owner, stages);
}

test('what outgrows a small stage moves to a large one, and goes out in one write', (t) => {
  const transport = new NarrowTransport(1 << 20);
  const outbox = outboxOver(transport, new StagePool(4 * SMALL_STAGE_BYTES, 2, smallStages));
  const body = 'x'.repeat(SMALL_STAGE_BYTES);
  write(outbox, HEAD);
  write(outbox, body);
  write(outbox, BODY);
  t.deepEqual(transport.pieces, [], 'joined');
  outbox.flush();
  t.deepEqual(transport.pieces.map(String), [HEAD + body + BODY]);
});

test('no byte is lost or doubled when a blocked connection outgrows its stage', (t) => {
  const transport = new NarrowTransport(5);
  const outbox = outboxOver(transport, new StagePool(4 * SMALL_STAGE_BYTES, 2, smallStages));
  const texts = [
    HEAD,
    'x'.repeat(SMALL_STAGE_BYTES),
    BODY,
    'y'.repeat(4 * SMALL_STAGE_BYTES),
    BODY,
  ];
  for (const [index, text] of texts.entries()) {
    write(outbox, text);
    if (index === 0) outbox.flush();
  }
  t.is(transport.bytesWritten, 5);
  for (let rounds = 0; !outbox.isEmpty; rounds++) {
    t.true(rounds < 100);
    transport.room = 999;
    outbox.unblock();
  }
  t.is(Buffer.concat(transport.pieces).toString(), texts.join(''));
});

test('a turn holds no more large stages than are kept: beyond these what is staged is written at once', (t) => {
  const stages = new StagePool(4 * SMALL_STAGE_BYTES, 2, smallStages);
  const large = 'x'.repeat(2 * SMALL_STAGE_BYTES);
  const transports = Array.from({ length: 5 }, () => new NarrowTransport(1 << 20));
  const outboxes = transports.map((transport) => outboxOver(transport, stages));
  for (const outbox of outboxes) write(outbox, large);
  for (const outbox of outboxes.slice(2)) write(outbox, HEAD);
  t.deepEqual(
    transports.map(({ pieces }) => pieces.length),
    [0, 0, 1, 1, 1],
    'small stages are not written, however many there are',
  );
  for (const outbox of outboxes) outbox.flush();
  t.deepEqual(
    transports.map(({ pieces }) => Buffer.concat(pieces).toString()),
    [large, large, large + HEAD, large + HEAD, large + HEAD],
  );
});
