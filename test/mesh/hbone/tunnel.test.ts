import test from 'ava';
import { mayTryElsewhere, openTunnel, TunnelRefusedError } from '../../../mesh/hbone/client.ts';
import { acceptTunnel, refuseTunnel, type TunnelRequest } from '../../../mesh/hbone/server.ts';
import { HboneSession } from '../../../mesh/hbone/session.ts';
import { Relay } from '../../../net/relay.ts';
import { connectTcp } from '../../../net/tcp.ts';
import { TlsContext } from '../../../net/tls-context.ts';
import { Collector } from '../../support/collect.ts';
import { CLIENT, dialHbone, openHbonePeer, SERVER } from '../../support/hbone-peer.ts';
import { makeTestCa } from '../../support/test-ca.ts';

const ca = makeTestCa();
const request = {
  authority: '10.0.0.2:80',
  headers: ['baggage', 'a=b', 'forwarded', 'for="1.2.3.4:5"'],
};

test('a tunnel carries bytes both ways, and each end by itself', async (t) => {
  const seen: TunnelRequest[] = [];
  const { promise, resolve } = Promise.withResolvers<Collector>();
  const peer = openHbonePeer(t, ca, (tunnel) => {
    seen.push(tunnel);
    acceptTunnel(tunnel, 'k8s.namespace.name=shop');
    resolve(new Collector(tunnel.stream));
  });
  const session = await dialHbone(t, ca, peer.address);
  t.is(session.peerIdentity, SERVER);
  t.is(session.tlsGroup, 'X25519MLKEM768');
  const { stream, baggage } = await openTunnel(session, request);
  t.is(baggage, 'k8s.namespace.name=shop');
  t.like(seen[0], {
    method: 'CONNECT',
    authority: '10.0.0.2:80',
    baggage: 'a=b',
    forwarded: 'for="1.2.3.4:5"',
    traceparent: undefined,
  });
  const client = new Collector(stream);
  const server = await promise;
  await client.write('there');
  client.stream.end();
  await server.until((c) => c.ended);
  t.is(server.text, 'there');
  await server.write('and back');
  server.stream.end();
  await client.until((c) => c.ended);
  t.is(client.text, 'and back');
  t.is(session.activeTunnels, 0);
  session.close();
});

for (const [status, elsewhere] of [
  [400, false],
  [401, false],
  [503, true],
] as const)
  test(`a refusal with ${status} is told${elsewhere ? ', and another endpoint may be tried' : ''}`, async (t) => {
    const peer = openHbonePeer(t, ca, (tunnel) => {
      refuseTunnel(tunnel, status);
    });
    const session = await dialHbone(t, ca, peer.address);
    const error = await t.throwsAsync(openTunnel(session, request), {
      instanceOf: TunnelRefusedError,
      message: `Cannot open a tunnel: http status: ${status}`,
    });
    t.is(mayTryElsewhere(error), elsewhere);
    t.is(session.activeTunnels, 0);
    session.close();
  });

test('a tunnel without an answer is given up at its deadline, and the peer hears of it', async (t) => {
  const { promise, resolve } = Promise.withResolvers<string>();
  const peer = openHbonePeer(t, ca, ({ stream }) => {
    stream.setHandler({
      onError(error) {
        resolve(error.message);
      },
    });
  });
  const session = await dialHbone(t, ca, peer.address);
  const error = await t.throwsAsync(openTunnel(session, request, { timeoutMs: 30 }), {
    code: 'ERR_TUNNEL_TIMEOUT',
  });
  t.true(mayTryElsewhere(error));
  t.regex(await promise, /CANCEL/);
  t.is(session.activeTunnels, 0);
  session.close();
});

test('an aborted signal ends the wait for an answer', async (t) => {
  const peer = openHbonePeer(t, ca, () => undefined);
  const session = await dialHbone(t, ca, peer.address);
  const aborter = new AbortController();
  const opening = openTunnel(session, request, { signal: aborter.signal });
  aborter.abort(new Error('the client has gone'));
  await t.throwsAsync(opening, { code: 'ERR_ABORTED' });
  await t.throwsAsync(openTunnel(session, request, { signal: aborter.signal }), {
    code: 'ERR_ABORTED',
  });
  t.is(session.activeTunnels, 0);
  session.close();
});

