/**
 * What our client makes of a server's frames and responses, beside the cases of client-protocol.test.ts: one table a
 * section, one test a row. An answer is `GOAWAY code` or `RST stream code`.
 */
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
import { openStream, refusals, startClient } from '../../support/h2-client.ts';
import {
  block,
  data,
  frame,
  headers,
  request,
  setting,
  settings,
  u32,
  windowUpdate,
} from '../../support/h2-frames.ts';

const E = FLAG_END_STREAM;
const H = FLAG_END_HEADERS;
const ok = headers(1, 0, ':status', '200');
const full = block(':status', '200');

const bytes = (...values: number[]): Buffer => Buffer.from(values);
const respond = (...more: string[]): Buffer => headers(1, 0, ':status', '200', ...more);
const coded = (hex: string): Buffer =>
  frame(HEADERS, H, 1, Buffer.concat([full, Buffer.from(hex.replaceAll(' ', ''), 'hex')]));
const tunnel = [':method', 'CONNECT', ':authority', 'a:1'];

type Row = readonly [sent: Buffer[], answer: string, request?: string[]];
let count = 0;
function table(section: string, rows: Readonly<Record<string, Row>>): void {
  for (const [title, [sent, answer, list]] of Object.entries(rows)) {
    count++;
    test(`${title} (${section})`, refusals, sent, answer, list ?? request());
  }
}

table('RFC 9113 4', {
  'a frame beyond 1 MiB': [[frame(DATA, 0, 1, bytes(), (1 << 20) + 1)], 'GOAWAY 6'],
  'an unknown frame beyond 1 MiB': [[frame(99, 0, 0, bytes(), (1 << 20) + 1)], 'GOAWAY 6'],
  'PRIORITY of four bytes': [[frame(PRIORITY, 0, 1, Buffer.alloc(4))], 'GOAWAY 6'],
  'RST_STREAM of five bytes': [[frame(RST_STREAM, 0, 1, Buffer.alloc(5))], 'GOAWAY 6'],
  'SETTINGS of five bytes': [[frame(SETTINGS, 0, 0, Buffer.alloc(5))], 'GOAWAY 6'],
  'SETTINGS ACK with a payload': [[frame(SETTINGS, FLAG_ACK, 0, setting(4, 1))], 'GOAWAY 6'],
  'PING of nine bytes': [[frame(PING, 0, 0, Buffer.alloc(9))], 'GOAWAY 6'],
  'GOAWAY of seven bytes': [[frame(GOAWAY, 0, 0, Buffer.alloc(7))], 'GOAWAY 6'],
  'WINDOW_UPDATE of five bytes': [[frame(WINDOW_UPDATE, 0, 0, Buffer.alloc(5))], 'GOAWAY 6'],
  'DATA inside a block': [[frame(HEADERS, 0, 1, full), data(1, 0, 'x')], 'GOAWAY 1'],
  'PING inside a block': [[frame(HEADERS, 0, 1, full), frame(PING, 0, 0, u32(1, 2))], 'GOAWAY 1'],
  'SETTINGS inside a block': [[frame(HEADERS, 0, 1, full), settings()], 'GOAWAY 1'],
  'HEADERS inside a block': [[frame(HEADERS, 0, 1, full), ok], 'GOAWAY 1'],
  'an unknown frame inside a block': [[frame(HEADERS, 0, 1, full), frame(99, 0, 0)], 'GOAWAY 1'],
  'a CONTINUATION of another stream': [
    [frame(HEADERS, 0, 1, full), frame(CONTINUATION, H, 3)],
    'GOAWAY 1',
  ],
  'a CONTINUATION without a block': [[frame(CONTINUATION, H, 1)], 'GOAWAY 1'],
  'a CONTINUATION after a block': [[ok, frame(CONTINUATION, H, 1)], 'GOAWAY 1'],
  'a CONTINUATION without end': [
    [frame(HEADERS, 0, 1, full), ...Array.from({ length: 9 }, () => frame(CONTINUATION, 0, 1))],
    'GOAWAY 11',
  ],
});

