import test from 'ava';
import {
  CONTINUATION,
  DATA,
  FLAG_ACK,
  FLAG_END_HEADERS,
  FLAG_END_STREAM,
  FLAG_PADDED,
  FLAG_PRIORITY,
  GOAWAY,
  HEADERS,
  PING,
  PRIORITY,
  PUSH_PROMISE,
  RST_STREAM,
  SETTINGS,
  WINDOW_UPDATE,
} from '../../../net/h2/frame.ts';
import { data, block, frame, headers, request, setting, u32 } from '../../support/h2-frames.ts';
import { answerAtEnd, answers, get, post } from '../../support/h2-answers.ts';
import { RawPeer, serveH2 } from '../../support/h2-peer.ts';

const E = FLAG_END_STREAM;

test('a request', answers, [get(1)], 'HEADERS 1 200');
test(
  'an unknown frame type by ignoring it',
  answers,
  [frame(99, 255, 0, u32(1)), get(1)],
  'HEADERS 1 200',
);
test(
  'unknown flags and the reserved bit by ignoring them',
  answers,
  [frame(HEADERS, 0xc2 | 5, 0x80000001, block(...request()))],
  'HEADERS 1 200',
);
test(
  'unknown settings by ignoring them',
  answers,
  [frame(SETTINGS, 0, 0, setting(0xff, 1)), get(1)],
  'HEADERS 1 200',
);
test(
  'unknown error codes by ignoring them',
  answers,
  [get(1, 0), frame(RST_STREAM, 0, 1, u32(0xff)), get(3)],
  'HEADERS 3 200',
);
test(
  'PRIORITY of an idle stream by ignoring it',
  answers,
  [frame(PRIORITY, 0, 7, u32(1, 0).subarray(0, 5)), get(9)],
  'HEADERS 9 200',
);
test(
  'a padded request with priority',
  answers,
  [
    frame(
      HEADERS,
      E | 4 | FLAG_PADDED | FLAG_PRIORITY,
      1,
      Buffer.concat([Buffer.from([3, 0, 0, 0, 0, 9]), block(...request()), Buffer.alloc(3)]),
    ),
  ],
  'HEADERS 1 200',
);
test(
  'a request in CONTINUATION frames',
  answers,
  [
    frame(HEADERS, E, 1, block(...request()).subarray(0, 5)),
    frame(CONTINUATION, 0, 1),
    frame(CONTINUATION, FLAG_END_HEADERS, 1, block(...request()).subarray(5)),
  ],
  'HEADERS 1 200',
);
test(
  'padded DATA and trailers',
  answers,
  [
    post(1, 'content-length', '2'),
    frame(DATA, FLAG_PADDED, 1, Buffer.from([3, 104, 105, 0, 0, 0])),
    headers(1, E, 'x-sum', '1'),
  ],
  'HEADERS 1 200',
);
test(
  'streams beyond the limit with REFUSED_STREAM',
  answers,
  [get(1, 0), get(3, 0), get(5, 0), get(7), ...[1, 3, 5].map((id) => data(id, E, ''))],
  'RST 7 7',
  'HEADERS 1 200',
  'HEADERS 3 200',
  'HEADERS 5 200',
);

// RFC 9113 section 4: frame sizes and header blocks
test(
  'a frame beyond its limit',
  answers,
  [post(1), frame(DATA, 0, 1, Buffer.alloc(16385))],
  'GOAWAY 6',
);
test('a broken header block', answers, [frame(HEADERS, 5, 1, Buffer.from([0x80]))], 'GOAWAY 9');
test(
  'another frame inside a header block',
  answers,
  [frame(HEADERS, 1, 1, block(...request())), frame(PRIORITY, 0, 1, Buffer.alloc(5))],
  'GOAWAY 1',
);
test(
  'an unknown frame inside a header block',
  answers,
  [frame(HEADERS, 1, 1, block(...request())), frame(99, 0, 0)],
  'GOAWAY 1',
);
test(
  'a CONTINUATION of another stream',
  answers,
  [frame(HEADERS, 1, 1, block(...request())), frame(CONTINUATION, 4, 3)],
  'GOAWAY 1',
);
test('a CONTINUATION without a block', answers, [frame(CONTINUATION, 4, 1)], 'GOAWAY 1');
test('a CONTINUATION after the block', answers, [get(1, 0), frame(CONTINUATION, 4, 1)], 'GOAWAY 1');
test(
  'too many CONTINUATION frames',
  answers,
  [frame(HEADERS, 1, 1), ...Array.from({ length: 9 }, () => frame(CONTINUATION, 0, 1))],
  'GOAWAY 11',
);
test(
  'a header block that is too long',
  answers,
  [
    frame(HEADERS, 1, 1, Buffer.alloc(16384)),
    ...Array.from({ length: 4 }, () => frame(CONTINUATION, 0, 1, Buffer.alloc(16384))),
  ],
  'GOAWAY 11',
);

