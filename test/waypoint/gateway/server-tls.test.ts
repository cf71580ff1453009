import { once } from 'node:events';
import net from 'node:net';
import tls from 'node:tls';
import test, { type ExecutionContext } from 'ava';
import { parseIpAddress } from '../../../base/address.ts';
import {
  gatewayKey,
  type GatewayListener,
  type ListenerTls,
} from '../../../mesh/model/gateway-listener.ts';
import { listenTcp } from '../../../net/tcp-listener.ts';
import { acceptTls } from '../../../net/tls.ts';
import type { TlsSession } from '../../../net/tls-session.ts';
import { peekClientHello } from '../../../waypoint/gateway/client-hello.ts';
import { ServerTls } from '../../../waypoint/gateway/server-tls.ts';
import { Collector } from '../../support/collect.ts';
import { makeTestCa } from '../../support/test-ca.ts';

const ca = makeTestCa();

function certificate(...dnsNames: readonly string[]): ListenerTls['certificates'][number] {
  const { chainPem, privateKeyPem } = ca.issue('spiffe://cluster.local/ns/a/sa/b', {
    ...{ uris: [], dnsNames },
  });
  return { chainPem: chainPem.join(''), keyPem: privateKeyPem };
}

function listener(own: ListenerTls): GatewayListener {
  return {
    ...{ name: 'https', port: 443, hostname: '', serves: { kind: 'http', hosts: [] }, tls: own },
  };
}

/** Serves by what is current, as a gateway does: first the client's message, then the handshake. */
function serve(
  t: ExecutionContext,
  server: ServerTls,
  current: () => ListenerTls,
): { port: number; sessions: TlsSession[] } {
  const sessions: TlsSession[] = [];
  const address = { ip: parseIpAddress('127.0.0.1'), port: 0 };
  const accepting = listenTcp({ address }, (stream) => {
    void (async () => {
      const { hello, stream: whole } = await peekClientHello(stream, AbortSignal.timeout(10_000));
      const own = current();
      const context = server.context(listener(own), own, hello.serverName);
      sessions.push(await acceptTls(whole, context));
    })().catch(() => {
      stream.reset();
    });
  });
  t.teardown(() => {
    accepting.close();
    for (const session of sessions) session.reset();
    server[Symbol.dispose]();
  });
  return { port: accepting.local.port, sessions };
}

async function connect(
  t: ExecutionContext,
  port: number,
  servername: string,
  more: tls.ConnectionOptions = {},
): Promise<tls.TLSSocket> {
  const socket = tls.connect({
    ...{ host: '127.0.0.1', port, ca: [ca.rootPem], checkServerIdentity: () => undefined },
    ...(servername !== '' && { servername }),
    ...more,
  });
  t.teardown(() => socket.destroy());
  await once(socket, 'secureConnect');
  return socket;
}

const namesOf = (socket: tls.TLSSocket): string | undefined =>
  socket.getPeerCertificate().subjectaltname;

test('the first certificate that fits the name is shown, else the first', async (t) => {
  const own = {
    certificates: [
      ...[certificate('a.example.com'), certificate('*.example.com'), certificate('b.example.com')],
    ],
  };
  const { port } = serve(t, new ServerTls(), () => own);
  for (const [name, shown] of [
    ['a.example.com', 'a.example.com'],
    ['b.example.com', '*.example.com'],
    ['other.org', 'a.example.com'],
    ['', 'a.example.com'],
  ] as const)
    t.is(namesOf(await connect(t, port, name)), `DNS:${shown}`, name);
});

test('a client may speak TLS 1.2, HTTP/2 or HTTP/1.1, and nothing older or other', async (t) => {
  const own = { certificates: [certificate('a.example.com')] };
  const { port } = serve(t, new ServerTls(), () => own);
  const protocols = async (...names: string[]): Promise<unknown> =>
    (await connect(t, port, 'a.example.com', { ALPNProtocols: names })).alpnProtocol;
  t.is(await protocols('http/1.1', 'h2'), 'h2');
  t.is(await protocols('http/1.1'), 'http/1.1');
  await t.throwsAsync(protocols('spdy/3'), { message: /no.application.protocol/i });
  const old = await connect(t, port, 'a.example.com', { maxVersion: 'TLSv1.2' });
  t.is(old.getProtocol(), 'TLSv1.2');
  const older = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1' } as const;
  await t.throwsAsync(connect(t, port, 'a.example.com', older));
});

test('an exchanged certificate is for the next handshake, and ends no session', async (t) => {
  const server = new ServerTls();
  let own: ListenerTls = { certificates: [certificate('old.example.com')] };
  const { port, sessions } = serve(t, server, () => own);
  const before = await connect(t, port, 'old.example.com');
  own = { certificates: [certificate('new.example.com')] };
  server.retain({ gateway: gatewayKey('a', 'b'), listeners: [listener(own)] });
  t.is(namesOf(await connect(t, port, 'new.example.com')), 'DNS:new.example.com');
  const [first] = sessions;
  if (first === undefined) throw new Error('no session');
  const collector = new Collector(first);
  before.write('still here');
  await collector.until((c) => c.received === 10);
  await collector.write('so am I');
  t.is(String(await once(before, 'data')), 'so am I');
});

test('what is no TLS is refused at once, and who says nothing is not waited for', async (t) => {
  const outcomes: unknown[] = [];
  const address = { ip: parseIpAddress('127.0.0.1'), port: 0 };
  const accepting = listenTcp({ address }, (stream) => {
    peekClientHello(stream, AbortSignal.timeout(200)).catch((error: unknown) => {
      outcomes.push(error);
      stream.reset();
    });
  });
  t.teardown(() => {
    accepting.close();
  });
  for (const text of ['GET / HTTP/1.1\r\n\r\n', '']) {
    const socket = net.connect(accepting.local.port, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.write(text);
    await new Promise((resolve) => socket.once('close', resolve));
  }
  t.like(outcomes[0], { code: 'ERR_TLS_HANDSHAKE' });
  t.like(outcomes[1], { name: 'TimeoutError' });
});
