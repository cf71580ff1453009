/**
 * What our server makes of each kind of frame, right or wrong, beside the cases of protocol.test.ts: one table a section
 * of RFC 9113, one test a row. An answer is `GOAWAY code`, `RST stream code` or `HEADERS stream status`.
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
import {
  block,
  data,
  frame,
  headers,
  request,
  rstStream,
  setting,
  settings,
  u32,
  windowUpdate,
} from '../../support/h2-frames.ts';
import { get, post, testAnswers } from '../../support/h2-answers.ts';

const E = FLAG_END_STREAM;
const H = FLAG_END_HEADERS;
const ok = 'HEADERS 1 200';

const bytes = (...values: number[]): Buffer => Buffer.from(values);
const priority = (id: number, on: number): Buffer =>
  frame(PRIORITY, 0, id, Buffer.concat([u32(on), bytes(15)]));
const continuation = (id: number, flags: number, payload?: Buffer): Buffer =>
  frame(CONTINUATION, flags, id, payload);
const full = block(...request());
const hold = get(1, E, '/hold');
const early = headers(1, 0, ...request('POST', '/early'));

let count = 0;

count += testAnswers('RFC 9113 4.1', {
  'a PING with the reserved bit': [[frame(PING, 0, 0x80000000, u32(1, 2)), get(1)], ok],
  'SETTINGS with the reserved bit': [[frame(SETTINGS, 0, 0x80000000), get(1)], ok],
  'DATA with the reserved bit': [[post(1), frame(DATA, E, 0x80000001, bytes(1))], ok],
  'RST_STREAM with the reserved bit': [
    [hold, frame(RST_STREAM, 0, 0x80000001, u32(8)), data(1, 0, 'x')],
    'GOAWAY 5',
  ],
  'an increment with the reserved bit': [[windowUpdate(0, 0x80000001), get(1)], ok],
  'an increment of nothing but the reserved bit': [[windowUpdate(0, 0x80000000)], 'GOAWAY 1'],
  'PING with flags that it has not': [[frame(PING, 0xfe, 0, u32(1, 2)), get(1)], ok],
  'SETTINGS with flags that it has not': [[frame(SETTINGS, 0xfe, 0), get(1)], ok],
  'WINDOW_UPDATE with flags that it has not': [[frame(WINDOW_UPDATE, 0xff, 0, u32(1)), get(1)], ok],
  'PRIORITY with flags that it has not': [[frame(PRIORITY, 0xff, 1, Buffer.alloc(5)), get(1)], ok],
  'RST_STREAM with flags that it has not': [
    [hold, frame(RST_STREAM, 0xff, 1, u32(8)), get(3)],
    'HEADERS 3 200',
  ],
  'DATA with flags that it has not': [
    [post(1), frame(DATA, 0xf6, 1, bytes(1)), data(1, E, '')],
    ok,
  ],
  'CONTINUATION with END_STREAM, which it has not': [
    [frame(HEADERS, 0, 1, full), continuation(1, H | E), data(1, E, '')],
    ok,
  ],
  'CONTINUATION with PADDED, which it has not': [
    [frame(HEADERS, E, 1, full.subarray(0, 9)), continuation(1, H | 8, full.subarray(9))],
    ok,
  ],
});

count += testAnswers('RFC 9113 4.2', {
  'DATA of the largest size': [[post(1), frame(DATA, E, 1, Buffer.alloc(16384))], ok],
  'HEADERS beyond the largest size': [[frame(HEADERS, E | H, 1, Buffer.alloc(16385))], 'GOAWAY 6'],
  'CONTINUATION beyond the largest size': [
    [frame(HEADERS, E, 1, full), continuation(1, H, Buffer.alloc(16385))],
    'GOAWAY 6',
  ],
  'SETTINGS beyond the largest size': [[frame(SETTINGS, 0, 0, Buffer.alloc(16386))], 'GOAWAY 6'],
  'an unknown frame beyond the largest size': [[frame(99, 0, 0, Buffer.alloc(16385))], 'GOAWAY 6'],
  'an unknown frame of the largest size': [[frame(99, 0, 0, Buffer.alloc(16384)), get(1)], ok],
  'a header that promises 16 MiB': [[frame(DATA, 0, 1, bytes(), 0xffffff)], 'GOAWAY 6'],
  'PRIORITY of six bytes': [[frame(PRIORITY, 0, 1, Buffer.alloc(6))], 'GOAWAY 6'],
  'PRIORITY of none': [[frame(PRIORITY, 0, 1)], 'GOAWAY 6'],
  'RST_STREAM of five bytes': [[hold, frame(RST_STREAM, 0, 1, Buffer.alloc(5))], 'GOAWAY 6'],
  'RST_STREAM of none': [[hold, frame(RST_STREAM, 0, 1)], 'GOAWAY 6'],
  'SETTINGS of one byte': [[frame(SETTINGS, 0, 0, Buffer.alloc(1))], 'GOAWAY 6'],
  'SETTINGS of seven bytes': [[frame(SETTINGS, 0, 0, Buffer.alloc(7))], 'GOAWAY 6'],
  'SETTINGS ACK of one byte': [[frame(SETTINGS, FLAG_ACK, 0, bytes(0))], 'GOAWAY 6'],
  'PING of nine bytes': [[frame(PING, 0, 0, Buffer.alloc(9))], 'GOAWAY 6'],
  'PING of none': [[frame(PING, 0, 0)], 'GOAWAY 6'],
  'GOAWAY of none': [[frame(GOAWAY, 0, 0)], 'GOAWAY 6'],
  'WINDOW_UPDATE of five bytes': [[frame(WINDOW_UPDATE, 0, 0, Buffer.alloc(5))], 'GOAWAY 6'],
  'WINDOW_UPDATE of none': [[frame(WINDOW_UPDATE, 0, 0)], 'GOAWAY 6'],
  'WINDOW_UPDATE of three bytes on a stream': [
    [hold, frame(WINDOW_UPDATE, 0, 1, Buffer.alloc(3))],
    'GOAWAY 6',
  ],
});

const inside = (between: Buffer): Buffer[] => [frame(HEADERS, E, 1, full), between];
count += testAnswers('RFC 9113 4.3 and 6.10', {
  'eight CONTINUATION frames': [
    [
      frame(HEADERS, E, 1, full.subarray(0, 3)),
      ...Array.from({ length: 7 }, (_, n) => continuation(1, 0, full.subarray(3 + n, 4 + n))),
      continuation(1, H, full.subarray(10)),
    ],
    ok,
  ],
  'a block that is all in its CONTINUATION': [[frame(HEADERS, E, 1), continuation(1, H, full)], ok],
  'a CONTINUATION without payload': [[frame(HEADERS, E, 1, full), continuation(1, H)], ok],
  'trailers in CONTINUATION frames': [
    [post(1), frame(HEADERS, E, 1), continuation(1, H, block('a', 'b'))],
    ok,
  ],
  'a padded HEADERS with a CONTINUATION': [
    [
      frame(HEADERS, E | FLAG_PADDED, 1, Buffer.concat([bytes(2), full, bytes(0, 0)])),
      continuation(1, H),
    ],
    ok,
  ],
  'DATA inside a block': [inside(data(1, 0, 'x')), 'GOAWAY 1'],
  'HEADERS of the same stream inside a block': [inside(get(1)), 'GOAWAY 1'],
  'HEADERS of another stream inside a block': [inside(get(3)), 'GOAWAY 1'],
  'RST_STREAM inside a block': [inside(rstStream(1)), 'GOAWAY 1'],
  'SETTINGS inside a block': [inside(settings()), 'GOAWAY 1'],
  'PING inside a block': [inside(frame(PING, 0, 0, u32(1, 2))), 'GOAWAY 1'],
  'GOAWAY inside a block': [inside(frame(GOAWAY, 0, 0, u32(0, 0))), 'GOAWAY 1'],
  'WINDOW_UPDATE inside a block': [inside(windowUpdate(0, 1)), 'GOAWAY 1'],
  'PUSH_PROMISE inside a block': [inside(frame(PUSH_PROMISE, H, 1, u32(2))), 'GOAWAY 1'],
  'CONTINUATION on stream 0 inside a block': [inside(continuation(0, H)), 'GOAWAY 1'],
  'CONTINUATION on stream 0': [[continuation(0, H)], 'GOAWAY 1'],
  'CONTINUATION after trailers': [
    [post(1), headers(1, E, 'a', 'b'), continuation(1, H)],
    ok,
    'GOAWAY 1',
  ],
  'CONTINUATION after DATA': [[post(1), data(1, 0, 'x'), continuation(1, H)], 'GOAWAY 1'],
  'CONTINUATION after a CONTINUATION that was the last': [
    [frame(HEADERS, 0, 1, full), continuation(1, H), continuation(1, H)],
    'GOAWAY 1',
  ],
});

count += testAnswers('RFC 9113 5.1', {
  'empty DATA on an idle stream': [[data(3, E, '')], 'GOAWAY 1'],
  'DATA on an even stream': [[data(2, 0, 'x')], 'GOAWAY 1'],
  'RST_STREAM on an even stream': [[rstStream(2)], 'GOAWAY 1'],
  'WINDOW_UPDATE on an even stream': [[windowUpdate(2, 1)], 'GOAWAY 1'],
  'PRIORITY on an even stream': [[priority(2, 0), get(1)], ok],
  'DATA after END_STREAM, before the response': [[hold, data(1, 0, 'x')], 'RST 1 5'],
  'empty DATA after END_STREAM': [[hold, data(1, E, '')], 'RST 1 5'],
  'padded DATA after END_STREAM': [[hold, frame(DATA, FLAG_PADDED, 1, bytes(1, 7, 0))], 'RST 1 5'],
  'trailers after END_STREAM': [[hold, headers(1, E, 'a', 'b')], 'RST 1 5'],
  'HEADERS after END_STREAM, before the response': [[hold, get(1)], 'RST 1 5'],
  'CONTINUATION after END_STREAM': [[hold, continuation(1, H)], 'GOAWAY 1'],
  'WINDOW_UPDATE after END_STREAM': [[hold, windowUpdate(1, 5), get(3)], 'HEADERS 3 200'],
  'WINDOW_UPDATE 0 after END_STREAM': [[hold, windowUpdate(1, 0)], 'RST 1 1'],
  'a window beyond 2^31-1 after END_STREAM': [[hold, windowUpdate(1, 0x7fffffff)], 'RST 1 3'],
  'PRIORITY after END_STREAM': [[hold, priority(1, 3), get(3)], 'HEADERS 3 200'],
  'RST_STREAM after END_STREAM': [[hold, rstStream(1), get(3)], 'HEADERS 3 200'],
  'DATA after our END_STREAM': [
    [early, data(1, 0, 'x'), data(1, E, 'y'), get(3)],
    ok,
    'HEADERS 3 200',
  ],
  'trailers after our END_STREAM': [[early, headers(1, E, 'a', 'b'), get(3)], ok, 'HEADERS 3 200'],
  'HEADERS without END_STREAM after ours': [[early, headers(1, 0, 'a', 'b')], ok, 'RST 1 1'],
  'RST_STREAM after our END_STREAM': [[early, rstStream(1), get(3)], ok, 'HEADERS 3 200'],
  'WINDOW_UPDATE after our END_STREAM': [[early, windowUpdate(1, 1), get(3)], ok, 'HEADERS 3 200'],
  'WINDOW_UPDATE 0 after our END_STREAM': [[early, windowUpdate(1, 0)], ok, 'RST 1 1'],
  'a window beyond 2^31-1 after our END_STREAM': [
    [early, windowUpdate(1, 0x7fffffff)],
    ok,
    'RST 1 3',
  ],
  'trailers on a closed stream': [[get(1), headers(1, E, 'a', 'b')], ok, 'GOAWAY 5'],
  'CONTINUATION on a closed stream': [[get(1), continuation(1, H)], ok, 'GOAWAY 1'],
  'PRIORITY on a closed stream': [[get(1), priority(1, 0)], ok],
  'two RST_STREAM on a closed stream': [[get(1), rstStream(1), rstStream(1)], ok],
  'WINDOW_UPDATE on a stream that its peer reset': [
    [hold, rstStream(1), windowUpdate(1, 1), get(3)],
    'HEADERS 3 200',
  ],
  'PRIORITY on a stream that its peer reset': [
    [hold, rstStream(1), priority(1, 0), get(3)],
    'HEADERS 3 200',
  ],
  'a second RST_STREAM': [[hold, rstStream(1), rstStream(1), get(3)], 'HEADERS 3 200'],
  'trailers on a stream that its peer reset': [
    [hold, rstStream(1), headers(1, E, 'a', 'b')],
    'GOAWAY 5',
  ],
  'CONTINUATION on a stream that its peer reset': [
    [hold, rstStream(1), continuation(1, H)],
    'GOAWAY 1',
  ],
  'what was under way when we reset': [
    [
      post(1, 'content-length', '1'),
      data(1, 0, 'xx'),
      windowUpdate(1, 1),
      priority(1, 0),
      rstStream(1),
      get(3),
    ],
    'RST 1 1',
    'HEADERS 3 200',
  ],
});

count += testAnswers('RFC 9113 5.1.1 and 5.1.2', {
  'DATA on a stream that was left out': [[get(5), data(3, 0, 'x')], 'HEADERS 5 200', 'GOAWAY 5'],
  'WINDOW_UPDATE on a stream that was left out': [[get(5), windowUpdate(3, 1)], 'HEADERS 5 200'],
  'RST_STREAM on a stream that was left out': [[get(5), rstStream(3)], 'HEADERS 5 200'],
  'PRIORITY on a stream that was left out': [[get(5), priority(3, 0)], 'HEADERS 5 200'],
  'the last stream id that there is, and one below': [
    [get(0x7fffffff), get(1)],
    'HEADERS 2147483647 200',
    'GOAWAY 1',
  ],
  'a stream in the place of one that was reset': [
    [get(1, 0), get(3, 0), get(5, 0), rstStream(3), get(7)],
    'HEADERS 7 200',
  ],
  'HEADERS for a stream that was refused': [
    [get(1, 0), get(3, 0), get(5, 0), get(7), headers(7, E, 'a', 'b'), data(1, E, '')],
    'RST 7 7',
    ok,
  ],
});

count += testAnswers('RFC 9113 5.3 and 6.3', {
  'PRIORITY with the exclusive bit': [[priority(1, 0x80000000), get(1)], ok],
  'PRIORITY on an idle stream': [[priority(1, 99), get(1)], ok],
  'an exclusive PRIORITY on itself': [[priority(1, 0x80000001)], 'GOAWAY 1'],
  'HEADERS with an exclusive priority': [
    [frame(HEADERS, E | H | FLAG_PRIORITY, 1, Buffer.concat([u32(0x80000000), bytes(255), full]))],
    ok,
  ],
  'trailers with priority': [
    [
      post(1),
      frame(HEADERS, E | H | FLAG_PRIORITY, 1, Buffer.concat([u32(3), bytes(0), block('a', 'b')])),
    ],
    ok,
  ],
});

count += testAnswers('RFC 9113 5.5', {
  'ALTSVC, which nobody asked for': [[frame(0x0a, 0, 0, Buffer.alloc(20)), get(1)], ok],
  'ORIGIN, which nobody asked for': [[frame(0x0c, 0, 0), get(1)], ok],
  'PRIORITY_UPDATE, which nobody asked for': [[frame(0x10, 0, 0, u32(1)), get(1)], ok],
  'frame type 255': [[frame(0xff, 0xff, 0, Buffer.alloc(3)), get(1)], ok],
  'an unknown frame on an idle stream': [[frame(0x42, 0, 9), get(1)], ok],
  'an unknown frame on an open stream': [[post(1), frame(0x42, 1, 1), data(1, E, '')], ok],
  'an unknown frame on a closed stream': [[get(1), frame(0x42, 1, 1), get(3)], ok, 'HEADERS 3 200'],
});

count += testAnswers('RFC 9113 6.1 and 6.2', {
  'DATA that is nothing but padding': [
    [post(1), frame(DATA, E | FLAG_PADDED, 1, bytes(2, 0, 0))],
    ok,
  ],
  'DATA with padding of no bytes': [[post(1), frame(DATA, E | FLAG_PADDED, 1, bytes(0))], ok],
  'DATA with the longest padding': [
    [post(1), frame(DATA, E | FLAG_PADDED, 1, Buffer.concat([bytes(255), Buffer.alloc(255)]))],
    ok,
  ],
  'DATA whose padding is as long as the frame': [
    [post(1), frame(DATA, FLAG_PADDED, 1, bytes(1))],
    'GOAWAY 1',
  ],
  'padding that does not count for content-length': [
    [post(1, 'content-length', '1'), frame(DATA, E | FLAG_PADDED, 1, bytes(2, 65, 0, 0))],
    ok,
  ],
  'HEADERS with padding of no bytes': [
    [frame(HEADERS, E | H | FLAG_PADDED, 1, Buffer.concat([bytes(0), full]))],
    ok,
  ],
  'HEADERS with padding that is not zero': [
    [frame(HEADERS, E | H | FLAG_PADDED, 1, Buffer.concat([bytes(2), full, bytes(1, 2)]))],
    ok,
  ],
  'HEADERS that are nothing but padding': [
    [frame(HEADERS, E | H | FLAG_PADDED, 1, bytes(2, 0, 0))],
    'RST 1 1',
  ],
  'padded HEADERS without a byte': [[frame(HEADERS, E | H | FLAG_PADDED, 1)], 'GOAWAY 1'],
  'padded HEADERS too short for their priority': [
    [frame(HEADERS, E | H | FLAG_PADDED | FLAG_PRIORITY, 1, bytes(3, 0, 0, 0, 0, 0, 0, 0))],
    'GOAWAY 1',
  ],
  'PUSH_PROMISE on stream 0': [[frame(PUSH_PROMISE, H, 0, u32(2))], 'GOAWAY 1'],
});

count += testAnswers('RFC 9113 6.5', {
  'empty SETTINGS': [[settings(), get(1)], ok],
  'an ACK that nobody waits for': [[frame(SETTINGS, FLAG_ACK, 0), get(1)], ok],
  'SETTINGS ACK on a stream': [[frame(SETTINGS, FLAG_ACK, 1)], 'GOAWAY 1'],
  'setting 0': [[settings(setting(0, 7)), get(1)], ok],
  'setting 65535': [[settings(setting(0xffff, 7)), get(1)], ok],
  'HEADER_TABLE_SIZE 0': [[settings(setting(1, 0)), get(1)], ok],
  'HEADER_TABLE_SIZE 2^32-1': [[settings(setting(1, 0xffffffff)), get(1)], ok],
  'ENABLE_PUSH 0': [[settings(setting(2, 0)), get(1)], ok],
  'ENABLE_PUSH 1': [[settings(setting(2, 1)), get(1)], ok],
  'ENABLE_PUSH 2^32-1': [[settings(setting(2, 0xffffffff))], 'GOAWAY 1'],
  'MAX_CONCURRENT_STREAMS 0': [[settings(setting(3, 0)), get(1)], ok],
  'MAX_CONCURRENT_STREAMS 2^32-1': [[settings(setting(3, 0xffffffff)), get(1)], ok],
  'INITIAL_WINDOW_SIZE 0': [[settings(setting(4, 0)), get(1)], ok],
  'INITIAL_WINDOW_SIZE 2^31-1': [[settings(setting(4, 0x7fffffff)), get(1)], ok],
  'INITIAL_WINDOW_SIZE 2^32-1': [[settings(setting(4, 0xffffffff))], 'GOAWAY 3'],
  'MAX_FRAME_SIZE 16384': [[settings(setting(5, 16384)), get(1)], ok],
  'MAX_FRAME_SIZE 2^24-1': [[settings(setting(5, 0xffffff)), get(1)], ok],
  'MAX_FRAME_SIZE 0': [[settings(setting(5, 0))], 'GOAWAY 1'],
  'MAX_FRAME_SIZE 2^32-1': [[settings(setting(5, 0xffffffff))], 'GOAWAY 1'],
  'MAX_HEADER_LIST_SIZE 2^32-1': [[settings(setting(6, 0xffffffff)), get(1)], ok],
  'ENABLE_CONNECT_PROTOCOL 1': [[settings(setting(8, 1)), get(1)], ok],
  'ENABLE_CONNECT_PROTOCOL taken back': [[settings(setting(8, 1), setting(8, 0))], 'GOAWAY 1'],
  'ENABLE_CONNECT_PROTOCOL 2^32-1': [[settings(setting(8, 0xffffffff))], 'GOAWAY 1'],
  'a right value behind a wrong one': [[settings(setting(5, 1), setting(5, 16384))], 'GOAWAY 1'],
  'a wrong value behind a right one': [[settings(setting(4, 1), setting(4, 2 ** 31))], 'GOAWAY 3'],
  'as many settings as are taken': [
    [settings(...Array.from({ length: 32 }, () => setting(4, 99))), get(1)],
    ok,
  ],
});

count += testAnswers('RFC 9113 6.7 and 6.8', {
  'a PING answer that nobody waits for': [[frame(PING, FLAG_ACK, 0, u32(9, 9)), get(1)], ok],
  'a PING answer on a stream': [[frame(PING, FLAG_ACK, 3, u32(9, 9))], 'GOAWAY 1'],
  'GOAWAY of an idle client': [[frame(GOAWAY, 0, 0, u32(0, 0))], 'GOAWAY 0'],
  'GOAWAY with the reserved bit': [[frame(GOAWAY, 0, 0, u32(0x80000000, 0))], 'GOAWAY 0'],
  'GOAWAY with an unknown code': [[frame(GOAWAY, 0, 0, u32(0, 0xff))], 'GOAWAY 0'],
  'GOAWAY with more text than is kept': [
    [frame(GOAWAY, 0, 0, Buffer.concat([u32(0, 2), Buffer.alloc(9000, 'x')]))],
    'GOAWAY 0',
  ],
  'GOAWAY while a request is open': [
    [post(1), frame(GOAWAY, 0, 0, u32(0, 0)), data(1, E, 'x')],
    ok,
    'GOAWAY 0',
  ],
});

count += testAnswers('RFC 9113 6.9', {
  'a connection window of exactly 2^31-1': [[windowUpdate(0, 0x7fffffff - 65535), get(1)], ok],
  'a connection window one beyond': [[windowUpdate(0, 0x7fffffff - 65534)], 'GOAWAY 3'],
  'a connection window beyond in two steps': [
    [windowUpdate(0, 0x7fffffff - 65535), windowUpdate(0, 1)],
    'GOAWAY 3',
  ],
  'a stream window of exactly 2^31-1': [
    [hold, windowUpdate(1, 0x7fffffff - 65535), get(3)],
    'HEADERS 3 200',
  ],
  'a stream window one beyond': [[hold, windowUpdate(1, 0x7fffffff - 65534)], 'RST 1 3'],
  'a stream window beyond in two steps': [
    [hold, windowUpdate(1, 0x7fffffff - 65535), windowUpdate(1, 1)],
    'RST 1 3',
  ],
  'an initial window that takes a stream just to 2^31-1': [
    [hold, windowUpdate(1, 0x7fffffff - 65535 - 10), settings(setting(4, 65545)), get(3)],
    'HEADERS 3 200',
  ],
  'an initial window that takes a stream one beyond': [
    [hold, windowUpdate(1, 0x7fffffff - 65535 - 10), settings(setting(4, 65546))],
    'GOAWAY 3',
  ],
});

test('the table of frames is whole', (t) => {
  t.true(count >= 150, `${count} rows`);
});