// Section 5.1: states
test('DATA on an idle stream', answers, [data(1, 0, 'x')], 'GOAWAY 1');
test('RST_STREAM on an idle stream', answers, [frame(RST_STREAM, 0, 1, u32(8))], 'GOAWAY 1');
test('WINDOW_UPDATE on an idle stream', answers, [frame(WINDOW_UPDATE, 0, 1, u32(8))], 'GOAWAY 1');
test(
  'DATA after the end of a request that is answered',
  answers,
  [get(1), data(1, E, 'x')],
  'HEADERS 1 200',
  'GOAWAY 5',
);
test(
  'HEADERS after the end of a request that is answered',
  answers,
  [get(1), get(1)],
  'HEADERS 1 200',
  'GOAWAY 5',
);
test(
  'DATA after a RST_STREAM of its own',
  answers,
  [get(1, 0), frame(RST_STREAM, 0, 1, u32(8)), data(1, E, 'x')],
  'GOAWAY 5',
);
test(
  'HEADERS after a RST_STREAM of its own',
  answers,
  [get(1, 0), frame(RST_STREAM, 0, 1, u32(8)), get(1)],
  'GOAWAY 5',
);
test(
  'WINDOW_UPDATE and RST_STREAM after the end by ignoring them',
  answers,
  [get(1), frame(WINDOW_UPDATE, 0, 1, u32(8)), frame(RST_STREAM, 0, 1, u32(8))],
  'HEADERS 1 200',
);
test(
  'DATA on a stream that we reset, by ignoring it',
  answers,
  [post(1, 'content-length', '1'), data(1, 0, 'xx'), data(1, E, 'x'), get(3)],
  'RST 1 1',
  'HEADERS 3 200',
);
test(
  'trailers on a stream that we reset, by ignoring them',
  answers,
  [post(1, 'content-length', '1'), data(1, 0, 'xx'), headers(1, E, 'a', 'b'), get(3)],
  'RST 1 1',
  'HEADERS 3 200',
);
test('an even stream', answers, [get(2)], 'GOAWAY 1');
test('a stream id that went down', answers, [get(5), get(3)], 'HEADERS 5 200', 'GOAWAY 1');

