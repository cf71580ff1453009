/**
 * What our server makes of header blocks and of the fields in them, right or wrong: one table a section of RFC 7541 and
 * RFC 9113, one test a row. An answer is `GOAWAY code`, `RST stream code` or `HEADERS stream status`.
 */
import test from 'ava';
import { CONTINUATION, FLAG_END_HEADERS, FLAG_END_STREAM, HEADERS } from '../../../net/h2/frame.ts';
import { block, data, frame, headers, request } from '../../support/h2-frames.ts';
import { type AnswerRow, get, post, testAnswers } from '../../support/h2-answers.ts';

const E = FLAG_END_STREAM;
const H = FLAG_END_HEADERS;
const ok = 'HEADERS 1 200';

const bytes = (...values: number[]): Buffer => Buffer.from(values);
const continuation = (id: number, flags: number, payload?: Buffer): Buffer =>
  frame(CONTINUATION, flags, id, payload);
/** A request whose block goes on with these bytes, in hexadecimal. */
const coded = (id: number, hex: string): Buffer => {
  const more = Buffer.from(hex.replaceAll(' ', ''), 'hex');
  return frame(HEADERS, E | H, id, Buffer.concat([block(...request()), more]));
};
const full = block(...request());
const connect = headers(1, 0, ':method', 'CONNECT', ':authority', '10.0.0.1:80');

let count = 0;

count += testAnswers('RFC 7541', {
  'a reference to index 70 (h2spec hpack/2.3.3/1)': [[coded(1, 'c6')], 'GOAWAY 9'],
  'a literal whose name has index 70 (h2spec hpack/2.3.3/2)': [[coded(1, '7f07 00')], 'GOAWAY 9'],
  'a literal that is not indexed, with name 70': [[coded(1, '0f37 00')], 'GOAWAY 9'],
  'a literal that is never indexed, with name 70': [[coded(1, '1f37 00')], 'GOAWAY 9'],
  'index 0': [[coded(1, '80')], 'GOAWAY 9'],
  'the first index beyond an empty table': [[coded(1, 'be')], 'GOAWAY 9'],
  'an index that takes too many bytes': [[coded(1, 'ffff ffff ffff 7f')], 'GOAWAY 9'],
  'an index that is cut': [[coded(1, 'ff')], 'GOAWAY 9'],
  'a string longer than its block': [[coded(1, '0001 6105 62')], 'GOAWAY 9'],
  'a name without a value': [[coded(1, '0001 61')], 'GOAWAY 9'],
  'a literal without a name': [[coded(1, '00')], 'GOAWAY 9'],
  'a Huffman string with EOS in it (h2spec hpack/5.2/3)': [
    [coded(1, '0085 f2b2 4a84 ff87 4951 ffff fffa 7f')],
    'GOAWAY 9',
  ],
  'a Huffman string padded by more than seven bits': [
    [coded(1, '0085 f2b2 4a84 ff84 4950 9fff')],
    'GOAWAY 9',
  ],
  'a Huffman string padded by zeros': [[coded(1, '0085 f2b2 4a84 ff83 4950 90')], 'GOAWAY 9'],
  'a Huffman string': [[coded(1, '0085 f2b2 4a84 ff83 4950 9f')], ok],
  'a table size update behind a field': [[coded(1, '20')], 'GOAWAY 9'],
  'a table size above ours': [
    [frame(HEADERS, E | H, 1, Buffer.concat([bytes(0x3f, 0xe2, 0x1f), full]))],
    'GOAWAY 9',
  ],
  'two table size updates in front': [
    [frame(HEADERS, E | H, 1, Buffer.concat([bytes(0x20, 0x3f, 0xe1, 0x1f), full]))],
    ok,
  ],
  'a table size update and nothing else': [[frame(HEADERS, E | H, 1, bytes(0x20))], 'RST 1 1'],
  'a reference to a field of the block before': [
    [coded(1, '4001 6101 62'), coded(3, 'be')],
    ok,
    'HEADERS 3 200',
  ],
  'a reference to a field that was evicted': [
    [coded(1, '4001 6101 62'), frame(HEADERS, E | H, 3, Buffer.concat([bytes(0x20, 0xbe), full]))],
    ok,
    'GOAWAY 9',
  ],
  'a reference to a field of a request that was malformed': [
    [coded(1, '4001 4101 62 4001 6101 62'), coded(3, 'be')],
    'RST 1 1',
    'HEADERS 3 200',
  ],
  'a broken block of trailers': [[post(1), frame(HEADERS, E | H, 1, bytes(0x80))], 'GOAWAY 9'],
  'a broken block of a stream that was refused': [
    [get(1, 0), get(3, 0), get(5, 0), frame(HEADERS, E | H, 7, bytes(0x80))],
    'GOAWAY 9',
  ],
  'a block that is cut at the end of its last CONTINUATION': [
    [frame(HEADERS, E, 1, full), continuation(1, H, bytes(0, 1))],
    'GOAWAY 9',
  ],
});

