import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Collector } from '../../support/collect.ts';
import { echo, RawSocket, type Served, listen, startHttp } from '../../support/http1-peer.ts';
import { forwardTo } from '../../support/http-forwarder.ts';
import { collectGarbage, privateDirtyBytes } from '../../support/memory.ts';
import { freePort, startPeer } from '../../support/peer-servers.ts';
import { runProgram } from '../../support/run-program.ts';
import { TemporaryFolder } from '../../support/temporary-folder.ts';

const nginxCommand = (file: string, folder: string): readonly string[] => [
  ...['nginx', '-p', folder, '-e', 'stderr', '-c', file],
];

function nginxConfiguration(folder: string, server: string): string {
  return `user root; worker_processes 1; daemon off; pid ${folder}/nginx.pid; error_log stderr;
events { worker_connections 512; }
http { access_log off; client_body_temp_path ${folder}; proxy_temp_path ${folder}; client_max_body_size 0;
${server} }`;
}

function haproxyConfiguration(port: number, to: number): string {
  return `defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  http-reuse always
listen proxy
  bind 127.0.0.1:${port}
  server app 127.0.0.1:${to}
`;
}

async function curl(t: ExecutionContext, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runProgram('curl', ['-sS', '-m', '30', ...args]);
  t.is(code, 0, stderr);
  return stdout;
}

const CONTENT = randomBytes(1 << 20).toString('hex');

test('curl gets back what it posts: by length, by chunks, after 100, by HTTP/2, and on one connection', async (t) => {
  const server = startHttp(t, echo, { version: 'detect' });
  const url = `http://127.0.0.1:${server.port}/`;
  using folder = new TemporaryFolder();
  const file = join(folder.path, 'content');
  writeFileSync(file, CONTENT);
  const upload = ['--data-binary', `@${file}`];
  t.true((await curl(t, ...upload, '-H', 'Expect:', url)) === CONTENT);
  t.true((await curl(t, ...upload, '-H', 'Transfer-Encoding: chunked', url)) === CONTENT);
  t.true((await curl(t, ...upload, '-H', 'Expect: 100-continue', url)) === CONTENT);
  t.true((await curl(t, ...upload, '--http2-prior-knowledge', url)) === CONTENT);
  const before = server.connections.length;
  t.is(await curl(t, '-d', 'one', url, '--next', '-sS', '-d', 'two', url), 'onetwo');
  t.is(server.connections.length, before + 1);
});

test("node's client gets back what it sends through us and its own server, trailers and 1xx too", async (t) => {
  const origin = http.createServer((request, response) => {
    response.writeEarlyHints({ link: '</a>; rel=preload' });
    response.setHeader('trailer', 'x-sum');
    request.on('data', (chunk: Buffer) => {
      response.write(chunk);
    });
    request.on('end', () => {
      response.addTrailers({ 'x-sum': request.trailers['x-t'] ?? '' });
      response.end();
    });
  });
  origin.on('checkContinue', (request, response) => {
    response.writeContinue();
    origin.emit('request', request, response);
  });
  const { port } = forwardTo(t, await listen(t, origin));
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  t.teardown(() => {
    agent.destroy();
  });
  const ports = new Set<number | undefined>();
  for (let count = 0; count < 3; count++) {
    const headers = { te: 'trailers', expect: '100-continue', trailer: 'x-t' };
    const request = http.request({ port, method: 'POST', agent, headers });
    const told: number[] = [];
    request.on('information', ({ statusCode }) => told.push(statusCode));
    const answered = once(request, 'response') as Promise<[http.IncomingMessage]>;
    request.flushHeaders();
    await once(request, 'continue');
    request.addTrailers({ 'x-t': 'told' });
    request.end(CONTENT);
    const [response] = await answered;
    ports.add(response.socket.localPort);
    let text = '';
    for await (const chunk of response) text += String(chunk);
    t.true(text === CONTENT);
    t.is(response.trailers['x-sum'], 'told');
    t.deepEqual(told, [100, 103]);
  }
  t.is(ports.size, 1);
});

test('nginx and HAProxy pass on what goes through them and us, in both directions', async (t) => {
  // Not while it comes: nginx sends no more of a request once its answer has begun.
  const server = startHttp(t, answerAfterwards);
  const [nginx, haproxy] = [await freePort(), await freePort()];
  // To our server by chunks: what we get is what nginx makes of it.
  const location = `proxy_pass http://127.0.0.1:${server.port}; proxy_http_version 1.1;
    proxy_request_buffering off; proxy_buffering off; proxy_set_header Connection "";`;
  const config = `server { listen 127.0.0.1:${nginx}; location / { ${location} } }`;
  await startPeer(t, nginx, (folder) => nginxConfiguration(folder, config), nginxCommand);
  await startPeer(
    t,
    haproxy,
    () => haproxyConfiguration(haproxy, server.port),
    (file) => ['haproxy', '-f', file],
  );
  for (const port of [nginx, haproxy]) {
    const forwarder = forwardTo(t, port);
    const url = `http://127.0.0.1:${forwarder.port}/`;
    for (const fields of [
      ['-H', 'Transfer-Encoding: chunked'],
      ['-H', 'Expect: 100-continue'],
      ['-H', 'Expect:'],
    ])
      t.true((await postByCurl(t, url, fields)) === CONTENT);
    t.is(forwarder.idle.length, 1);
    const head = await curl(t, '-I', url);
    t.regex(head, /^HTTP\/1.1 200 OK/);
  }
});