// Section 6: each frame
test('DATA on stream 0', answers, [data(0, 0, 'x')], 'GOAWAY 1');
test(
  'DATA with padding longer than itself',
  answers,
  [post(1), frame(DATA, FLAG_PADDED, 1, Buffer.from([2, 0]))],
  'GOAWAY 1',
);
test('empty DATA with padding', answers, [post(1), frame(DATA, FLAG_PADDED, 1)], 'GOAWAY 1');
test('HEADERS on stream 0', answers, [get(0)], 'GOAWAY 1');
test(
  'HEADERS with padding longer than itself',
  answers,
  [frame(HEADERS, 5 | FLAG_PADDED, 1, Buffer.from([9, 0x82]))],
  'GOAWAY 1',
);
test(
  'HEADERS too short for their priority',
  answers,
  [frame(HEADERS, 5 | FLAG_PRIORITY, 1, Buffer.alloc(3))],
  'GOAWAY 1',
);
test(
  'HEADERS with priority on itself',
  answers,
  [
    frame(
      HEADERS,
      5 | FLAG_PRIORITY,
      1,
      Buffer.concat([u32(1), Buffer.from([0]), block(...request())]),
    ),
  ],
  'GOAWAY 1',
);
test('PRIORITY on stream 0', answers, [frame(PRIORITY, 0, 0, Buffer.alloc(5))], 'GOAWAY 1');
test('PRIORITY of four bytes', answers, [frame(PRIORITY, 0, 1, Buffer.alloc(4))], 'GOAWAY 6');
test('PRIORITY on itself', answers, [frame(PRIORITY, 0, 1, u32(1, 0).subarray(0, 5))], 'GOAWAY 1');
test('RST_STREAM on stream 0', answers, [frame(RST_STREAM, 0, 0, u32(8))], 'GOAWAY 1');
test(
  'RST_STREAM of three bytes',
  answers,
  [get(1, 0), frame(RST_STREAM, 0, 1, Buffer.alloc(3))],
  'GOAWAY 6',
);
test('SETTINGS on a stream', answers, [frame(SETTINGS, 0, 1)], 'GOAWAY 1');
test('SETTINGS of three bytes', answers, [frame(SETTINGS, 0, 0, Buffer.alloc(3))], 'GOAWAY 6');
test(
  'SETTINGS ACK with a payload',
  answers,
  [frame(SETTINGS, FLAG_ACK, 0, setting(1, 1))],
  'GOAWAY 6',
);
test(
  'SETTINGS with too many entries',
  answers,
  [frame(SETTINGS, 0, 0, Buffer.alloc(33 * 6))],
  'GOAWAY 11',
);
test('ENABLE_PUSH 2', answers, [frame(SETTINGS, 0, 0, setting(2, 2))], 'GOAWAY 1');
test('INITIAL_WINDOW_SIZE 2^31', answers, [frame(SETTINGS, 0, 0, setting(4, 2 ** 31))], 'GOAWAY 3');
test('MAX_FRAME_SIZE 16383', answers, [frame(SETTINGS, 0, 0, setting(5, 16383))], 'GOAWAY 1');
test('MAX_FRAME_SIZE 2^24', answers, [frame(SETTINGS, 0, 0, setting(5, 2 ** 24))], 'GOAWAY 1');
test('ENABLE_CONNECT_PROTOCOL 2', answers, [frame(SETTINGS, 0, 0, setting(8, 2))], 'GOAWAY 1');
test(
  'an initial window that overflows a stream',
  answers,
  [
    get(1, 0),
    frame(WINDOW_UPDATE, 0, 1, u32(0x7fff0000)),
    frame(SETTINGS, 0, 0, setting(4, 0x7fffffff)),
  ],
  'GOAWAY 3',
);
test('PUSH_PROMISE', answers, [frame(PUSH_PROMISE, 4, 1, u32(2))], 'GOAWAY 1');
test('PING on a stream', answers, [frame(PING, 0, 1, Buffer.alloc(8))], 'GOAWAY 1');
test('PING of seven bytes', answers, [frame(PING, 0, 0, Buffer.alloc(7))], 'GOAWAY 6');
test('GOAWAY on a stream', answers, [frame(GOAWAY, 0, 1, u32(0, 0))], 'GOAWAY 1');
test('GOAWAY of seven bytes', answers, [frame(GOAWAY, 0, 0, Buffer.alloc(7))], 'GOAWAY 6');
test(
  'WINDOW_UPDATE of three bytes',
  answers,
  [frame(WINDOW_UPDATE, 0, 0, Buffer.alloc(3))],
  'GOAWAY 6',
);
test(
  'WINDOW_UPDATE 0 of the connection',
  answers,
  [frame(WINDOW_UPDATE, 0, 0, u32(0))],
  'GOAWAY 1',
);
test(
  'WINDOW_UPDATE 0 of a stream',
  answers,
  [get(1, 0), frame(WINDOW_UPDATE, 0, 1, u32(0))],
  'RST 1 1',
);
test(
  'a connection window beyond 2^31-1',
  answers,
  [frame(WINDOW_UPDATE, 0, 0, u32(0x7fffffff))],
  'GOAWAY 3',
);
test(
  'a stream window beyond 2^31-1',
  answers,
  [get(1, 0), frame(WINDOW_UPDATE, 0, 1, u32(0x7fffffff))],
  'RST 1 3',
);

