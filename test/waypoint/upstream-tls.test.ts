import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import type { AddressInfo, Server } from 'node:net';
import { join } from 'node:path';
import { TLSSocket } from 'node:tls';
import test, { type ExecutionContext } from 'ava';
import { socketAddress } from '../../base/address.ts';
import type { SpiffeId } from '../../mesh/model/identity.ts';
import type { UpstreamTls } from '../../mesh/model/traffic-policy.ts';
import { connectTcp } from '../../net/tcp.ts';
import type { TlsSession } from '../../net/tls-session.ts';
import { formatFlags } from '../../waypoint/response-flags.ts';
import { tlsKey, UpstreamTlsClient } from '../../waypoint/upstream/tls.ts';
import { freePort, startPeer } from '../support/peer-servers.ts';
import { servePlainWaypoint, type PlainWaypoint } from '../support/plain-waypoint.ts';
import { crlPem, makeCrl } from '../support/crl.ts';
import { TemporaryFolder } from '../support/temporary-folder.ts';
import { makeTestCa, type TestCertificateOptions } from '../support/test-ca.ts';

const ca = makeTestCa();
const stranger = makeTestCa();
const IDENTITY = 'spiffe://cluster.local/ns/shop/sa/web';
const NAMED: TestCertificateOptions = { uris: [IDENTITY], dnsNames: ['web.example.com'] };
const own = ca.issue('spiffe://cluster.local/ns/shop/sa/waypoint');

const SIMPLE: UpstreamTls = {
  ...{ mode: 'simple', sni: 'web.example.com', subjectAltNames: ['web.example.com'] },
  ...{ roots: ca.rootPem, certificate: '', key: '' },
  ...{ rootsFile: '', certificateFile: '', keyFile: '', insecureSkipVerify: false },
  ...{ revocationLists: '', revocationListsFile: '' },
};

const MUTUAL: UpstreamTls = {
  ...{ ...SIMPLE, mode: 'mutual', key: own.privateKeyPem, certificate: own.chainPem.join('') },
};

type Seen = Readonly<{ protocol: string; sni: string; client: string; version: string }>;

async function listening(t: ExecutionContext, server: Server): Promise<number> {
  server.on('tlsClientError', () => undefined);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  return (server.address() as AddressInfo).port;
}

function seen(socket: unknown): string {
  if (!(socket instanceof TLSSocket)) throw new Error('no TLS');
  return JSON.stringify({
    ...{ protocol: socket.getProtocol(), version: socket.alpnProtocol },
    sni: Reflect.get(socket, 'servername') as unknown,
    client: socket.getPeerCertificate().subjectaltname ?? '',
  });
}

/** node:https, which answers with what it saw of TLS. */
async function serveHttps(
  t: ExecutionContext,
  odd: TestCertificateOptions,
  options: https.ServerOptions = {},
): Promise<number> {
  const { chainPem, privateKeyPem: key } = ca.issue(IDENTITY, odd);
  const server = https.createServer(
    { cert: chainPem.join(''), key, ...options },
    (request, response) => {
      response.end(seen(request.socket));
    },
  );
  return await listening(t, server);
}

function client(t: ExecutionContext): UpstreamTlsClient {
  const tls = new UpstreamTlsClient({
    ownCertificate: () => Promise.resolve(own),
    systemRoots: () => [stranger.rootPem],
  });
  t.teardown(() => {
    tls[Symbol.dispose]();
  });
  return tls;
}

function waypoint(
  t: ExecutionContext,
  port: number,
  tls: UpstreamTls,
  more: object = {},
): PlainWaypoint {
  return servePlainWaypoint(t, port, { traffic: { tls, ...more }, tls: client(t) });
}

async function get(port: number): Promise<{ status: number | undefined; body: string }> {
  const request = http.get({ host: '127.0.0.1', port, path: '/', agent: false });
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  let body = '';
  for await (const chunk of response.setEncoding('utf8')) body += String(chunk);
  return { status: response.statusCode, body };
}

async function answer(port: number): Promise<Seen> {
  const { status, body } = await get(port);
  if (status !== 200) throw new Error(`status ${status}`);
  return JSON.parse(body) as Seen;
}

