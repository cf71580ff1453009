import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { gunzipSync } from 'node:zlib';
import test, { type ExecutionContext } from 'ava';
import type { SocketAddress } from '../../../base/address.ts';
import { MeshError } from '../../../base/errors.ts';
import { fetchAdmin, fetchAdminJson } from '../../../mesh/admin/client.ts';
import {
  jsonPage,
  openAdminServer,
  textPage,
  type AdminListen,
  type AdminRoute,
  type AdminServer,
} from '../../../mesh/admin/server.ts';
import { openLog, parseLogLevels } from '../../../mesh/runtime/log.ts';

const log = openLog({ format: 'text', levels: parseLogLevels('off') });
const routes: readonly AdminRoute[] = [
  page('GET', '/config_dump', () => jsonPage({ a: 1 })),
  page('GET', '/long', () => textPage('x'.repeat(5000))),
  page('POST', '/logging', ({ query, body }) => textPage(`${query.get('level') ?? ''} ${body}`)),
  page('GET', '/bad', () => {
    throw new MeshError('ERR_TEST', 'downstream', 'Cannot use that');
  }),
  page('GET', '/broken', () => {
    throw new Error('broken');
  }),
];

function page(
  method: AdminRoute['method'],
  path: string,
  handle: AdminRoute['handle'],
): AdminRoute {
  return { method, path, description: `The page ${path}`, handle };
}

async function open(
  listen: readonly AdminListen[] = [{ kind: 'tcp', host: '127.0.0.1', port: 0 }],
  anyHost = false,
): Promise<AdminServer> {
  return await openAdminServer({ listen, routes, logger: log.scope('admin'), anyHost });
}

type Answer = { status: number; headers: IncomingHttpHeaders; body: Buffer };

async function ask(
  server: AdminServer,
  path: string,
  headers: IncomingHttpHeaders = {},
  method = 'GET',
  body = '',
): Promise<Answer> {
  const [address] = server.addresses;
  const { ip, port }: Partial<SocketAddress> = address ?? {};
  const request = httpRequest({ host: ip, port, path, method, headers, agent: false });
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  request.on('error', reject);
  request.on('response', (response) => {
    buffer(response).then((bytes) => {
      resolve({ status: response.statusCode ?? 0, headers: response.headers, body: bytes });
    }, reject);
  });
  request.end(body);
  return await promise;
}

function makeFolder(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'halo-admin-'));
  t.teardown(() => {
    rmSync(folder, { recursive: true });
  });
  return folder;
}

test('pages are found by method and path', async (t) => {
  await using server = await open();
  const dump = await ask(server, '/config_dump');
  t.deepEqual([dump.status, JSON.parse(dump.body.toString())], [200, { a: 1 }]);
  t.is(dump.headers['cache-control'], 'no-store');
  const posted = await ask(server, '/logging?level=debug', {}, 'POST', 'body');
  t.is(posted.body.toString(), 'debug body');
  t.is((await ask(server, '/logging')).status, 405);
  t.is((await ask(server, '/none')).status, 404);
  t.regex(
    (await ask(server, '/')).body.toString(),
    /^GET {2}\/config_dump {2}The page \/config_dump$/m,
  );
});

test('an error of the caller is 400, one of ours 500, and the server goes on', async (t) => {
  await using server = await open();
  const bad = await ask(server, '/bad');
  t.deepEqual([bad.status, bad.body.toString()], [400, 'Cannot use that\n']);
  t.is((await ask(server, '/broken')).status, 500);
  t.is((await ask(server, '/config_dump')).status, 200);
});

for (const host of [
  'evil.example',
  'localhost.evil.example',
  '10.0.0.1',
  '127.0.0.1.nip.io',
  '0.0.0.0',
]) {
  test(`a request for ${host} is refused, so that no web page can rebind its name to us (C4)`, async (t) => {
    await using server = await open();
    t.is((await ask(server, '/config_dump', { host })).status, 403);
  });
}

for (const host of [
  'localhost',
  'LOCALHOST:15000',
  '127.0.0.1:15000',
  '127.1.2.3',
  '[::1]:15000',
]) {
  test(`a request for ${host} is answered`, async (t) => {
    await using server = await open();
    t.is((await ask(server, '/config_dump', { host })).status, 200);
  });
}

test('a form posted by a web page is refused', async (t) => {
  await using server = await open();
  const answer = await ask(server, '/logging', { origin: 'https://evil.example' }, 'POST');
  t.is(answer.status, 403);
});

test('metrics may be asked for under any name', async (t) => {
  await using server = await open(undefined, true);
  t.is((await ask(server, '/config_dump', { host: '10.0.0.1:15020' })).status, 200);
});

test('a long page is compressed for those who take it', async (t) => {
  await using server = await open();
  const zipped = await ask(server, '/long', { 'accept-encoding': 'br;q=1, gzip;q=0.5' });
  t.is(zipped.headers['content-encoding'], 'gzip');
  t.true(zipped.body.length < 500);
  t.is(gunzipSync(zipped.body).toString(), 'x'.repeat(5000));
  for (const refused of ['gzip;q=0', 'br', '']) {
    const plain = await ask(server, '/long', { 'accept-encoding': refused });
    t.is(plain.headers['content-encoding'], undefined);
    t.is(plain.body.length, 5000);
  }
});

