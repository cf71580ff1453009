import test from 'ava';
import fc from 'fast-check';
import { MeshError } from '../../../base/errors.ts';
import { acceptsTrailers, allowedTrailers, endToEndFields } from '../../../net/http1/hop-by-hop.ts';
import {
  formatLastChunk,
  formatRequestHead,
  formatResponseHead,
} from '../../../net/http1/serialize.ts';
import { cut, readRequests, readResponses } from '../../support/http1-messages.ts';

const HOST = ['host', 'a'];
const GET = { method: 'GET', minor: 1 } as const;
const CODE = { instanceOf: MeshError, code: 'ERR_HTTP1_HEAD' };

test('formatRequestHead() frames what follows', (t) => {
  const head = (method: string, endStream: boolean, more: string[] = []): unknown =>
    formatRequestHead(method, '/', [...HOST, ...more], endStream);
  const start = 'HTTP/1.1\r\nhost: a\r\n';
  t.deepEqual(head('GET', true), { text: `GET / ${start}\r\n`, body: 0 });
  t.deepEqual(head('POST', true), { text: `POST / ${start}content-length: 0\r\n\r\n`, body: 0 });
  const chunked = `POST / ${start}transfer-encoding: chunked\r\n\r\n`;
  t.deepEqual(head('POST', false), { text: chunked, body: -1 });
  const length = ['content-length', '5'];
  t.deepEqual(head('PUT', false, length), {
    text: `PUT / ${start}content-length: 5\r\n\r\n`,
    body: 5,
  });
  const te = `GET / ${start}te: trailers\r\nconnection: te\r\n\r\n`;
  t.deepEqual(head('GET', true, ['te', 'trailers']), { text: te, body: 0 });
});

test('formatResponseHead() frames what follows', (t) => {
  const body = (status: number, fields: string[], endStream: boolean, request = GET): unknown => {
    const head = formatResponseHead(request, status, fields, endStream);
    const [first, ...rest] = head.text.split('\r\n').slice(0, -2);
    return [first, rest.join(), head.body];
  };
  t.deepEqual(body(200, [], false), ['HTTP/1.1 200 OK', 'transfer-encoding: chunked', -1]);
  t.deepEqual(body(299, [], true), ['HTTP/1.1 299 ', 'content-length: 0', 0]);
  t.deepEqual(body(204, [], true), ['HTTP/1.1 204 No Content', '', 0]);
  t.deepEqual(body(304, ['content-length', '9'], true), [
    'HTTP/1.1 304 Not Modified',
    'content-length: 9',
    0,
  ]);
  const old = formatResponseHead({ method: 'GET', minor: 0 }, 200, [], false);
  t.deepEqual(old, { text: 'HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n', body: -2 });
  const answered = formatResponseHead({ method: 'HEAD', minor: 1 }, 200, [], false);
  t.is(answered.body, 0);
});

