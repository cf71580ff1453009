import test from 'ava';
import { GOAWAY } from '../../../net/h2/frame.ts';
import { InboundSessions } from '../../../mesh/proxy/inbound-sessions.ts';
import { headers, request } from '../../support/h2-frames.ts';
import { RawPeer, serveH2 } from '../../support/h2-peer.ts';

test('a session that has no tunnel for long is told to go, one that has goes on', async (t) => {
  const sessions = new InboundSessions(5);
  const server = serveH2(t, () => undefined);
  const busy = await RawPeer.connect(server.port);
  await busy.begin();
  busy.send(headers(1, 0, ...request('POST')));
  await busy.ping();
  const idle = await RawPeer.connect(server.port);
  await idle.begin();
  const open = [...server.connections].map((connection) => sessions.add(connection));
  t.is((await idle.next((f) => f.type === GOAWAY)).payload.readUInt32BE(4), 0);
  await busy.ping();
  t.false(busy.pending().some(({ type }) => type === GOAWAY));
  for (const session of open) sessions.delete(session);
  busy.socket.destroy();
  idle.socket.destroy();
});