// Section 8: messages
const malformed: Record<string, string[]> = {
  'an upper-case name': [...request(), 'X-A', 'b'],
  'a name with a space': [...request(), 'x a', 'b'],
  'an empty name': [...request(), '', 'b'],
  'CR in a value': [...request(), 'a', 'b\rc'],
  'LF in a value': [...request(), 'a', 'b\nc'],
  'NUL in a value': [...request(), 'a', 'b\0c'],
  'a value with a space in front': [...request(), 'a', ' b'],
  'an unknown pseudo-header': [...request(), ':x', 'b'],
  'a response pseudo-header': [':status', '200', ...request()],
  'a pseudo-header after a field': ['a', 'b', ...request()],
  'a repeated :path': [...request(), ':path', '/'],
  connection: [...request(), 'connection', 'close'],
  'keep-alive': [...request(), 'keep-alive', '1'],
  'proxy-connection': [...request(), 'proxy-connection', 'x'],
  'transfer-encoding': [...request(), 'transfer-encoding', 'chunked'],
  upgrade: [...request(), 'upgrade', 'h2c'],
  'te that is not trailers': [...request(), 'te', 'trailers, deflate'],
  'no :method': request().slice(2),
  'no :scheme': request().toSpliced(2, 2),
  'no :path': request().toSpliced(4, 2),
  'an empty :path': request('GET', ''),
  'a relative :path': request('GET', 'a'),
  'a :path with a space': request('GET', '/a b'),
  '* for GET': request('GET', '*'),
  'a method that is no token': request('GE T'),
  'a host that is not :authority': [...request(), 'host', 'y'],
  'two hosts': [...request(), 'host', 'x', 'host', 'x'],
  'an :authority with userinfo': [':method', 'CONNECT', ':authority', 'a@b:1'],
  'CONNECT with :path': [':method', 'CONNECT', ':authority', 'b:1', ':path', '/'],
  'CONNECT without :authority': [':method', 'CONNECT'],
  ':protocol without leave': [...request('CONNECT'), ':protocol', 'websocket'],
  'two content-lengths': [...request(), 'content-length', '0', 'content-length', '0'],
  'a content-length that is no number': [...request(), 'content-length', '+5'],
  'a content-length without DATA': [...request(), 'content-length', '5'],
};
for (const [title, list] of Object.entries(malformed))
  test(
    `a request with ${title}`,
    answers,
    [headers(1, E, ...list), get(3)],
    'RST 1 1',
    'HEADERS 3 200',
  );

test(
  'a CONNECT request',
  answers,
  [headers(1, 0, ':method', 'CONNECT', ':authority', '10.0.0.1:80'), data(1, E, 'x')],
  'HEADERS 1 200',
);
test('OPTIONS *', answers, [headers(1, E, ...request('OPTIONS', '*'))], 'HEADERS 1 200');
test(
  'te: trailers and a matching host',
  answers,
  [headers(1, E, ...request(), 'te', 'trailers', 'host', 'X')],
  'HEADERS 1 200',
);
test(
  'more DATA than content-length',
  answers,
  [post(1, 'content-length', '1'), data(1, E, 'xx')],
  'RST 1 1',
);
test(
  'less DATA than content-length',
  answers,
  [post(1, 'content-length', '3'), data(1, E, 'xx')],
  'RST 1 1',
);
test('trailers without END_STREAM', answers, [post(1), headers(1, 0, 'a', 'b')], 'RST 1 1');
test('trailers with a pseudo-header', answers, [post(1), headers(1, E, ':path', '/')], 'RST 1 1');
test(
  'three header lists beyond the limit, and not a fourth',
  answers,
  [1, 3, 5, 7].map((id) =>
    headers(
      id,
      E,
      ...request(),
      ...Array.from({ length: 2000 }, (): string[] => ['a', 'b']).flat(),
    ),
  ),
  'RST 1 11',
  'RST 3 11',
  'RST 5 11',
  'GOAWAY 11',
);

test('the server ends a connection that begins with something else', async (t) => {
  const server = serveH2(t, answerAtEnd);
  const peer = await RawPeer.connect(server.port);
  peer.send(Buffer.from('GET / HTTP/1.1\r\n\r\n'));
  t.is(await peer.answer(), 'GOAWAY 1');
  await peer.untilEnd();
});

test('the server ends a connection whose first frame is not SETTINGS', async (t) => {
  const server = serveH2(t, answerAtEnd);
  const peer = await RawPeer.connect(server.port);
  peer.send(Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(PING, 0, 0, u32(1, 2)));
  t.is(await peer.answer(), 'GOAWAY 1');
  await peer.untilEnd();
});