async function refusal(t: ExecutionContext, { port, requests }: PlainWaypoint): Promise<string> {
  const { status, body } = await get(port);
  t.is(status, 503);
  t.regex(body, /^upstream connect error/);
  t.notRegex(body, /example\.com/);
  const record = requests.at(-1);
  return `${formatFlags(record?.flags ?? 0)} ${record?.details ?? ''}`;
}

test('node:https is asked for by name, and gets no certificate that it does not ask for', async (t) => {
  const { port, pool } = waypoint(t, await serveHttps(t, NAMED), SIMPLE);
  for (let round = 0; round < 3; round++)
    t.deepEqual(await answer(port), {
      ...{ protocol: 'TLSv1.3', sni: 'web.example.com', client: '', version: 'http/1.1' },
    });
  t.is(pool.size, 1);
});

test('an application of TLS 1.2 is reached too', async (t) => {
  const { port } = waypoint(t, await serveHttps(t, NAMED, { maxVersion: 'TLSv1.2' }), SIMPLE);
  t.is((await answer(port)).protocol, 'TLSv1.2');
});

test('HTTP/2 is spoken inside of TLS where the port or the policy says so', async (t) => {
  const { chainPem, privateKeyPem: key } = ca.issue(IDENTITY, NAMED);
  const server = http2.createSecureServer({ cert: chainPem.join(''), key });
  server.on('stream', (stream: http2.ServerHttp2Stream) => {
    stream.respond({ ':status': 200 });
    stream.end(seen(stream.session?.socket));
  });
  server.on('session', (session) => {
    t.teardown(() => {
      session.destroy();
    });
  });
  const { port } = waypoint(t, await listening(t, server), SIMPLE, { http2: true });
  t.is((await answer(port)).version, 'h2');
  const without = waypoint(t, await serveHttps(t, NAMED), SIMPLE, { http2: true });
  t.regex(await refusal(t, without), /^UF,URX .*connection_failure\|TLS_error/);
});

test('an application that asks for a certificate gets the one of the policy', async (t) => {
  const asking = { requestCert: true, rejectUnauthorized: true, ca: [ca.rootPem] };
  const server = await serveHttps(t, NAMED, asking);
  const { port } = waypoint(t, server, MUTUAL);
  t.is((await answer(port)).client, `URI:${own.identity}`);
  const without = await refusal(t, waypoint(t, server, SIMPLE));
  t.regex(without, /^URX,UC .*connection_termination\|TLS_error.*certificate_required/);
});

test('settings from files are read for each connection, so that renewed ones count', async (t) => {
  using temporary = new TemporaryFolder();
  const folder = temporary.path;
  const file = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const tls: UpstreamTls = {
    ...{ ...SIMPLE, mode: 'mutual', roots: '', rootsFile: file('roots', ca.rootPem) },
    certificateFile: file('certificate', own.chainPem.join('')),
    keyFile: file('key', own.privateKeyPem),
  };
  const asking = { requestCert: true, ca: [ca.rootPem], keepAlive: false };
  const server = await serveHttps(t, NAMED, asking);
  const { port, pool } = waypoint(t, server, tls);
  t.is((await answer(port)).client, `URI:${own.identity}`);
  const renewed = ca.issue('spiffe://cluster.local/ns/shop/sa/renewed');
  file('certificate', renewed.chainPem.join(''));
  file('key', renewed.privateKeyPem);
  pool.retireAll();
  t.is((await answer(port)).client, `URI:${renewed.identity}`);
  rmSync(join(folder, 'key'));
  pool.retireAll();
  t.is((await get(port)).status, 503);
});

