/** Requests that run while policy changes. */
import http from 'node:http';
import test, { type ExecutionContext } from 'ava';
import type { HttpPolicy } from '../../mesh/model/http-policy.ts';
import { httpPolicies } from '../support/http-policies.ts';
import { listen, RawSocket } from '../support/http1-peer.ts';
import { serveSecureWaypoint } from '../support/waypoint-security.ts';

/** Begins every answer, and goes on with it when a byte more comes; opens WebSockets. */
async function backEnd(t: ExecutionContext): Promise<{ port: number; gone: () => number }> {
  let gone = 0;
  const server = http.createServer((request, response) => {
    response.on('close', () => gone++);
    response.write('begun ');
    request.on('data', (part) => response.write(part));
    request.on('end', () => response.end());
  });
  server.on('upgrade', (_request, socket) => {
    socket.on('error', () => undefined).on('close', () => gone++);
    socket.write(
      'HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n',
    );
    socket.pipe(socket);
  });
  return { port: await listen(t, server), gone: () => gone };
}

const deny = (path: string): readonly HttpPolicy[] =>
  httpPolicies({ action: 'DENY', rules: [{ to: [{ operation: { paths: [path] } }] }] });
const noPause = (): Promise<void> => Promise.resolve();

async function post(t: ExecutionContext, port: number, path: string): Promise<RawSocket> {
  const client = await RawSocket.connect(t, port);
  client.send(`POST ${path} HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n`);
  await client.until(({ text }) => text.includes('begun '));
  return client;
}

test('a request that policy forbids while it runs is broken off, at both ends, and no other one (A8)', async (t) => {
  const { port: backEndPort, gone } = await backEnd(t);
  const { port, security, setPolicies } = serveSecureWaypoint(t, backEndPort, []);
  const [forbidden, kept] = [await post(t, port, '/a'), await post(t, port, '/b')];
  setPolicies(deny('/a'));
  await security.recheck(noPause);
  t.is(await forbidden.untilEnd(), 'ECONNRESET');
  while (gone() === 0) await new Promise(setImmediate);
  t.is(gone(), 1);
  kept.send('5\r\nafter\r\n0\r\n\r\n');
  await kept.until(({ text }) => text.endsWith('0\r\n\r\n'));
  t.true(kept.text.includes('after'));
});

test('a WebSocket that policy forbids ends (A8)', async (t) => {
  const { port: backEndPort, gone } = await backEnd(t);
  const { port, security, setPolicies } = serveSecureWaypoint(t, backEndPort, []);
  const client = await RawSocket.connect(t, port);
  client.send(
    'GET /a HTTP/1.1\r\nHost: web\r\nConnection: upgrade\r\nUpgrade: websocket\r\n',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n',
  );
  await client.until(({ text }) => text.includes(' 101 '));
  client.send('frames');
  await client.until(({ text }) => text.endsWith('frames'));
  setPolicies(deny('/b'));
  await security.recheck(noPause);
  client.send('more');
  await client.until(({ text }) => text.endsWith('framesmore'));
  setPolicies(deny('/a'));
  await security.recheck(noPause);
  t.is(await client.untilEnd(), 'ECONNRESET');
  while (gone() === 0) await new Promise(setImmediate);
  t.pass();
});
