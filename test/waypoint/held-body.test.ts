/** Bodies that authorizers are shown, through all that a waypoint does with HTTP. */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';

import test, { type ExecutionContext } from 'ava';
import { resetSocket } from '../../base/reset-socket.ts';
import { policyKey } from '../../mesh/model/authorization.ts';
import type { ExternalAuthorizer, HttpPolicy } from '../../mesh/model/http-policy.ts';
import { heldBodyBytes } from '../../waypoint/held-body.ts';
import { makeAuthorizer } from '../support/http-policies.ts';
import { listen, RawSocket } from '../support/http1-peer.ts';
import { serveSecureWaypoint } from '../support/waypoint-security.ts';

type Shown = Readonly<{ body: Buffer; partial: string | undefined }>;
type Setup = Readonly<{
  port: number;
  shown: Shown[];
  /** Bodies that came whole to the back end. */
  arrived: string[];
}>;

/** A waypoint whose authorizers let through what they are told to. */
async function start(
  t: ExecutionContext,
  authorizers: readonly Partial<ExternalAuthorizer>[],
  status = 200,
): Promise<Setup> {
  const shown: Shown[] = [];
  const arrived: string[] = [];
  const asked = http.createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const partial = request.headers['x-envoy-auth-partial-body']?.toString();
      shown.push({ body: Buffer.concat(parts), partial });
      response.writeHead(status).end('no');
    });
  });
  const backEnd = http.createServer((request, response) => {
    const hash = createHash('sha1');
    request.on('data', (part: Buffer) => hash.update(part));
    request.on('end', () => {
      const text = hash.digest('hex');
      arrived.push(text);
      response.end(text);
    });
  });
  const [askedPort, backEndPort] = [await listen(t, asked), await listen(t, backEnd)];
  const policies = authorizers.map((fields, index): HttpPolicy => {
    const authorizer = makeAuthorizer({
      ...{ name: `asker-${index}`, port: askedPort },
      http: {
        ...{ pathPrefix: '', additionalHeaders: [], headersToUpstreamOnAllow: [] },
        ...{ headersToDownstreamOnAllow: [], headersToDownstreamOnDeny: [] },
      },
      ...fields,
    });
    const key = policyKey('shop', `custom-${index}`);
    return { key, action: { kind: 'CUSTOM', authorizer }, dryRun: false, rules: [{ clauses: [] }] };
  });
  const { port } = serveSecureWaypoint(t, backEndPort, policies);
  return { port, shown, arrived };
}

const sha1 = (body: Buffer): string => createHash('sha1').update(body).digest('hex');

/** Sends a body by node:http, with a length or in chunks. */
async function post1(
  port: number,
  body: Buffer,
  headers: http.OutgoingHttpHeaders = {},
): Promise<Readonly<{ status: number | undefined; text: string }>> {
  const request = http.request({ port, method: 'POST', headers: { host: 'web', ...headers } });
  request.on('error', () => undefined); // an early answer may end the connection
  request.end(body);
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  let text = '';
  for await (const part of response) text += String(part);
  return { status: response.statusCode, text };
}

async function post2(port: number, body: Buffer): Promise<{ status: number; text: string }> {
  const session = http2.connect(`http://127.0.0.1:${port}`);
  session.on('error', () => undefined);
  const stream = session.request({ ':method': 'POST', ':authority': 'web', ':path': '/' });
  stream.on('error', () => undefined);
  stream.end(body);
  const [fields] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders];
  let text = '';
  for await (const part of stream) text += String(part);
  session.close();
  return { status: Number(fields[':status']), text };
}

