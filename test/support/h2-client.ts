import { once } from 'node:events';
import net from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { socketAddress } from '../../base/address.ts';
import { Http2Connection } from '../../net/h2/connection.ts';
import type { Http2ConnectionError, Http2StreamError } from '../../net/h2/errors.ts';
import { CLIENT_PREFACE, FLAG_ACK, HEADERS, SETTINGS } from '../../net/h2/frame.ts';
import type { HeaderList } from '../../net/h2/headers.ts';
import type { Http2Options } from '../../net/h2/options.ts';
import type { Http2Stream } from '../../net/h2/stream.ts';
import { connectTcp } from '../../net/tcp.ts';
import { Collector } from './collect.ts';
import { frame, request } from './h2-frames.ts';
import { RawPeer } from './h2-peer.ts';

export type Client = Readonly<{
  connection: Http2Connection;
  peer: RawPeer;
  closed: Promise<Http2ConnectionError | undefined>;
}>;

/** Our client with a scripted server, which has sent its SETTINGS. */
export async function startClient(
  t: ExecutionContext,
  options: Http2Options = {},
  ...settings: Buffer[]
): Promise<Client> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'connection');
  const { port } = server.address() as net.AddressInfo;
  const transport = await connectTcp(socketAddress('127.0.0.1', port));
  let onClose: (error?: Http2ConnectionError) => void = () => undefined;
  const closed = new Promise<Http2ConnectionError | undefined>((resolve) => (onClose = resolve));
  const connection = Http2Connection.client(transport, options, {
    onClose: (error) => {
      onClose(error);
    },
  });
  const [socket] = (await accepted) as [net.Socket];
  const peer = new RawPeer(socket, CLIENT_PREFACE.length);
  t.teardown(() => {
    connection.close();
    socket.destroy();
    server.close();
  });
  peer.send(frame(SETTINGS, 0, 0, Buffer.concat(settings)), frame(SETTINGS, FLAG_ACK, 0));
  await peer.next((f) => f.type === SETTINGS && f.flags === FLAG_ACK);
  return { connection, peer, closed };
}

export type Told = {
  responses: HeaderList[];
  trailers: HeaderList[];
  error: Http2StreamError | undefined;
};

export function openStream(
  connection: Http2Connection,
  list = request(),
): [Http2Stream, Collector, Told] {
  const told: Told = { responses: [], trailers: [], error: undefined };
  const stream = connection.openStream(list, {
    onResponse: (response) => told.responses.push(response),
    onTrailers: (trailers) => told.trailers.push(trailers),
    onError: (error) => (told.error = error),
  });
  if (stream === undefined) throw new Error('no stream');
  return [stream, new Collector(stream), told];
}

/** What our client makes of these bytes of a server, sent after its request: the fault is the stream's or all's. */
export const refusals = test.macro({
  async exec(t, bytes: Buffer[], answer: string, list: string[] = request()) {
    const { connection, peer, closed } = await startClient(t);
    const [, body, told] = openStream(connection, list);
    if (list.includes('/stalled')) body.allowance = 0;
    await peer.next((f) => f.type === HEADERS);
    peer.send(...bytes);
    t.is(await peer.answer(), answer);
    await body.until((c) => c.error !== undefined);
    t.is(body.error, told.error);
    t.is(`${told.error?.h2Code}`, answer.split(' ').at(-1) ?? '');
    t.is(connection.activeStreams, 0);
    if (answer.startsWith('GOAWAY')) {
      t.is(`${(await closed)?.h2Code}`, answer.split(' ').at(-1) ?? '');
      await peer.untilEnd();
    } else await peer.ping();
  },
  title: (given = '') => `the client refuses ${given}`,
});
