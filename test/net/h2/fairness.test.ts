import test, { type ExecutionContext } from 'ava';
import { HEADROOM } from '../../../net/byte-stream.ts';
import { DATA, FLAG_END_STREAM, HEADERS, WINDOW_UPDATE } from '../../../net/h2/frame.ts';
import { INITIAL_WINDOW_BYTES, MIN_FRAME_BYTES } from '../../../net/h2/limits.ts';
import { shared } from '../../support/collect.ts';
import { frame, headers, request, setting, u32 } from '../../support/h2-frames.ts';
import { RawPeer, serveH2 } from '../../support/h2-peer.ts';

const INITIAL_WINDOW_SIZE = 4;
const piece = shared(Buffer.alloc(1 << 20, 'e'));

/** A client whose streams are never what limits; each sends at once and goes on when it is asked to, or does not. */
async function connect(
  t: ExecutionContext,
  goesOn: (streamId: number) => boolean,
): Promise<RawPeer> {
  const server = serveH2(t, (stream) => {
    const send = (): void => {
      stream.write(piece.bytes, HEADROOM, piece.length);
    };
    stream.respond([':status', '200']);
    stream.setSink({
      capacity: () => 0,
      onData: () => 0,
      onEnd: () => undefined,
      onError: () => undefined,
      onWritable() {
        if (goesOn(stream.id)) send();
      },
    });
    send();
  });
  const peer = await RawPeer.connect(server.port);
  t.teardown(() => peer.socket.destroy());
  await peer.begin(setting(INITIAL_WINDOW_SIZE, 1 << 24));
  return peer;
}

/** Opens them one after another; the first takes all of the connection's window. */
async function open(peer: RawPeer, ...streamIds: readonly number[]): Promise<void> {
  for (const id of streamIds) {
    peer.send(headers(id, FLAG_END_STREAM, ...request()));
    await peer.next(({ type, streamId }) => type === HEADERS && streamId === id);
    if (id === streamIds[0]) await peer.data(INITIAL_WINDOW_BYTES);
  }
}

/** Whose DATA comes for so much of the connection's window. */
async function nextSender(peer: RawPeer, bytes: number): Promise<number> {
  peer.send(frame(WINDOW_UPDATE, 0, 0, u32(bytes)));
  const { streamId } = await peer.next(({ type }) => type === DATA);
  return streamId;
}

test('of streams that wait, the one that has sent least goes on, whoever waited first', async (t) => {
  const peer = await connect(t, () => true);
  await open(peer, 1, 3);
  const senders: number[] = [];
  for (let count = 0; count < 6; count++) senders.push(await nextSender(peer, MIN_FRAME_BYTES));
  t.deepEqual(senders, [3, 1, 3, 1, 3, 1]);
});

test('a stream that comes late is not given what the others had before', async (t) => {
  const peer = await connect(t, () => true);
  await open(peer, 1);
  for (let count = 0; count < 10; count++) t.is(await nextSender(peer, MIN_FRAME_BYTES), 1);
  peer.send(headers(3, FLAG_END_STREAM, ...request()));
  await peer.next(({ type, streamId }) => type === HEADERS && streamId === 3);
  const senders: number[] = [];
  for (let count = 0; count < 4; count++) senders.push(await nextSender(peer, MIN_FRAME_BYTES));
  t.deepEqual(senders, [3, 1, 3, 1]);
});

test('streams that wait and have nothing to send after all hold up no other', async (t) => {
  const peer = await connect(t, (streamId) => streamId === 21);
  await open(peer, ...Array.from({ length: 11 }, (_, index) => 1 + 2 * index));
  t.is(await nextSender(peer, 100), 21);
});
