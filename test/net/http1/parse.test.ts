import test from 'ava';
import fc from 'fast-check';
import { type Http1Fault, Http1Violation } from '../../../net/http1/errors.ts';
import { CHUNKED } from '../../../net/http1/framing.ts';
import { DEFAULT_LIMITS } from '../../../net/http1/limits.ts';
import { RequestParser } from '../../../net/http1/parse.ts';
import { shareBuffer } from '../../../net/native/memory.ts';
import { cut, readRequests } from '../../support/http1-messages.ts';

const HOST = 'Host: shop.example\r\n';

/** The fault of a connection that says this, however it is cut. */
const refused = test.macro({
  exec(t, sent: string, fault: Http1Fault, status: number) {
    const bytes = Buffer.from(sent, 'latin1');
    for (const size of [bytes.length, 1, 7]) {
      const reading = readRequests(cut(bytes, size));
      t.is(reading.fault, fault, `in pieces of ${size}`);
      t.false(reading.complete);
    }
    t.is(new Http1Violation(fault).status, status);
  },
  title: (given = '') => `${given} is refused`,
});

function post(fields: string, body = '', version = '1.1'): string {
  return `POST / HTTP/${version}\r\n${HOST}${fields}\r\n${body}`;
}

function get(fields: string): string {
  return `GET / HTTP/1.1\r\n${HOST}${fields}\r\n`;
}

function line(requestLine: string): string {
  return `${requestLine}\r\n${HOST}\r\n`;
}

function chunks(body: string): string {
  return post('Transfer-Encoding: chunked\r\n', body);
}

const CL = 'Content-Length: 5\r\n';
const TE = 'Transfer-Encoding: chunked\r\n';
for (const [given, fields, fault, status] of [
  ['CL.TE', CL + TE, 'transfer-encoding-with-length', 400],
  ['TE.CL', TE + CL, 'transfer-encoding-with-length', 400],
  ['TE twice', TE + TE, 'transfer-encoding-repeated', 400],
  ['xchunked', 'Transfer-Encoding: xchunked\r\n', 'transfer-encoding', 400],
  ['chunked, identity', 'Transfer-Encoding: chunked, identity\r\n', 'transfer-encoding', 400],
  ['identity', 'Transfer-Encoding: identity\r\n', 'transfer-encoding', 400],
  ['chunked twice', 'Transfer-Encoding: chunked, chunked\r\n', 'transfer-encoding', 400],
  ['no coding', 'Transfer-Encoding:\r\n', 'transfer-encoding', 400],
  ['quoted', 'Transfer-Encoding: "chunked"\r\n', 'transfer-encoding', 400],
  ['a vertical tab', 'Transfer-Encoding: \x0bchunked\r\n', 'field-value', 400],
  ['a folded TE', 'Transfer-Encoding:\r\n chunked\r\n', 'folded-line', 400],
  ['gzip, chunked', 'Transfer-Encoding: gzip, chunked\r\n', 'transfer-encoding-unknown', 501],
] as const)
  test(`S1: ${given}`, refused, post(fields, '0\r\n\r\n'), fault, status);
test('S1: TE in HTTP/1.0', refused, post(TE, '', '1.0'), 'transfer-encoding-in-1.0', 400);

for (const value of ['+5', '-5', '0x5', '5, 5', '5 5', '', '5a', '\xb2', '1'.repeat(16)])
  test(
    `S2: a length of '${value}'`,
    refused,
    post(`Content-Length: ${value}\r\n`),
    'content-length',
    400,
  );
test(
  'S2: two lengths',
  refused,
  post(`${CL}Content-Length: 6\r\n`),
  'content-length-repeated',
  400,
);
test('S2: one length twice', refused, post(CL + CL), 'content-length-repeated', 400);

test(
  'S3: an expectation that nobody knows',
  refused,
  get('Expect: 200-ok\r\n'),
  'expectation',
  417,
);
test(
  'S3: a body for CONNECT',
  refused,
  `CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n${CL}\r\n`,
  'body-where-none-can-be',
  400,
);

for (const [given, fields, fault] of [
  ['a bare LF after a value', 'a: b\n', 'bare-cr-or-lf'],
  ['a bare CR in a value', 'a: b\rc\r\n', 'bare-cr-or-lf'],
  ['two CR', 'a: b\r\r\n', 'bare-cr-or-lf'],
  ['a folded line', 'a: b\r\n c\r\n', 'folded-line'],
  ['a line folded by a tab', 'a: b\r\n\tc\r\n', 'folded-line'],
  ['a space before the colon', 'a : b\r\n', 'field-name'],
  ['a tab before the colon', 'a\t: b\r\n', 'field-name'],
  ['a field without a colon', 'abc\r\n', 'field-name'],
  ['a field without a name', ': b\r\n', 'field-name'],
  ['NUL in a value', 'a: b\0c\r\n', 'field-value'],
  ['NUL in a name', 'a\0: b\r\n', 'field-name'],
  ['a control character in a value', 'a: \x7f\r\n', 'field-value'],
  ['a name beyond ASCII', 'ä: b\r\n', 'field-name'],
] as const)
  test(`S4: ${given}`, refused, get(fields), fault, 400);
