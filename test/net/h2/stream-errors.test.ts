import { EventEmitter, once } from 'node:events';
import test from 'ava';
import { CANCEL, PROTOCOL_ERROR } from '../../../net/h2/errors.ts';
import { DATA, FLAG_END_STREAM, HEADERS, RST_STREAM } from '../../../net/h2/frame.ts';
import { Collector } from '../../support/collect.ts';
import { openStream, startClient } from '../../support/h2-client.ts';
import { frame, headers, request, u32 } from '../../support/h2-frames.ts';
import { RawPeer, serveH2 } from '../../support/h2-peer.ts';

test('a stream’s error tells a reset by the peer from what the peer did wrong, and from its connection’s end', async (t) => {
  const { connection, peer } = await startClient(t);
  const [[, first], [, second], [, third]] = [
    openStream(connection),
    openStream(connection),
    openStream(connection),
  ];
  await peer.next((f) => f.type === HEADERS && f.streamId === 5);
  peer.send(frame(RST_STREAM, 0, 1, u32(PROTOCOL_ERROR)));
  peer.send(headers(3, 0, 'x-no', 'status'));
  await first.until((c) => c.error !== undefined);
  await second.until((c) => c.error !== undefined);
  peer.socket.destroy();
  await third.until((c) => c.error !== undefined);
  t.like(first.error, { h2Code: PROTOCOL_ERROR, resetByPeer: true });
  t.like(second.error, { h2Code: PROTOCOL_ERROR, resetByPeer: false });
  t.like(third.error, { resetByPeer: false });
});

test('a server hears at once of a reset behind the end, and still gets what came before it', async (t) => {
  const events = new EventEmitter();
  const told: string[] = [];
  let body: Collector | undefined;
  const server = serveH2(t, (stream) => {
    stream.setHandler({
      onAbandoned: () => {
        told.push('abandoned');
        events.emit('told');
      },
      onError: () => told.push('error'),
    });
    body = new Collector(stream);
    body.allowance = 2;
  });
  const peer = await RawPeer.connect(server.port);
  t.teardown(() => peer.socket.destroy());
  await peer.begin();
  peer.send(headers(1, 0, ...request('POST')));
  await peer.ping(); // the sink is there
  peer.send(frame(DATA, FLAG_END_STREAM, 1, Buffer.from('whole')));
  peer.send(frame(RST_STREAM, 0, 1, u32(CANCEL)));
  await once(events, 'told');
  t.deepEqual(told, ['abandoned']);
  t.is(body?.text, 'wh');
  body?.release();
  await body?.until((c) => c.error !== undefined);
  t.is(body?.text, 'whole');
  t.deepEqual(told, ['abandoned', 'error']);
});

for (const { name, frames, text, ended } of [
  { name: 'reset behind its response', frames: [], text: '', ended: false },
  {
    name: 'reset behind its whole body',
    frames: [frame(DATA, FLAG_END_STREAM, 1, Buffer.from('whole'))],
    text: 'whole',
    ended: true,
  },
])
  test(`a sink that comes late is told all of a stream that was ${name}`, async (t) => {
    const { connection, peer } = await startClient(t);
    const broken = Promise.withResolvers<Error>();
    let errors = 0;
    const stream = connection.openStream(request(), {
      onError(error) {
        errors++;
        broken.resolve(error);
      },
    });
    await peer.next((f) => f.type === HEADERS);
    const reset = frame(RST_STREAM, 0, 1, u32(CANCEL));
    peer.send(headers(1, 0, ':status', '200'), ...frames, reset);
    const error = await broken.promise;
    if (stream === undefined) throw new Error('no stream');
    const sink = new Collector(stream);
    await sink.until((c) => c.error !== undefined);
    t.like(sink, { text, ended, error });
    t.is(errors, 1);
  });
