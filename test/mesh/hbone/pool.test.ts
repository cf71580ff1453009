import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { parseIpAddress } from '../../../base/address.ts';
import { openTunnel, type Tunnel } from '../../../mesh/hbone/client.ts';
import { SessionPool, type PoolKey } from '../../../mesh/hbone/pool.ts';
import { acceptTunnel, type TunnelRequest } from '../../../mesh/hbone/server.ts';
import type { HboneSession } from '../../../mesh/hbone/session.ts';
import { HEADROOM } from '../../../net/byte-stream.ts';
import type { Http2Options } from '../../../net/h2/options.ts';
import { Collector, shared } from '../../support/collect.ts';
import {
  CLIENT,
  dialHbone,
  openHbonePeer,
  SERVER,
  type HbonePeer,
} from '../../support/hbone-peer.ts';
import { openTcpWay } from '../../support/tcp-way.ts';
import { makeTestCa } from '../../support/test-ca.ts';

type Rig = Readonly<{
  pool: SessionPool;
  peer: HbonePeer;
  key: PoolKey;
  /** How many sessions were asked for. */
  opened: () => number;
  tunnel: (key?: PoolKey, signal?: AbortSignal) => Promise<Tunnel>;
}>;

function openRig(
  t: ExecutionContext,
  options: Readonly<{ idleMs?: number; http2?: Http2Options; server?: Http2Options }> = {},
): Rig {
  const ca = makeTestCa();
  const answer = (request: TunnelRequest): void => {
    acceptTunnel(request, '');
  };
  const peer = openHbonePeer(t, ca, answer, options.server);
  const pool = new SessionPool({ idleMs: options.idleMs ?? 60_000 });
  t.teardown(() => {
    pool[Symbol.dispose]();
  });
  let opened = 0;
  const open = (): Promise<HboneSession> => {
    opened++;
    return dialHbone(t, ca, peer.address, options.http2 && { http2: options.http2 });
  };
  const key = {
    podUid: 'pod-1',
    sourceIp: parseIpAddress('10.0.0.1'),
    identity: CLIENT,
    peers: [SERVER],
    connectTo: peer.address,
  };
  const begin = (session: HboneSession): Promise<Tunnel> =>
    openTunnel(session, { authority: '10.0.0.2:80', headers: [] });
  return {
    ...{ pool, peer, key },
    opened: () => opened,
    tunnel: (wanted = key, signal) => pool.withSession(wanted, open, begin, signal),
  };
}

test('tunnels of one key share a session', async (t) => {
  const { tunnel, opened, pool } = openRig(t);
  for (let index = 0; index < 5; index++) await tunnel();
  t.is(opened(), 1);
  t.is(pool.size, 1);
});

test('whatever differs in a key makes another session', async (t) => {
  const { tunnel, opened, key } = openRig(t);
  const keys: PoolKey[] = [
    key,
    { ...key, podUid: 'pod-2' },
    { ...key, sourceIp: parseIpAddress('10.0.0.9') },
    { ...key, identity: SERVER },
    { ...key, peers: [SERVER, CLIENT] },
    { ...key, connectTo: { ...key.connectTo, port: key.connectTo.port ^ 1 } },
  ];
  for (const each of keys) await tunnel(each);
  for (const each of keys) await tunnel(each);
  t.is(opened(), keys.length);
});

test('a full session is joined by another, and used again once it has room', async (t) => {
  const { tunnel, opened } = openRig(t, { http2: { maxStreams: 2 } });
  const first = await tunnel();
  await tunnel();
  await tunnel();
  t.is(opened(), 2);
  await tunnel();
  first.stream.reset();
  await tunnel();
  t.is(opened(), 2);
});

test("the peer's limit of streams holds too", async (t) => {
  const { tunnel, opened } = openRig(t, { server: { maxStreams: 3 } });
  for (let index = 0; index < 7; index++) await tunnel();
  t.is(opened(), 3);
});

test('all who wait share one attempt and its session', async (t) => {
  const { tunnel, opened, peer } = openRig(t);
  await Promise.all(Array.from({ length: 100 }, () => tunnel()));
  t.is(opened(), 1);
  t.is(peer.accepted(), 1);
});

test('more who wait than a session holds get as many sessions as they need, and none fails', async (t) => {
  const { tunnel, opened, pool } = openRig(t, { http2: { maxStreams: 30 } });
  const tunnels = await Promise.all(Array.from({ length: 400 }, () => tunnel()));
  t.is(tunnels.length, 400);
  t.is(opened(), Math.ceil(400 / 30));
  for (const { stream } of tunnels) stream.reset();
  await tunnel();
  t.is(opened(), pool.size);
});

test('a failed attempt fails all who wait for it, and the next one is a new attempt', async (t) => {
  const pool = new SessionPool({ idleMs: 60_000 });
  t.teardown(() => {
    pool[Symbol.dispose]();
  });
  const { key, tunnel } = openRig(t);
  let attempts = 0;
  const failing = (): Promise<never> => {
    attempts++;
    return Promise.reject(new Error(`attempt ${attempts}`));
  };
  const never = (): Promise<never> => Promise.reject(new Error('must not begin'));
  const outcomes = await Promise.allSettled(
    Array.from({ length: 10 }, () => pool.withSession(key, failing, never)),
  );
  t.deepEqual(
    [...new Set(outcomes.map((o) => (o.status === 'rejected' ? String(o.reason) : 'opened')))],
    ['Error: attempt 1'],
  );
  await t.throwsAsync(pool.withSession(key, failing, never), { message: 'attempt 2' });
  t.is(pool.size, 0);
  await t.notThrowsAsync(tunnel());
});