table('RFC 9113 5', {
  'DATA on an idle stream': [[data(3, 0, 'x')], 'GOAWAY 1'],
  'DATA on an even stream': [[data(2, 0, 'x')], 'GOAWAY 1'],
  'DATA on stream 0': [[data(0, 0, 'x')], 'GOAWAY 1'],
  'HEADERS on stream 0': [[headers(0, 0, ':status', '200')], 'GOAWAY 1'],
  'RST_STREAM on an idle stream': [[frame(RST_STREAM, 0, 3, u32(8))], 'GOAWAY 1'],
  'RST_STREAM on stream 0': [[frame(RST_STREAM, 0, 0, u32(8))], 'GOAWAY 1'],
  'WINDOW_UPDATE on an idle stream': [[windowUpdate(3, 1)], 'GOAWAY 1'],
  'PRIORITY on stream 0': [[frame(PRIORITY, 0, 0, Buffer.alloc(5))], 'GOAWAY 1'],
  'PRIORITY on itself': [[frame(PRIORITY, 0, 1, Buffer.concat([u32(1), bytes(0)]))], 'GOAWAY 1'],
  'HEADERS with a priority on itself': [
    [frame(HEADERS, H | FLAG_PRIORITY, 1, Buffer.concat([u32(1), bytes(0), full]))],
    'GOAWAY 1',
  ],
  'DATA after END_STREAM': [[ok, data(1, E, 'x'), data(1, 0, 'y')], 'RST 1 5'],
  'HEADERS after END_STREAM': [[headers(1, E, ':status', '200'), ok], 'RST 1 5'],
  'trailers after trailers': [[ok, headers(1, E, 'a', 'b'), headers(1, E, 'a', 'b')], 'RST 1 5'],
});

table('RFC 9113 6', {
  'DATA with too much padding': [[ok, frame(DATA, FLAG_PADDED, 1, bytes(2, 0))], 'GOAWAY 1'],
  'padded DATA without a byte': [[ok, frame(DATA, FLAG_PADDED, 1)], 'GOAWAY 1'],
  'HEADERS with too much padding': [
    [frame(HEADERS, H | FLAG_PADDED, 1, bytes(9, 0x88))],
    'GOAWAY 1',
  ],
  'HEADERS too short for their priority': [
    [frame(HEADERS, H | FLAG_PRIORITY, 1, bytes(0, 0, 0))],
    'GOAWAY 1',
  ],
  'SETTINGS on a stream': [[frame(SETTINGS, 0, 1)], 'GOAWAY 1'],
  'ENABLE_PUSH 2': [[settings(setting(2, 2))], 'GOAWAY 1'],
  'INITIAL_WINDOW_SIZE 2^31': [[settings(setting(4, 2 ** 31))], 'GOAWAY 3'],
  'MAX_FRAME_SIZE 16383': [[settings(setting(5, 16383))], 'GOAWAY 1'],
  'MAX_FRAME_SIZE 2^24': [[settings(setting(5, 2 ** 24))], 'GOAWAY 1'],
  'ENABLE_CONNECT_PROTOCOL 2': [[settings(setting(8, 2))], 'GOAWAY 1'],
  'ENABLE_CONNECT_PROTOCOL taken back': [
    [settings(setting(8, 1)), settings(setting(8, 0))],
    'GOAWAY 1',
  ],
  'more settings than are taken': [[frame(SETTINGS, 0, 0, Buffer.alloc(33 * 6))], 'GOAWAY 11'],
  'an initial window that overflows a stream': [
    [windowUpdate(1, 0x7fff0000), settings(setting(4, 0x7fffffff))],
    'GOAWAY 3',
  ],
  'PUSH_PROMISE on stream 0': [[frame(PUSH_PROMISE, H, 0, u32(2))], 'GOAWAY 1'],
  'PUSH_PROMISE of one byte': [[frame(PUSH_PROMISE, H, 1, bytes(0))], 'GOAWAY 1'],
  'PING on a stream': [[frame(PING, 0, 1, u32(1, 2))], 'GOAWAY 1'],
  'GOAWAY on a stream': [[frame(GOAWAY, 0, 1, u32(1, 0))], 'GOAWAY 1'],
  'WINDOW_UPDATE 0 of the connection': [[windowUpdate(0, 0)], 'GOAWAY 1'],
  'WINDOW_UPDATE 0 of a stream': [[windowUpdate(1, 0)], 'RST 1 1'],
  'a connection window beyond 2^31-1': [[windowUpdate(0, 0x7fffffff)], 'GOAWAY 3'],
  'a stream window beyond 2^31-1': [[windowUpdate(1, 0x7fffffff)], 'RST 1 3'],
});

table('RFC 7541', {
  'a reference to index 70': [[coded('c6')], 'GOAWAY 9'],
  'a literal whose name has index 70': [[coded('7f07 00')], 'GOAWAY 9'],
  'index 0': [[coded('80')], 'GOAWAY 9'],
  'an integer without end': [[coded('ffff ffff ffff 7f')], 'GOAWAY 9'],
  'a string longer than its block': [[coded('0001 6105 62')], 'GOAWAY 9'],
  'a Huffman string with EOS in it': [[coded('0085 f2b2 4a84 ff87 4951 ffff fffa 7f')], 'GOAWAY 9'],
  'a Huffman string padded by zeros': [[coded('0085 f2b2 4a84 ff83 4950 90')], 'GOAWAY 9'],
  'a table size update behind a field': [[coded('20')], 'GOAWAY 9'],
  'a table size above ours': [
    [frame(HEADERS, H, 1, Buffer.concat([bytes(0x3f, 0xe2, 0x1f), full]))],
    'GOAWAY 9',
  ],
  'broken trailers': [[ok, frame(HEADERS, E | H, 1, bytes(0x80))], 'GOAWAY 9'],
});