/** Sends back what came, once it is all there. */
function answerAfterwards({ exchange }: Served): void {
  const body = new Collector(exchange);
  void body
    .until(() => body.ended)
    .then(async () => {
      exchange.respond([':status', '200', 'content-length', String(body.received)]);
      await body.write(body.data);
      exchange.end();
    });
}

async function postByCurl(
  t: ExecutionContext,
  url: string,
  fields: readonly string[],
): Promise<string> {
  using folder = new TemporaryFolder();
  const file = join(folder.path, 'content');
  writeFileSync(file, CONTENT);
  return await curl(t, ...fields, '--data-binary', `@${file}`, url);
}

test('a server that breaks off amid its answer is a reset to the client, never an end', async (t) => {
  for (const head of ['Content-Length: 1000', 'Transfer-Encoding: chunked']) {
    const origin = net.createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => {
        socket.write(`HTTP/1.1 200 OK\r\n${head}\r\n\r\n5\r\nhello\r\n`, () => socket.destroy());
      });
    });
    const { port } = forwardTo(t, await listen(t, origin));
    const raw = await RawSocket.connect(t, port);
    raw.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    t.is(await raw.untilEnd(), 'ECONNRESET');
  }
});

// Alone: what else runs in this process would be measured too.
test.serial(
  '100 MiB by chunks come back whole from a slow reader, who stops the writer and is not waited for in memory',
  async (t) => {
    const origin = startHttp(t, echo);
    const { port } = forwardTo(t, origin.port);
    const socket = net.connect({ port, host: '127.0.0.1' });
    t.teardown(() => socket.destroy());
    await once(socket, 'connect');
    await collectGarbage();
    const before = privateDirtyBytes();
    const total = 100 << 20;
    const piece = randomBytes(256 << 10);
    const chunk = Buffer.concat([
      Buffer.from(`${piece.length.toString(16)}\r\n`),
      piece,
      Buffer.from('\r\n'),
    ]);
    const sent = createHash('sha256');
    let sentBytes = 0;
    let stalled = Promise.withResolvers<number>();
    const write = async (): Promise<void> => {
      socket.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n');
      for (; sentBytes < total; sentBytes += piece.length) {
        sent.update(piece);
        if (socket.write(chunk)) continue;
        const timer = setTimeout(() => {
          stalled.resolve(sentBytes);
        }, 1000);
        await once(socket, 'drain');
        clearTimeout(timer);
      }
      socket.write('0\r\n\r\n');
    };
    const writing = write();
    // Nothing is read: what was written is with the system and in our queues.
    const held = await stalled.promise;
    t.true(held < 64 << 20, `${held} bytes were taken from a writer whose reader reads nothing`);
    await collectGarbage();
    t.true(privateDirtyBytes() - before < 32 << 20, 'what waits is held in memory');
    stalled = Promise.withResolvers();
    const got = await readChunked(socket, total);
    await writing;
    t.is(got, sent.digest('hex'));
    t.true(privateDirtyBytes() - before < 64 << 20);
  },
);

/** The hash of a chunked body of so many bytes; reads it as it comes. */
async function readChunked(socket: net.Socket, total: number): Promise<string> {
  const hash = createHash('sha256');
  let rest: Buffer = Buffer.alloc(0);
  let inHead = true;
  let left = 0;
  let received = 0;
  const done = Promise.withResolvers<string>();
  const take = (): void => {
    for (;;) {
      if (left > 0) {
        const part = rest.subarray(0, left);
        hash.update(part);
        received += part.length;
        left -= part.length;
        rest = rest.subarray(part.length);
        if (left > 0) return;
        if (received === total) done.resolve(hash.digest('hex'));
      }
      const end = rest.indexOf(inHead ? '\r\n\r\n' : '\r\n', received === 0 ? 0 : 2);
      if (end === -1) return;
      if (!inHead) left = parseInt(rest.toString('latin1', received === 0 ? 0 : 2, end), 16);
      rest = rest.subarray(end + (inHead ? 4 : 2));
      if (!inHead && left === 0) return;
      inHead = false;
    }
  };
  socket.on('data', (data: Buffer) => {
    rest = rest.length === 0 ? data : Buffer.concat([rest, data]);
    take();
  });
  socket.on('error', done.reject);
  return await done.promise;
}