test('one who gives up does not take the attempt from the others', async (t) => {
  const { tunnel, opened } = openRig(t);
  const impatient = new AbortController();
  const first = tunnel(undefined, impatient.signal);
  const second = tunnel();
  impatient.abort(new Error('no time'));
  await t.throwsAsync(first, { message: 'no time' });
  await t.notThrowsAsync(second);
  t.is(opened(), 1);
});

test('a GOAWAY takes the session out of the pool; its tunnels go on', async (t) => {
  const { tunnel, opened, peer, pool } = openRig(t);
  const { stream } = await tunnel();
  const client = new Collector(stream);
  peer.sessions[0]?.drain();
  while (pool.size > 0) await new Promise(setImmediate);
  await tunnel();
  t.is(opened(), 2);
  await client.write('still here');
  t.is(client.error, undefined);
  t.is(peer.sessions[0]?.activeStreams, 1);
  stream.reset();
});

test('a session that broke is not used again', async (t) => {
  const { tunnel, opened, peer, pool } = openRig(t);
  const { stream } = await tunnel();
  const client = new Collector(stream);
  peer.sessions[0]?.close();
  await client.until(({ error }) => error !== undefined);
  while (pool.size > 0) await new Promise(setImmediate);
  await tunnel();
  t.is(opened(), 2);
});

test('an idle session is ended; one with a tunnel is not', async (t) => {
  const { tunnel, peer, pool, key } = openRig(t, { idleMs: 80 });
  const busy = await tunnel();
  const idle = await tunnel({ ...key, podUid: 'pod-2' });
  idle.stream.reset();
  while (pool.size > 1) await new Promise(setImmediate);
  await new Promise((resolve) => setTimeout(resolve, 200));
  t.is(pool.size, 1);
  while (peer.sessions[1]?.closed === false) await new Promise(setImmediate);
  t.false(peer.sessions[0]?.closed);
  busy.stream.reset();
  while (pool.size > 0) await new Promise(setImmediate);
  t.pass();
});

test('sessions of a pod or of an identity are retired without their tunnels', async (t) => {
  const { tunnel, pool, key, opened, peer } = openRig(t);
  const other = { ...key, podUid: 'pod-2' };
  const [{ stream }] = await Promise.all([tunnel(), tunnel(other)]);
  pool.retirePod('pod-1');
  t.is(pool.size, 1);
  await tunnel(other);
  t.is(opened(), 2);
  pool.retireIdentity(CLIENT);
  t.is(pool.size, 0);
  await tunnel();
  t.is(opened(), 3);
  const client = new Collector(stream);
  await client.write('still here');
  t.is(peer.sessions[0]?.activeStreams, 1);
});

test('many sources at once, coming and going, leave nothing open', async (t) => {
  const { tunnel, pool, key, peer } = openRig(t, { http2: { maxStreams: 10 } });
  const run = async (source: number): Promise<void> => {
    for (let round = 0; round < 10; round++) {
      const { stream } = await tunnel({ ...key, podUid: `pod-${source % 7}` });
      stream.reset();
    }
  };
  await Promise.all(Array.from({ length: 100 }, (_, source) => run(source)));
  pool.retireAll();
  t.is(pool.size, 0);
  while (peer.sessions.some((session) => !session.closed)) await new Promise(setImmediate);
  t.true(peer.sessions.length <= 7 * 3);
});

for (const peerSays of ['nothing', 'much'] as const)
  test(`a session whose peer answers no more, and says ${peerSays} else, gets no more tunnels until it answers`, async (t) => {
    const ca = makeTestCa();
    const running: TunnelRequest[] = [];
    const peer = openHbonePeer(t, ca, (request) => {
      acceptTunnel(request, '');
      running.push(request);
    });
    // Everything on it can be held up, as on a link that is down, or what goes to the peer.
    const pairs: Socket[][] = [];
    const connectTo = await openTcpWay(t, peer.address.port, (from, goOn) => {
      const onward = goOn();
      from.pipe(onward).pipe(from);
      pairs.push([from, onward]);
    });
    const pool = new SessionPool({ idleMs: 60_000 });
    t.teardown(() => {
      pool[Symbol.dispose]();
    });
    const key = {
      ...{ podUid: 'pod-1', sourceIp: parseIpAddress('10.0.0.1'), identity: CLIENT, connectTo },
      peers: [SERVER],
    };
    const used: HboneSession[] = [];
    const tunnel = (): Promise<Tunnel> =>
      pool.withSession(
        key,
        () => dialHbone(t, ca, connectTo),
        (session) => {
          used.push(session);
          return openTunnel(session, { authority: '10.0.0.2:80', headers: [] });
        },
      );

    const heard = new Collector((await tunnel()).stream);
    const [slow] = used;
    const [from, onward] = pairs[0] ?? [];
    if (onward !== undefined) from?.unpipe(onward).pause();
    if (peerSays === 'nothing' && from !== undefined) onward?.unpipe(from).pause();
    let answered = 0;
    const held: Promise<unknown>[] = [];
    // As connections come: those before it is known wait, the others are served.
    while (used.at(-1) === slow) {
      held.push(tunnel().then(() => answered++));
      running[0]?.stream.write(shared('.').bytes, HEADROOM, 1);
      await delay(50);
    }
    t.is(pool.size, 2);
    await held.at(-1);
    const served = used.filter((session) => session !== slow).length;
    t.is(answered, served);
    t.true(held.length > served);
    t.is(heard.received > 0, peerSays === 'much');

    if (onward !== undefined) from?.pipe(onward);
    if (peerSays === 'nothing' && from !== undefined) onward?.pipe(from);
    await Promise.all(held);
    await tunnel();
    t.not(used.at(-1), slow, 'the other one, which was never slow, comes first');
    used.at(-1)?.retire();
    await tunnel();
    t.is(used.at(-1), slow);
  });