test(
  'S4: a bare LF after the request line',
  refused,
  `GET / HTTP/1.1\n${HOST}\r\n`,
  'bare-cr-or-lf',
  400,
);
test('S4: a bare LF at the end', refused, `GET / HTTP/1.1\r\n${HOST}\n`, 'field-name', 400);
test('S4: a bare CR at the end', refused, `GET / HTTP/1.1\r\n${HOST}\rX`, 'bare-cr-or-lf', 400);
test('S4: two empty lines before', refused, `\r\n\r\n${get('')}`, 'request-line', 400);

for (const [size, fault] of [
  ['0x10', 'chunk-size'],
  ['1_0', 'chunk-size'],
  ['-1', 'chunk-size'],
  ['+1', 'chunk-size'],
  [' 1', 'chunk-size'],
  ['1 ', 'chunk-size'],
  ['', 'chunk-size'],
  ['g', 'chunk-size'],
  ['00000000000000001', 'chunk-size-too-large'],
  ['ffffffffffffffff1', 'chunk-size-too-large'],
] as const)
  test(`S5: a chunk of size '${size}'`, refused, chunks(`${size}\r\nabc`), fault, 400);
test('S5: a chunk that is longer than its size', refused, chunks('1\r\nabc\r\n'), 'chunk-end', 400);
test('S5: a chunk with LF alone behind it', refused, chunks('1\r\na\n'), 'chunk-end', 400);
test('S5: a size with LF alone behind it', refused, chunks('1\na\r\n'), 'chunk-size', 400);

test('S6: LF in a chunk extension', refused, chunks('1;a\n\r\na\r\n'), 'chunk-extension', 400);
test('S6: CR in a chunk extension', refused, chunks('1;a\rb\r\na\r\n'), 'chunk-size', 400);
test('S6: NUL in a chunk extension', refused, chunks('1;a\0\r\na\r\n'), 'chunk-extension', 400);
test(
  'S6: an extension that is too long',
  refused,
  chunks(`1;${'a'.repeat(4097)}\r\n`),
  'chunk-extensions-too-long',
  400,
);
test(
  'S6: extensions that are too long together',
  refused,
  chunks(`1;${'a'.repeat(40)}\r\nx\r\n`.repeat(103)),
  'chunk-extensions-too-long',
  400,
);

test(
  'S7: trailers without end',
  refused,
  chunks(`0\r\n${'a: b\r\n'.repeat(101)}`),
  'too-many-fields',
  431,
);
test(
  'S7: a long trailer',
  refused,
  chunks(`0\r\na: ${'b'.repeat(16 << 10)}`),
  'trailers-too-long',
  431,
);
test('S7: a folded trailer', refused, chunks('0\r\na: b\r\n c\r\n\r\n'), 'folded-line', 400);

for (const [host, fault] of [
  ['a, b', 'host'],
  ['a/b', 'host'],
  ['u@a', 'host'],
  ['a b', 'host'],
  ['', 'host'],
  ['a:', 'host'],
  ['a:0', 'host'],
  ['a:65536', 'host'],
  ['a:080000', 'host'],
  ['a:8a', 'host'],
  ['a%2e', 'host'],
  ['[::1', 'host'],
  ['[fe80::1%eth0]', 'host'],
  ['[::1]a', 'host'],
  ['::1', 'host'],
  ['.', 'host'],
  ['a..', 'host'],
  ['a#', 'host'],
  ['a?', 'host'],
  ['a\\b', 'host'],
  [':80', 'host'],
] as const)
  test(`S8: the Host '${host}'`, refused, `GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`, fault, 400);
test('S8: no Host', refused, 'GET / HTTP/1.1\r\n\r\n', 'host-missing', 400);
test('S8: two Hosts', refused, get(HOST), 'host-repeated', 400);
test(
  'S8: a Host that is not the one of the target',
  refused,
  line('GET http://other/ HTTP/1.1'),
  'host-differs',
  400,
);
test(
  'S8: a Host with another port',
  refused,
  line('GET http://shop.example:81/ HTTP/1.1'),
  'host-differs',
  400,
);
test(
  'S8: a Host that is not what CONNECT names',
  refused,
  line('CONNECT other:443 HTTP/1.1'),
  'host-differs',
  400,
);