for (const [given, write] of [
  ['CR LF in a value', () => formatRequestHead('GET', '/', [...HOST, 'a', 'b\r\nc: d'], true)],
  ['CR LF in a name', () => formatRequestHead('GET', '/', [...HOST, 'a: b\r\nc', 'd'], true)],
  ['NUL in a value', () => formatRequestHead('GET', '/', [...HOST, 'a', '\0'], true)],
  [
    'a character that becomes LF as a byte',
    () => formatRequestHead('GET', '/', [...HOST, 'a', 'Ċ'], true),
  ],
  [
    'a character that becomes a letter as a byte',
    () => formatRequestHead('GET', '/', [...HOST, 'a', 'Ł'], true),
  ],
  ['CR at the end of a value', () => formatRequestHead('GET', '/', [...HOST, 'a', 'b\r'], true)],
  ['LF at the beginning of one', () => formatRequestHead('GET', '/', [...HOST, 'a', '\nb'], true)],
  [
    'a name in upper case',
    () => formatRequestHead('GET', '/', [...HOST, 'Content-Length', '1'], true),
  ],
  ['a space in the target', () => formatRequestHead('GET', '/ HTTP/1.1\r\n', HOST, true)],
  ['a space in the method', () => formatRequestHead('GET /', '/', HOST, true)],
  ['no host', () => formatRequestHead('GET', '/', [], true)],
  ['two hosts', () => formatRequestHead('GET', '/', [...HOST, ...HOST], true)],
  [
    'a coding of the caller',
    () => formatRequestHead('GET', '/', [...HOST, 'transfer-encoding', 'chunked'], true),
  ],
  [
    'two lengths',
    () => formatResponseHead(GET, 200, ['content-length', '1', 'content-length', '1'], false),
  ],
  [
    'a length that is no number',
    () => formatResponseHead(GET, 200, ['content-length', '1, 1'], false),
  ],
  ['a length without a body', () => formatResponseHead(GET, 200, ['content-length', '1'], true)],
  ['a 204 with a length', () => formatResponseHead(GET, 204, ['content-length', '0'], true)],
  ['a 101 without a protocol', () => formatResponseHead(GET, 101, [], true)],
  ['a protocol with CR LF', () => formatResponseHead(GET, 101, [], true, { upgrade: 'a\r\nb: c' })],
  ['a status of no kind', () => formatResponseHead(GET, 99, [], true)],
  ['CR LF in a trailer', () => formatLastChunk(['a', 'b\r\n\r\n'])],
] as const)
  test(`a head with ${given} is not written`, (t) => {
    t.throws(write, CODE);
  });

test('endToEndFields() drops what is of one connection, and keeps what decisions are made by', (t) => {
  const fields = [
    ...[
      'connection',
      'X-A, host',
      'connection',
      'authorization,keep-alive',
      'x-a',
      '1',
      'x-b',
      '2',
    ],
    ...['host', 'a', 'te', 'trailers', 'trailer', 'x', 'upgrade', 'y', 'authorization', 'z'],
    ...['keep-alive', '1', 'proxy-connection', '1', 'transfer-encoding', 'chunked'],
  ];
  t.deepEqual(endToEndFields(fields), ['x-b', '2', 'host', 'a', 'authorization', 'z']);
  t.true(acceptsTrailers(['te', 'gzip, Trailers']));
  t.false(acceptsTrailers(['te', 'gzip', 'x', 'trailers']));
  t.deepEqual(allowedTrailers(['host', 'a', 'x', 'y', 'content-length', '1']), ['x', 'y']);
});

const value = fc.stringMatching(
  /^([\x21-\x7e\x80-\xff]([\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?$/,
);
const fields = fc
  .array(fc.tuple(fc.stringMatching(/^x-[a-z0-9!#$%&'*+.^`|~-]+$/), value), { maxLength: 8 })
  .map((pairs) => pairs.flat());

test('a message that is written is read as it was, however it is cut', (t) => {
  const chunks = fc.array(fc.uint8Array({ minLength: 1, maxLength: 40 }), { maxLength: 5 });
  fc.assert(
    fc.property(
      fields,
      chunks,
      fields,
      fc.integer({ min: 1, max: 60 }),
      (head, body, trailers, size) => {
        const parts = body.flatMap((chunk) => [
          ...[Buffer.from(`${chunk.length.toString(16)}\r\n`), chunk, Buffer.from('\r\n')],
        ]);
        const end = Buffer.from(formatLastChunk(trailers), 'latin1');
        const request = formatRequestHead('POST', '/', [...HOST, ...head], false).text;
        const response = formatResponseHead(GET, 200, head, false).text;
        const all = (text: string): Buffer[] =>
          cut(Buffer.concat([Buffer.from(text, 'latin1'), ...parts, end]), size);
        const coding = ['transfer-encoding', 'chunked'];
        for (const [reading, expected] of [
          [readRequests(all(request)), [...HOST, ...head, ...coding]],
          [readResponses(all(response)), [...head, ...coding]],
        ] as const) {
          t.true(reading.complete);
          const [message] = reading.messages;
          t.deepEqual(message?.head.fields, expected);
          t.is(message?.body, Buffer.concat(body).toString('latin1'));
          t.deepEqual(message?.trailers, trailers);
        }
      },
    ),
    { numRuns: 1000 },
  );
});