/** No name has these. RFC 9110 section 5.6.2. */
const PUNCTUATION = Array.from('"(),/;<=>?@[\\]{}');
const refuse = (...list: string[]): AnswerRow => [
  [headers(1, E, ...list), get(3)],
  'RST 1 1',
  'HEADERS 3 200',
];
const take = (...list: string[]): AnswerRow => [[headers(1, E, ...list)], ok];
count += testAnswers('RFC 9113 8.2', {
  ...Object.fromEntries(
    [...PUNCTUATION, '\x00', '\x01', '\t', '\r', '\n', '\x7f', '\x80', '\xff', 'Z'].map(
      (character): [string, AnswerRow] => [
        `a name with ${JSON.stringify(character)}`,
        refuse(...request(), `a${character}b`, 'c'),
      ],
    ),
  ),
  ...Object.fromEntries(
    ['\x01', '\x08', '\x0b', '\x0c', '\x1b', '\x1f', '\x7f'].map(
      (character): [string, AnswerRow] => [
        `a value with ${JSON.stringify(character)}`,
        refuse(...request(), 'a', `b${character}c`),
      ],
    ),
  ),
  'a name with every other character': [
    [headers(1, E, ...request(), "!#$%&'*+-.^_`|~09az", 'b')],
    ok,
  ],
  'a name with a colon inside': refuse(...request(), 'a:b', 'c'),
  'a value with a tab inside': take(...request(), 'a', 'b\tc'),
  'a value with bytes above ASCII': take(...request(), 'a', '\x80\xff'),
  'an empty value': take(...request(), 'a', ''),
  'a value with a space behind': refuse(...request(), 'a', 'b '),
  'a value with a tab in front': refuse(...request(), 'a', '\tb'),
  'a value that is a space': refuse(...request(), 'a', ' '),
  'te without a value': refuse(...request(), 'te', ''),
  'cookie in crumbs': take(...request(), 'cookie', 'a=b', 'cookie', 'c=d'),
  'connection in trailers': [[post(1), headers(1, E, 'connection', 'close')], 'RST 1 1'],
  'transfer-encoding in trailers': [
    [post(1), headers(1, E, 'transfer-encoding', 'chunked')],
    'RST 1 1',
  ],
  'an upper-case name in trailers': [[post(1), headers(1, E, 'A', 'b')], 'RST 1 1'],
});

count += testAnswers('RFC 9113 8.3', {
  'an empty block': [[frame(HEADERS, E | H, 1)], 'RST 1 1'],
  ':method alone': refuse(':method', 'GET'),
  'two :method': refuse(':method', 'GET', ...request()),
  'two :scheme': refuse(':scheme', 'http', ...request()),
  'two :authority': refuse(':authority', 'x', ...request()),
  'an empty :method': refuse(...request('')),
  'an empty :scheme': refuse(':method', 'GET', ':scheme', '', ':path', '/', ':authority', 'x'),
  'a :scheme that begins with a digit': refuse(':method', 'GET', ':scheme', '1a', ':path', '/'),
  'a :scheme in capitals': take(':method', 'GET', ':scheme', 'HTTPS', ':path', '/'),
  'an empty :authority': refuse(
    ':method',
    'GET',
    ':scheme',
    'http',
    ':path',
    '/',
    ':authority',
    '',
  ),
  ...Object.fromEntries(
    ['a b', 'a/b', 'a?b', 'a#b', 'a\\b', 'a"b', 'a\x80'].map((authority): [string, AnswerRow] => [
      `:authority ${JSON.stringify(authority)}`,
      refuse(':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', authority),
    ]),
  ),
  'host in the place of :authority': take(
    ...[':method', 'GET', ':scheme', 'http', ':path', '/', 'host', 'x'],
  ),
  'neither host nor :authority': take(':method', 'GET', ':scheme', 'http', ':path', '/'),
  'a name that is a colon': refuse(':', 'x', ...request()),
  ':Method': refuse(':Method', 'GET', ...request()),
  ':method in trailers': [[post(1), headers(1, E, ':method', 'GET')], 'RST 1 1'],
  ':status in trailers': [[post(1), headers(1, E, ':status', '200')], 'RST 1 1'],
});

count += testAnswers('RFC 9113 8.1.1 and 8.5', {
  ...Object.fromEntries(
    ['', '5, 5', '0x5', '1e1', '-1', '5 5', '5.0', '1234567890123456'].map(
      (length): [string, AnswerRow] => [
        `content-length ${JSON.stringify(length)}`,
        refuse(...request(), 'content-length', length),
      ],
    ),
  ),
  'content-length 0 with the end': take(...request(), 'content-length', '0'),
  'content-length 0 and DATA': [[post(1, 'content-length', '0'), data(1, E, 'x')], 'RST 1 1'],
  'content-length in several DATA frames': [
    [post(1, 'content-length', '3'), data(1, 0, 'x'), data(1, 0, 'y'), data(1, E, 'z')],
    ok,
  ],
  'one byte too many in the second DATA frame': [
    [post(1, 'content-length', '2'), data(1, 0, 'x'), data(1, E, 'yz')],
    'RST 1 1',
  ],
  'trailers before content-length is reached': [
    [post(1, 'content-length', '3'), data(1, 0, 'xx'), headers(1, E, 'a', 'b')],
    'RST 1 1',
  ],
  'CONNECT with :scheme': refuse(':method', 'CONNECT', ':scheme', 'http', ':authority', 'a:1'),
  'CONNECT with :scheme and :path': refuse(...request('CONNECT')),
  'CONNECT with an empty :authority': refuse(':method', 'CONNECT', ':authority', ''),
  'CONNECT with a content-length, which a tunnel has not': [
    [
      headers(1, 0, ':method', 'CONNECT', ':authority', 'a:1', 'content-length', '1'),
      data(1, E, 'xx'),
    ],
    ok,
  ],
  'HEADERS on a tunnel': [[connect, data(1, 0, 'x'), headers(1, 0, 'a', 'b')], ok, 'RST 1 1'],
  'trailers on a tunnel': [[connect, data(1, 0, 'x'), headers(1, E, 'a', 'b')], ok, 'RST 1 1'],
});

test('the table of fields is whole', (t) => {
  t.true(count >= 100, `${count} rows`);
});