for (const size of [0, 1, 4096, 4097, 99_999, 100_000, 100_001, 3_000_000])
  test.serial(
    `a body of ${size} bytes goes on whole, and so much of it is shown as may be`,
    async (t) => {
      const limit = 100_000;
      const partly = { maxRequestBytes: limit, allowPartialMessage: true };
      const { port, shown, arrived } = await start(t, [partly]);
      const body = randomBytes(size);
      const chunked = { 'transfer-encoding': 'chunked' };
      for (const answer of [
        await post1(port, body, { 'content-length': size }),
        await post1(port, body, chunked),
        await post1(port, body, { expect: '100-continue', ...chunked }),
        await post2(port, body),
      ])
        t.deepEqual(answer, { status: 200, text: sha1(body) });
      t.deepEqual(arrived, Array<string>(4).fill(sha1(body)));
      for (const { body: seen, partial } of shown) {
        t.true(seen.equals(body.subarray(0, limit)));
        // One that is as long as the bound is shown before it is known that nothing follows.
        if (size !== limit) t.is(partial, String(size > limit));
      }
      t.is(heldBodyBytes(), 0);
    },
  );

test.serial(
  'a body that is longer than may be shown is refused with 413, however its length is told, and nothing of it goes on',
  async (t) => {
    const { port, shown, arrived } = await start(t, [{ maxRequestBytes: 10 }]);
    t.deepEqual(await post1(port, Buffer.alloc(10), { 'content-length': 10 }), {
      ...{ status: 200, text: sha1(Buffer.alloc(10)) },
    });
    for (const answer of [
      await post1(port, Buffer.alloc(11), { 'content-length': 11 }),
      await post1(port, Buffer.alloc(11), { 'transfer-encoding': 'chunked' }),
      await post1(port, Buffer.alloc(1 << 20), { 'transfer-encoding': 'chunked' }),
      await post2(port, Buffer.alloc(11)),
      await post2(port, Buffer.alloc(1 << 20)),
    ])
      t.deepEqual(answer, { status: 413, text: 'Payload Too Large' });
    t.is(shown.length, 1);
    t.is(arrived.length, 1);
    t.is(heldBodyBytes(), 0);
  },
);

test.serial('each of several authorizers is shown what is configured for it', async (t) => {
  const { port, shown, arrived } = await start(t, [
    { maxRequestBytes: 4, allowPartialMessage: true },
    {},
    { maxRequestBytes: 100 },
  ]);
  await post1(port, Buffer.from('hello'));
  t.deepEqual(
    shown.map(({ body, partial }) => [body.toString(), partial]),
    [
      ['hell', 'true'],
      ['', undefined],
      ['hello', 'false'],
    ],
  );
  t.is(arrived.length, 1);
});

test.serial('a denial leaves nothing of the body behind, nor for the back end', async (t) => {
  const partly = { maxRequestBytes: 50_000, allowPartialMessage: true };
  const { port, arrived } = await start(t, [partly], 403);
  for (const body of [Buffer.alloc(3), Buffer.alloc(1 << 20)]) {
    t.like(await post1(port, body), { status: 403, text: 'no' });
    t.like(await post2(port, body), { status: 403, text: 'no' });
  }
  t.deepEqual(arrived, []);
  t.is(heldBodyBytes(), 0);
});

test.serial('a client that leaves while its body is awaited takes it along', async (t) => {
  const { port, shown, arrived } = await start(t, [{ maxRequestBytes: 1000 }]);
  const client = await RawSocket.connect(t, port);
  client.send('POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 500\r\n\r\n', 'x'.repeat(400));
  while (heldBodyBytes() === 0) await new Promise(setImmediate);
  resetSocket(client.socket);
  while (heldBodyBytes() > 0) await new Promise(setImmediate);
  t.deepEqual([shown.length, arrived.length], [0, 0]);
});

test.serial('what comes behind the opening of a WebSocket is not taken for a body', async (t) => {
  const { port, shown } = await start(t, [{ maxRequestBytes: 1000 }]);
  const client = await RawSocket.connect(t, port);
  client.send(
    'GET / HTTP/1.1\r\nHost: web\r\nConnection: upgrade\r\nUpgrade: websocket\r\n',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n',
  );
  await client.until((raw) => raw.text.includes('\r\n\r\n'));
  t.deepEqual(
    shown.map(({ body, partial }) => [body.toString(), partial]),
    [['', undefined]],
  );
});