const wrong = (...list: string[]): Row => [[headers(1, 0, ...list)], 'RST 1 1'];
table('RFC 9113 8', {
  'an empty block': [[frame(HEADERS, H, 1)], 'RST 1 1'],
  ...Object.fromEntries(
    ['', '2', '2000', '-20', '+20', '2x0', ' 200', '000', '099'].map((status): [string, Row] => [
      `:status ${JSON.stringify(status)}`,
      wrong(':status', status),
    ]),
  ),
  'two :status': wrong(':status', '200', ':status', '200'),
  ':status after a field': wrong('a', 'b', ':status', '200'),
  ':method in a response': wrong(':status', '200', ':method', 'GET'),
  ':authority in a response': wrong(':status', '200', ':authority', 'x'),
  'an unknown pseudo-header in a response': wrong(':status', '200', ':x', 'y'),
  'an upper-case name in a response': wrong(':status', '200', 'A', 'b'),
  'an empty name in a response': wrong(':status', '200', '', 'b'),
  'CR in a response': wrong(':status', '200', 'a', 'b\rc'),
  'LF in a response': wrong(':status', '200', 'a', 'b\nc'),
  'NUL in a response': wrong(':status', '200', 'a', 'b\0c'),
  'a space in front of a value': wrong(':status', '200', 'a', ' b'),
  'keep-alive in a response': wrong(':status', '200', 'keep-alive', '1'),
  'proxy-connection in a response': wrong(':status', '200', 'proxy-connection', 'x'),
  'transfer-encoding in a response': wrong(':status', '200', 'transfer-encoding', 'chunked'),
  'upgrade in a response': wrong(':status', '200', 'upgrade', 'h2c'),
  'te in a response': wrong(':status', '200', 'te', 'gzip'),
  'two content-lengths': wrong(':status', '200', 'content-length', '1', 'content-length', '1'),
  ...Object.fromEntries(
    ['', '5, 5', '0x5', '-1', '+1', '1e1'].map((length): [string, Row] => [
      `content-length ${JSON.stringify(length)}`,
      wrong(':status', '200', 'content-length', length),
    ]),
  ),
  'a content-length with END_STREAM': [
    [headers(1, E, ':status', '200', 'content-length', '1')],
    'RST 1 1',
  ],
  'an upper-case name in a 1xx response': wrong(':status', '103', 'A', 'b'),
  'a 1xx response after the final one': [[ok, headers(1, 0, ':status', '103')], 'RST 1 1'],
  'DATA after a 1xx response': [[headers(1, 0, ':status', '103'), data(1, 0, 'x')], 'RST 1 1'],
  'a body of a 304': [[headers(1, 0, ':status', '304'), data(1, 0, 'x')], 'RST 1 1'],
  'trailers without END_STREAM': [[ok, headers(1, 0, 'a', 'b')], 'RST 1 1'],
  'trailers with :status': [[ok, headers(1, E, ':status', '200')], 'RST 1 1'],
  'trailers with connection': [[ok, headers(1, E, 'connection', 'close')], 'RST 1 1'],
  'trailers before content-length is reached': [
    [respond('content-length', '3'), data(1, 0, 'xx'), headers(1, E, 'a', 'b')],
    'RST 1 1',
  ],
  'a byte too many in the second DATA frame': [
    [respond('content-length', '2'), data(1, 0, 'x'), data(1, 0, 'yz')],
    'RST 1 1',
  ],
  'trailers on a tunnel': [[ok, data(1, 0, 'x'), headers(1, E, 'a', 'b')], 'RST 1 1', tunnel],
  'HEADERS on a tunnel': [[ok, headers(1, 0, 'a', 'b')], 'RST 1 1', tunnel],
  'a body of a tunnel that was refused, beyond its content-length': [
    [headers(1, 0, ':status', '503', 'content-length', '1'), data(1, 0, 'xx')],
    'RST 1 1',
    tunnel,
  ],
});

test('the client takes trailers of a tunnel that was refused', async (t) => {
  const { connection, peer } = await startClient(t);
  const [, body, told] = openStream(connection, tunnel);
  await peer.next((f) => f.type === HEADERS);
  peer.send(headers(1, 0, ':status', '503'), data(1, 0, 'no'), headers(1, E, 'why', 'so'));
  await body.until((c) => c.ended);
  t.is(body.text, 'no');
  t.deepEqual(told.trailers, [['why', 'so']]);
});

test('the table of frames is whole', (t) => {
  t.true(count >= 100, `${count} rows`);
});