test('a server on a revocation list of the policy gets no request, by the list as it is when it is dialled', async (t) => {
  using temporary = new TemporaryFolder();
  const file = join(temporary.path, 'lists');
  const { chainPem, privateKeyPem: key, serialNumber } = ca.issue(IDENTITY, NAMED);
  const server = await serveHttps(t, NAMED, { cert: chainPem.join(''), key });
  const [clean, listed] = [makeCrl(ca, []), makeCrl(ca, [serialNumber])];
  const tls: UpstreamTls = { ...SIMPLE, revocationListsFile: file };
  const refusedBy = async (content: string | Buffer, expected: string): Promise<void> => {
    writeFileSync(file, content);
    t.regex(await refusal(t, waypoint(t, server, tls)), new RegExp(`^${FAILED}.*${expected}`));
    if (typeof content !== 'string' || content === '') return;
    const byText = waypoint(t, server, { ...SIMPLE, revocationLists: content });
    t.regex(await refusal(t, byText), new RegExp(`^${FAILED}.*${expected}`));
  };
  writeFileSync(file, clean);
  const { port, pool } = waypoint(t, server, tls);
  t.is((await answer(port)).protocol, 'TLSv1.3');
  writeFileSync(file, listed);
  pool.retireAll();
  t.is((await get(port)).status, 503);
  await refusedBy(listed, `certificate_${serialNumber}_is_revoked`);
  await refusedBy(crlPem(listed), `certificate_${serialNumber}_is_revoked`);
  await refusedBy(crlPem(makeCrl(stranger, [])), 'no_revocation_list_is_of_the_issuer');
  await refusedBy('', 'cannot_be_looked_for');
  await refusedBy('no list', 'cannot_be_looked_for');
  rmSync(file);
  t.is((await get(waypoint(t, server, tls).port)).status, 503);
  const plain = waypoint(t, server, { ...SIMPLE, revocationLists: crlPem(clean) });
  t.is((await answer(plain.port)).protocol, 'TLSv1.3');
});

const refused = test.macro<[RegExp, UpstreamTls, TestCertificateOptions?]>({
  async exec(t, expected, tls, odd = NAMED) {
    const found = waypoint(t, await serveHttps(t, odd), tls);
    t.regex(await refusal(t, found), expected);
    t.is(found.pool.size, 0);
  },
  title: (given = '') => `no request reaches ${given}`,
});

const FAILED = 'UF,URX upstream_reset_before_response_started\\{connection_failure\\|TLS_error';
const because = (text: string): RegExp => new RegExp(`^${FAILED}:.*${text}`);

test(
  'a server of another CA',
  refused,
  because('certificate_is_refused:_unable_to_get_local_issuer'),
  { ...SIMPLE, roots: stranger.rootPem },
);
test(
  'a server that only the mesh vouches for, where the system has to',
  refused,
  because('local_issuer'),
  {
    ...{ ...SIMPLE, roots: '' },
  },
);
test('a server of another name', refused, because('expected_other.example.com'), {
  ...{ ...SIMPLE, subjectAltNames: ['other.example.com'] },
});
test('a server where no name would do', refused, because('expected_'), {
  ...{ ...SIMPLE, subjectAltNames: [] },
});
test(
  'a server whose certificate has expired',
  refused,
  because('certificate_has_expired'),
  SIMPLE,
  {
    ...{ ...NAMED, ttlMs: -60_000 },
  },
);
test(
  'a server whose certificate is for clients',
  refused,
  because('certificate_is_refused'),
  SIMPLE,
  {
    ...{ ...NAMED, purposes: ['1.3.6.1.5.5.7.3.2'] },
  },
);

test('a server that speaks no TLS gets nothing in plain text', async (t) => {
  const asked: string[] = [];
  const server = http.createServer((request, response) => {
    asked.push(request.url ?? '');
    response.end();
  });
  const found = waypoint(t, await listening(t, server), SIMPLE);
  t.regex(await refusal(t, found), because('wrong_version_number'));
  t.deepEqual(asked, []);
});

test('one of several names is enough, of any kind', async (t) => {
  const server = await serveHttps(t, NAMED);
  const { port } = waypoint(t, server, { ...SIMPLE, subjectAltNames: ['x.example.com', IDENTITY] });
  t.is((await answer(port)).sni, 'web.example.com');
});

test('where verification is turned off, any server is reached', async (t) => {
  const server = await serveHttps(t, { ...NAMED, ttlMs: -60_000 });
  const tls = { ...SIMPLE, roots: '', subjectAltNames: [], insecureSkipVerify: true };
  t.is((await answer(waypoint(t, server, tls).port)).protocol, 'TLSv1.3');
});

