import { once } from 'node:events';
import { setImmediate as nextRound, setTimeout as pause } from 'node:timers/promises';
import test from 'ava';
import { allocateShared } from '../../../net/native/memory.ts';
import { HEADROOM } from '../../../net/byte-stream.ts';
import { GOAWAY } from '../../../net/h2/frame.ts';
import { INITIAL_WINDOW_SIZE } from '../../../net/h2/settings.ts';
import { LINGER_MS } from '../../../net/h2/limits.ts';
import { makeH2Clock } from '../../support/h2-clock.ts';
import { frame, headers, request, setting, u32, windowUpdate } from '../../support/h2-frames.ts';
import { RawPeer, serveH2 } from '../../support/h2-peer.ts';

const PIECE_BYTES = 1 << 20;

test('a peer that has ended is waited for by nobody, and nothing keeps its connection', async (t) => {
  const clock = makeH2Clock();
  const server = serveH2(t, () => undefined, { clock });
  for (const last of [[], [frame(GOAWAY, 0, 0, u32(0, 0))]]) {
    const before = server.closed.length;
    const peer = await RawPeer.connect(server.port);
    await peer.begin();
    t.true(clock.timers() > 0, 'it is asked for signs of life');
    peer.send(...last);
    peer.socket.end();
    await server.untilClosed(before + 1);
    await peer.untilEnd();
    await nextRound();
    t.is(clock.timers(), 0);
  }
});

test('a peer that has ended and does not read what it is owed is reset a second later', async (t) => {
  const clock = makeH2Clock();
  const much = allocateShared(HEADROOM + PIECE_BYTES);
  let sent = 0;
  const server = serveH2(
    t,
    (stream) => {
      const send = (): void => {
        for (let room = stream.capacity(); room > 0; room = stream.capacity())
          sent += stream.write(much, HEADROOM, Math.min(room, PIECE_BYTES));
      };
      stream.setSink({
        ...{ capacity: () => 0, onData: () => 0, onEnd: () => undefined },
        ...{ onError: () => undefined, onWritable: send },
      });
      stream.respond([':status', '200']);
      send();
    },
    { clock },
  );
  const peer = await RawPeer.connect(server.port);
  await peer.begin(setting(INITIAL_WINDOW_SIZE, 0x7fff_ffff));
  peer.send(windowUpdate(0, 0x7fff_0000), headers(1, 0x5, ...request()));
  peer.socket.pause();
  for (let before = -1; sent !== before; ) {
    before = sent;
    await pause(50); // until the kernel takes no more
  }
  peer.send(frame(GOAWAY, 0, 0, u32(0, 0)));
  peer.socket.end();
  await server.untilClosed();
  await nextRound();
  t.true(clock.timers() > 0);
  const cut = once(peer.socket, 'error');
  clock.advance(LINGER_MS);
  peer.socket.resume();
  await cut;
});