for (const [requestLine, fault, status] of [
  ['get / HTTP/1.1', 'method', 400],
  ['G(T / HTTP/1.1', 'method', 400],
  [`${'A'.repeat(8192)} / HTTP/1.1`, 'method-too-long', 501],
  ['TRACE / HTTP/1.1', 'trace', 405],
  ['CONNECT / HTTP/1.1', 'target', 400],
  ['CONNECT a HTTP/1.1', 'target', 400],
  ['CONNECT u@a:1 HTTP/1.1', 'target', 400],
  ['GET a:443 HTTP/1.1', 'target', 400],
  ['GET * HTTP/1.1', 'target', 400],
  [' / HTTP/1.1', 'request-line', 400],
  ['GET  / HTTP/1.1', 'request-line', 400],
  ['GET / x HTTP/1.1', 'version', 400],
  ['GET\t/\tHTTP/1.1', 'character-in-start-line', 400],
] as const)
  test(
    `S9: ${JSON.stringify(requestLine.slice(0, 30))}`,
    refused,
    line(requestLine),
    fault,
    status,
  );

for (const [requestLine, fault, status] of [
  ['GET /', 'request-line', 400],
  ['GET / HTTP/0.9', 'version-not-supported', 505],
  ['GET / HTTP/1.2', 'version-not-supported', 505],
  ['GET / HTTP/1.32', 'version', 400],
  ['GET / HTTP/01.1', 'version', 400],
  ['GET / HTTP/2.0', 'version-not-supported', 505],
  ['PRI * HTTP/2.0', 'version-not-supported', 505],
  ['GET / http/1.1', 'version', 400],
  ['GET / HTTP/1.1 ', 'version', 400],
  ['GET / HTTPS/1.1', 'version', 400],
] as const)
  test(`S10: '${requestLine}'`, refused, line(requestLine), fault, status);

test('S13: 100 kB of headers', refused, get(`a: ${'b'.repeat(100_000)}\r\n`), 'head-too-long', 431);
test('S13: 10,000 headers', refused, get('a: b\r\n'.repeat(10_000)), 'too-many-fields', 431);
test(
  'S13: a URL of 1 MB',
  refused,
  line(`GET /${'a'.repeat(1 << 20)} HTTP/1.1`),
  'target-too-long',
  414,
);
test(
  'S13: a URL that is one byte too long',
  refused,
  line(`GET /${'a'.repeat(16 << 10)} HTTP/1.1`),
  'target-too-long',
  414,
);
test('S13: a long name', refused, get(`${'a'.repeat(257)}: b\r\n`), 'field-name-too-long', 431);
test('M3: a name with _', refused, get('x_a: b\r\n'), 'underscore', 400);
for (const target of [
  '/a#b',
  '/a"',
  '/<',
  '/>',
  '/a\\b',
  'http://a\\b/',
  'ftp://shop.example/',
  'https://shop.example/',
  'http:/shop.example',
  'http://',
  'http://u@shop.example/',
  'a',
])
  test(`A2: the target ${target}`, refused, line(`GET ${target} HTTP/1.1`), 'target', 400);
test('A2: the target /ä', refused, line('GET /ä HTTP/1.1'), 'character-in-start-line', 400);
test('S4: a TLS client', refused, '\x16\x03\x01', 'character-in-start-line', 400);

test('RequestParser reads everything that a head says', (t) => {
  const sent = [
    ...['', 'POST /a?b=\\c HTTP/1.1', 'HOST:Shop.Example.:80', 'X-One:\t one \t', 'x-one: '],
    ...['Expect: 100-Continue', 'Transfer-Encoding: Chunked', 'Connection: x-one, Close', '', ''],
  ].join('\r\n');
  const { messages, fault, complete } = readRequests([Buffer.from(`${sent}0\r\n\r\n`)]);
  t.is(fault, undefined);
  t.true(complete);
  t.deepEqual(messages[0]?.head, {
    method: 'POST',
    target: { form: 'origin', authority: '', path: '/a?b=\\c' },
    authority: 'shop.example',
    minor: 1,
    fields: [
      ...['host', 'Shop.Example.:80', 'x-one', 'one', 'x-one', ''],
      ...['expect', '100-Continue', 'transfer-encoding', 'Chunked', 'connection', 'x-one, Close'],
    ],
    body: CHUNKED,
    persistent: false,
    expectsContinue: true,
    upgrade: '',
  });
});