test('a session to somebody else than expected is refused', async (t) => {
  const peer = openHbonePeer(t, ca, () => {
    t.fail('a tunnel was asked for');
  });
  await t.throwsAsync(dialHbone(t, ca, peer.address, { peers: [CLIENT] }), {
    code: 'ERR_PEER_IDENTITY',
    message: new RegExp(`found ${SERVER}, expected ${CLIENT}`),
  });
  await t.throwsAsync(dialHbone(t, makeTestCa(), peer.address), { code: 'ERR_TLS_HANDSHAKE' });
});

test('a retired session carries its tunnel to the end, and then ends', async (t) => {
  const peer = openHbonePeer(t, ca, (tunnel) => {
    acceptTunnel(tunnel, '');
    new Collector(tunnel.stream);
  });
  const session = await dialHbone(t, ca, peer.address);
  const { stream } = await openTunnel(session, request);
  const client = new Collector(stream);
  session.retire();
  t.is(session.availableTunnels(), 0);
  await t.throwsAsync(openTunnel(session, request), { code: 'ERR_TUNNEL_NO_ROOM' });
  await client.write('still');
  t.is(client.error, undefined);
  t.false(peer.sessions[0]?.closed);
  stream.reset();
  while (peer.sessions[0]?.closed === false) await new Promise(setImmediate);
  t.pass();
});

test('a certificate that cannot be had leaves no connection behind', async (t) => {
  const peer = openHbonePeer(t, ca, () => undefined);
  const context = (): Promise<TlsContext> => Promise.reject(new Error('the CA is away'));
  const opening = HboneSession.open(peer.address, {}, { context, peers: [SERVER], http2: {} });
  await t.throwsAsync(opening, { message: 'the CA is away' });
  t.is(peer.sessions.length, 0);
});

test('a session within a tunnel ends with it', async (t) => {
  // The gateway: passes the bytes of its tunnel on to what speaks TLS again.
  const inner = openHbonePeer(t, ca, (tunnel) => {
    acceptTunnel(tunnel, '');
    const end = new Collector(tunnel.stream);
    void end.until((c) => c.received === 5).then(() => end.write('inner'));
  });
  const ended: string[] = [];
  const gateway = openHbonePeer(t, ca, (tunnel) => {
    void connectTcp(inner.address).then((upstream) => {
      acceptTunnel(tunnel, '');
      new Relay(tunnel.stream, upstream, ({ kind }) => ended.push(kind));
    });
  });
  const outer = await dialHbone(t, ca, gateway.address);
  const { stream: below } = await openTunnel(outer, { authority: 'web.shop:80', headers: [] });
  const context = new TlsContext(ca.issue(CLIENT));
  const session = await HboneSession.openOver(below, 'web.shop:80', {
    ...{ context: () => Promise.resolve(context), peers: [SERVER], http2: {} },
  });
  const { stream } = await openTunnel(session, { authority: 'web.shop:80', headers: [] });
  session.retire();
  const client = new Collector(stream);
  await client.write('outer');
  await client.until((c) => c.received === 5);
  t.is(client.text, 'inner');
  stream.reset();
  while (inner.sessions[0]?.closed === false) await new Promise(setImmediate);
  while (ended.length === 0) await new Promise(setImmediate);
  while (outer.activeTunnels > 0) await new Promise(setImmediate);
  t.is(outer.activeTunnels, 0);

  // Somebody else behind the gateway: the outer tunnel ends too.
  const again = await openTunnel(outer, { authority: 'web.shop:80', headers: [] });
  const wrong = { context: () => Promise.resolve(context), peers: [CLIENT], http2: {} };
  await t.throwsAsync(HboneSession.openOver(again.stream, 'web.shop:80', wrong), {
    code: 'ERR_PEER_IDENTITY',
  });
  while (outer.activeTunnels > 0) await new Promise(setImmediate);
  outer.close();
  context.free();
});