test('with ISTIO_MUTUAL both ends prove identities of the mesh', async (t) => {
  const { chainPem, privateKeyPem: key, identity } = ca.issue(IDENTITY);
  const asking = { requestCert: true, rejectUnauthorized: true, ca: [ca.rootPem] };
  const port = await serveHttps(t, {}, { cert: chainPem.join(''), key, ...asking });
  const mesh: UpstreamTls = {
    ...{ ...SIMPLE, mode: 'mesh', sni: '', subjectAltNames: [], roots: '' },
  };
  const connect = async (tls: UpstreamTls, peers: readonly SpiffeId[]): Promise<TlsSession> => {
    const below = await connectTcp(socketAddress('127.0.0.1', port));
    const session = await client(t).connect(below, tls, 'HTTP/1.1', peers, {});
    t.teardown(() => {
      session.reset();
    });
    return session;
  };
  const session = await connect(mesh, [identity]);
  t.deepEqual(session.peerCertificate.uris, [IDENTITY]);
  await t.throwsAsync(connect(mesh, [own.identity]), {
    message: /found .*web, expected .*waypoint/,
  });
  await t.throwsAsync(connect(mesh, []), { code: 'ERR_TLS_HANDSHAKE' });
});

test('connections of different settings are never shared, and their key tells nothing', (t) => {
  t.is(tlsKey(SIMPLE), tlsKey({ ...SIMPLE }));
  t.not(tlsKey(SIMPLE), tlsKey({ ...SIMPLE, sni: 'other.example.com' }));
  t.not(tlsKey(SIMPLE), tlsKey({ ...SIMPLE, insecureSkipVerify: true }));
  t.regex(tlsKey(MUTUAL), /^[\w-]{43}$/);
});

test('nginx is reached by TLS', async (t) => {
  const { chainPem, privateKeyPem } = ca.issue(IDENTITY, NAMED);
  const server = await freePort();
  await startPeer(
    t,
    server,
    (path) => {
      writeFileSync(join(path, 'chain'), chainPem.join(''));
      writeFileSync(join(path, 'key'), privateKeyPem);
      return `user root; worker_processes 1; daemon off; pid ${path}/nginx.pid; error_log /dev/null;
events { worker_connections 64; }
http { access_log off; client_body_temp_path ${path};
server { listen 127.0.0.1:${server} ssl http2; ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate ${path}/chain; ssl_certificate_key ${path}/key;
location / { return 200 '{"version":"$ssl_protocol","sni":"$ssl_server_name","protocol":"$server_protocol"}'; } } }`;
    },
    (file, path) => ['nginx', '-p', path, '-e', '/dev/null', '-c', file],
  );
  const sni = 'web.example.com';
  const first = waypoint(t, server, SIMPLE);
  t.deepEqual(await answer(first.port), { version: 'TLSv1.3', sni, protocol: 'HTTP/1.1' } as never);
  const second = waypoint(t, server, SIMPLE, { http2: true });
  t.deepEqual(await answer(second.port), {
    version: 'TLSv1.3',
    sni,
    protocol: 'HTTP/2.0',
  } as never);
});

test('openssl s_server is reached by TLS', async (t) => {
  const { chainPem, privateKeyPem } = ca.issue(IDENTITY, NAMED);
  using temporary = new TemporaryFolder();
  const folder = temporary.path;
  writeFileSync(join(folder, 'chain'), chainPem.join(''));
  writeFileSync(join(folder, 'key'), privateKeyPem);
  const server = await freePort();
  const args = ['s_server', '-www', '-accept', `127.0.0.1:${server}`];
  const process = spawn('openssl', [...args, '-cert', 'chain', '-key', 'key'], { cwd: folder });
  t.teardown(() => process.kill());
  for await (const chunk of process.stdout.setEncoding('utf8'))
    if (String(chunk).includes('ACCEPT')) break;
  const { status, body } = await get(waypoint(t, server, SIMPLE).port);
  t.is(status, 200);
  t.regex(body, /TLSv1\.3/);
});