test('RequestParser reads each form of a target, and one authority', (t) => {
  const read = (text: string): unknown => {
    const { head } = readRequests([Buffer.from(text)]).messages[0] ?? {};
    return head === undefined ? undefined : [head.target.form, head.authority, head.target.path];
  };
  const at = (requestLine: string, host: string): unknown =>
    read(`${requestLine} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  t.deepEqual(at('GET http://A.b:80?x', 'a.B.'), ['absolute', 'a.b', '/?x']);
  t.deepEqual(at('GET HTTP://[::1]:8080/x', '[::1]:8080'), ['absolute', '[::1]:8080', '/x']);
  t.deepEqual(at('OPTIONS http://a', 'a'), ['absolute', 'a', '*']);
  t.deepEqual(at('OPTIONS *', 'a:443'), ['asterisk', 'a:443', '*']);
  t.deepEqual(at('CONNECT A:80', 'a:80'), ['authority', 'a:80', '']);
  t.deepEqual(at('BREW /[pot]|{1}', '10.0.0.1'), ['origin', '10.0.0.1', '/[pot]|{1}']);
  t.deepEqual(read('GET /x HTTP/1.0\r\n\r\n'), ['origin', '', '/x']);
});

test('an upgrade is one only when Connection says so, and never to h2c (H22)', (t) => {
  const upgrade = (fields: string): string | undefined =>
    readRequests([Buffer.from(get(fields))]).messages[0]?.head.upgrade;
  t.is(upgrade('Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n'), 'websocket');
  t.is(upgrade('Upgrade: websocket\r\n'), '');
  t.is(upgrade('Connection: upgrade\r\n'), '');
  t.is(upgrade('Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n'), '');
  t.is(upgrade('Connection: upgrade\r\nUpgrade: websocket, h2c\r\n'), '');
  t.is(upgrade(`Connection: upgrade\r\nUpgrade: websocket\r\n${CL}`), '');
});

test('HTTP/1.0 connections are for one request, and so are those that say close', (t) => {
  const persistent = (version: string, fields: string): boolean | undefined =>
    readRequests([Buffer.from(`GET / HTTP/${version}\r\n${HOST}${fields}\r\n`)]).messages[0]?.head
      .persistent;
  t.true(persistent('1.1', ''));
  t.false(persistent('1.1', 'Connection: a\r\nConnection: CLOSE\r\n'));
  t.false(persistent('1.0', 'Connection: keep-alive\r\n'));
});

test('names with _ pass where a setting allows them', (t) => {
  const limits = { ...DEFAULT_LIMITS, allowUnderscores: true };
  const { messages } = readRequests([Buffer.from(get('x_a: b\r\n'))], limits);
  t.deepEqual(messages[0]?.head.fields.slice(2), ['x_a', 'b']);
});

test('what is just within the limits is read', (t) => {
  const fields = `${'a'.repeat(256)}: b\r\n${'c: d\r\n'.repeat(98)}`;
  const target = `/${'a'.repeat((16 << 10) - 1)}`;
  const sent = `GET ${target} HTTP/1.1\r\n${HOST}${fields}\r\n`;
  for (const size of [1, 1000, sent.length])
    t.true(readRequests(cut(Buffer.from(sent), size)).complete);
});

test('S7: trailers keep nothing that a decision was made by', (t) => {
  const trailers = 'Host: x\r\nContent-Length: 1\r\nAuthorization: y\r\nX-Sum: 1\r\nCookie: a\r\n';
  const { messages } = readRequests([
    Buffer.from(chunks(`1;a="b"\r\nx\r\n0;c\r\n${trailers}\r\n`)),
  ]);
  t.deepEqual(messages[0]?.trailers, ['x-sum', '1']);
  t.is(messages[0]?.body, 'x');
});

test('a message is the same however its bytes are cut', (t) => {
  const sent = Buffer.from(
    `${get('a: b\r\nC: \r\n')}${chunks('3;x\r\nabc\r\nA\r\n0123456789\r\n0\r\nt: u\r\n\r\n')}${post(CL, 'hello')}`,
  );
  const whole = readRequests([sent]);
  t.is(whole.messages.length, 3);
  t.true(whole.complete);
  fc.assert(
    fc.property(fc.array(fc.nat(sent.length), { maxLength: 12 }), (places) => {
      const ends = [...places, sent.length].sort((a, b) => a - b);
      const pieces = ends.map((end, index) =>
        Buffer.from(sent.subarray(ends[index - 1] ?? 0, end)),
      );
      t.deepEqual(readRequests(pieces), whole);
    }),
    { numRuns: 500 },
  );
});

test('heads that are read in turns do not mix', (t) => {
  const parsers = ['one: 1\r\ntwo: 2\r\n', 'a: bcdefg\r\nhij: k\r\nl: m\r\n'].map((fields) => ({
    parser: new RequestParser(),
    pieces: cut(Buffer.from(get(fields)), 1),
    fields: fields.split(/: |\r\n/).slice(0, -1),
  }));
  for (let turn = 0; turn < 100; turn++)
    for (const { parser, pieces } of parsers) {
      const piece = pieces[turn];
      if (piece !== undefined) parser.read(shareBuffer(piece), 0, piece.length);
    }
  for (const { parser, fields } of parsers) t.deepEqual(parser.head?.fields.slice(2), fields);
});