test('a body of more than 64 KiB is refused', async (t) => {
  await using server = await open();
  t.is((await ask(server, '/logging', {}, 'POST', 'x'.repeat(70_000))).status, 400);
});

test('a unix socket serves the same pages, to our own user alone (C8)', async (t) => {
  const path = join(makeFolder(t), 'state/admin.sock');
  await using _server = await open([{ kind: 'unix', path }]);
  t.is(statSync(path).mode & 0o777, 0o600);
  t.is(statSync(join(path, '..')).mode & 0o777, 0o700);
  t.deepEqual(await fetchAdminJson({ kind: 'unix', path }, '/config_dump'), { a: 1 });
  const answer = await fetchAdmin({ kind: 'unix', path }, '/logging?level=info', {
    method: 'POST',
    body: 'b',
  });
  t.deepEqual(answer, { status: 200, body: 'info b' });
});

test('a socket that a dead process left is replaced, one that is served is not (C8)', async (t) => {
  const path = join(makeFolder(t), 'admin.sock');
  {
    await using _server = await open([{ kind: 'unix', path }]);
    const error = await t.throwsAsync(open([{ kind: 'unix', path }]), { code: 'ERR_ADMIN_SOCKET' });
    t.regex(error.message, /another process serves it/);
    t.deepEqual(await fetchAdminJson({ kind: 'unix', path }, '/config_dump'), { a: 1 });
  }
  await leaveStaleSocket(path);
  await using _server = await open([{ kind: 'unix', path }]);
  t.deepEqual(await fetchAdminJson({ kind: 'unix', path }, '/config_dump'), { a: 1 });
});

test('a process that replaces another one takes its socket over and shares its port', async (t) => {
  const path = join(makeFolder(t), 'admin.sock');
  const unix = { kind: 'unix', path, takeOver: Promise.resolve() } as const;
  const tcp = (port: number): AdminListen => ({
    ...{ kind: 'tcp', host: '127.0.0.1', port, reusePort: true },
  });
  const old = await open([unix, tcp(0)]);
  const { ino } = statSync(path);
  {
    const port = old.addresses[0]?.port ?? 0;
    await using next = await open([unix, tcp(port)]);
    t.is(next.addresses[0]?.port, port);
    const taken = statSync(path);
    t.not(taken.ino, ino);
    t.is(taken.mode & 0o777, 0o600);
    await old[Symbol.asyncDispose]();
    // The end of the old one leaves the new one its name.
    t.is(statSync(path).ino, taken.ino);
    t.deepEqual(await fetchAdminJson(unix, '/config_dump'), { a: 1 });
    t.is((await ask(next, '/config_dump')).status, 200);
  }
  t.deepEqual(readdirSync(join(path, '..')), []);
  writeFileSync(path, 'kept');
  await t.throwsAsync(open([unix]), { message: /something else is there/ });
  t.is(readFileSync(path, 'utf8'), 'kept');
});

test('a file or a symbolic link at the path is left alone (C8)', async (t) => {
  const folder = makeFolder(t);
  writeFileSync(join(folder, 'file'), 'kept');
  symlinkSync(join(folder, 'file'), join(folder, 'link'));
  for (const name of ['file', 'link']) {
    const opening = open([{ kind: 'unix', path: join(folder, name) }]);
    await t.throwsAsync(opening, { code: 'ERR_ADMIN_SOCKET', message: /something else is there/ });
  }
});

test('a folder that others may write to is refused (C8)', async (t) => {
  const folder = join(makeFolder(t), 'open');
  mkdirSync(folder);
  chmodSync(folder, 0o777);
  const opening = open([{ kind: 'unix', path: join(folder, 'admin.sock') }]);
  await t.throwsAsync(opening, { code: 'ERR_ADMIN_SOCKET', message: /other users/ });
});

test('a listener that cannot be had closes those that were opened before it', async (t) => {
  await using taken = await open();
  const port = taken.addresses[0]?.port ?? 0;
  const path = join(makeFolder(t), 'admin.sock');
  const both: AdminListen[] = [
    { kind: 'unix', path },
    { kind: 'tcp', host: '127.0.0.1', port },
  ];
  await t.throwsAsync(open(both), { code: 'EADDRINUSE' });
  await t.throwsAsync(fetchAdmin({ kind: 'unix', path }, '/'), { code: 'ERR_ADMIN_REQUEST' });
});

test('the client says what it could not reach', async (t) => {
  const target = { kind: 'unix', path: '/nonexistent/admin.sock' } as const;
  const error = await t.throwsAsync(fetchAdmin(target, '/config_dump'), {
    code: 'ERR_ADMIN_REQUEST',
  });
  t.is(error.message, 'Cannot ask /nonexistent/admin.sock for /config_dump');
});

test('the client does not wait longer than it was told', async (t) => {
  const silent = createServer(() => undefined);
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  t.teardown(() => silent.close());
  const address = silent.address();
  const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
  const asking = fetchAdmin({ kind: 'tcp', host: '127.0.0.1', port }, '/', { timeoutMs: 50 });
  await t.throwsAsync(asking, { code: 'ERR_ADMIN_REQUEST' });
});

/** A socket whose process died: Node removes its own at close, so a child is killed. */
async function leaveStaleSocket(path: string): Promise<void> {
  const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => console.log('up'))`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  child.kill('SIGKILL');
  await once(child, 'exit');
}
