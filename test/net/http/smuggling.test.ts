import test from 'ava';
import { Collector } from '../../support/collect.ts';
import { answerText, RawSocket, startHttp } from '../../support/http1-peer.ts';

const HOST = 'Host: a\r\n';
const SMUGGLED = 'GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n';

/** What one server could take for one request, and the next one for two. */
const SHAPES: readonly (readonly [what: string, request: string, status: number])[] = [
  ['CL.TE', `${HOST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
  ['TE.CL', `${HOST}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n`, 400],
  ['TE.TE', `${HOST}Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n`, 400],
  ['xchunked', `${HOST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`, 400],
  ['space before the colon', `${HOST}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n`, 400],
  ['a folded line', `${HOST}X: a\r\n Content-Length: 30\r\n\r\n`, 400],
  ['two lengths', `${HOST}Content-Length: 0\r\nContent-Length: 30\r\n\r\n`, 400],
  ['a list of lengths', `${HOST}Content-Length: 0, 30\r\n\r\n`, 400],
  ['a signed length', `${HOST}Content-Length: +30\r\n\r\n`, 400],
  ['a bare LF', `${HOST}X: a\nContent-Length: 30\r\n\r\n`, 400],
  ['a bare CR', `${HOST}X: a\rContent-Length: 30\r\n\r\n`, 400],
  ['NUL in a value', `${HOST}X: a\0b\r\n\r\n`, 400],
  ['two hosts', `${HOST}Host: b\r\n\r\n`, 400],
  ['no host', '\r\n', 400],
  ['an underscore', `${HOST}Content_Length: 30\r\n\r\n`, 400],
  ['a chunk size in C', `${HOST}Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n`, 400],
  ['a chunk size too large', `${HOST}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n`, 400],
  [
    'LF in a chunk extension',
    `${HOST}Transfer-Encoding: chunked\r\n\r\n5;a\nhello\r\n0\r\n\r\n`,
    400,
  ],
  [
    'a chunk that is longer',
    `${HOST}Transfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n`,
    400,
  ],
  ['an unknown coding', `${HOST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`, 501],
  ['an unknown expectation', `${HOST}Expect: x\r\nContent-Length: 30\r\n\r\n`, 417],
];

for (const [what, rest, status] of SHAPES)
  test(`a request that hides another (${what}) is answered ${status}, and nothing behind it is read`, async (t) => {
    const asked: string[] = [];
    const answer = answerText('ok');
    const server = startHttp(
      t,
      (served) => {
        asked.push(served.headers[7] ?? '');
        if (served.endStream) answer(served);
        else new Collector(served.exchange);
      },
      { version: 'detect' },
    );
    const client = await RawSocket.connect(t, server.port);
    client.send(`POST /outer HTTP/1.1\r\n${rest}${SMUGGLED}`);
    t.is(await client.untilEnd(), 'end');
    t.regex(client.text, new RegExp(`^HTTP/1\\.1 ${status} [^]*\r\nconnection: close\r\n\r\n$`));
    t.false(asked.includes('/smuggled'));
    await server.untilClosed();
  });
