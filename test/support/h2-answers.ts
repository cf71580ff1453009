import test from 'ava';
import { FLAG_END_STREAM } from '../../net/h2/frame.ts';
import type { HeaderList } from '../../net/h2/headers.ts';
import type { Http2Stream } from '../../net/h2/stream.ts';
import { headers, request } from './h2-frames.ts';
import { RawPeer, serveH2 } from './h2-peer.ts';

const E = FLAG_END_STREAM;

/** Answers when the request is complete; at `/early` at once, at `/hold` never. */
export function answerAtEnd(stream: Http2Stream, list: HeaderList): void {
  const path = list[list.indexOf(':path') + 1];
  if (path === '/hold') return;
  const tunnel = list.includes('CONNECT');
  if (tunnel || path === '/early') stream.respond([':status', '200'], { endStream: !tunnel });
  stream.setSink({
    capacity: () => 1 << 20,
    onData: (_bytes, _offset, length) => length,
    onEnd() {
      if (tunnel) stream.end();
      else if (!stream.answered) stream.respond([':status', '200'], { endStream: true });
    },
    onError: () => undefined,
    onWritable: () => undefined,
  });
}

export const get = (id: number, flags = E, path = '/'): Buffer =>
  headers(id, flags, ...request('GET', path));
export const post = (id: number, ...more: string[]): Buffer =>
  headers(id, 0, ...request('POST'), ...more);

/** What the server answers to these bytes, sent after the handshake: first a fault, else the response. */
export const answers = test.macro({
  async exec(t, bytes: Buffer[], ...expected: string[]) {
    const server = serveH2(t, answerAtEnd, { maxStreams: 3, maxFrameBytes: 16384 });
    const peer = await RawPeer.connect(server.port);
    await peer.begin();
    peer.send(...bytes);
    for (const answer of expected) t.is(await peer.answer(), answer);
    const last = expected.at(-1) ?? '';
    if (!last.startsWith('GOAWAY')) {
      await peer.ping();
      t.deepEqual(peer.pending(), []);
      peer.send(get(101));
      t.is(await peer.answer(), 'HEADERS 101 200', 'the connection goes on');
      peer.socket.destroy();
    } else {
      await peer.untilEnd();
      await server.untilClosed();
      t.is(server.connections[0]?.activeStreams, 0);
    }
  },
  title: (given = '') => `the server answers ${given}`,
});

/** Frames after the handshake, and the answers to them. */
export type AnswerRow = readonly [sent: Buffer[], ...expected: string[]];

/** A test for each row of a section; how many. */
export function testAnswers(section: string, rows: Readonly<Record<string, AnswerRow>>): number {
  const all = Object.entries(rows);
  for (const [title, [sent, ...expected]] of all)
    test(`${title} (${section})`, answers, sent, ...expected);
  return all.length;
}
