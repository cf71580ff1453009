import test, { type ExecutionContext } from 'ava';
import type { SocketAddress } from '../../../base/address.ts';
import { openTunnel } from '../../../mesh/hbone/client.ts';
import { openHedged } from '../../../mesh/hbone/hedge.ts';
import type { HboneSession } from '../../../mesh/hbone/session.ts';
import { acceptTunnel } from '../../../mesh/hbone/server.ts';
import { dialHbone, openHbonePeer, SERVER, type HbonePeer } from '../../support/hbone-peer.ts';
import { openTcpWay } from '../../support/tcp-way.ts';
import { makeTestCa, type TestCa } from '../../support/test-ca.ts';

/** A way to a peer on which the first connections are taken and never answered. */
async function silentAtFirst(
  t: ExecutionContext,
  to: SocketAddress,
  silent: number,
): Promise<{ address: SocketAddress; closed: Promise<unknown>[] }> {
  const closed: Promise<unknown>[] = [];
  const address = await openTcpWay(t, to.port, (from, goOn) => {
    closed.push(new Promise((resolve) => from.on('close', resolve)));
    if (closed.length <= silent) from.resume();
    else from.pipe(goOn()).pipe(from);
  });
  return { address, closed };
}

function openRig(t: ExecutionContext): { ca: TestCa; peer: HbonePeer } {
  const ca = makeTestCa();
  const peer = openHbonePeer(t, ca, (request) => {
    acceptTunnel(request, '');
  });
  return { ca, peer };
}

/** Opens, counting attempts. */
function opening(
  t: ExecutionContext,
  ca: TestCa,
  to: SocketAddress,
  { timeoutMs = 10_000, signal = new AbortController().signal } = {},
): { session: Promise<HboneSession>; attempts: () => number } {
  let attempts = 0;
  const session = openHedged(
    (limits) => {
      attempts++;
      return dialHbone(t, ca, to, { limits });
    },
    { timeoutMs, signal },
  );
  session.then(
    (open) => {
      t.teardown(() => {
        open.close();
      });
    },
    () => undefined,
  );
  return { session, attempts: () => attempts };
}

/** A further attempt begins after 250 ms: what takes longer, on a busy machine, is tried again. */
const QUICK_MS = 200;

async function attemptsOfQuickOne(open: () => ReturnType<typeof opening>): Promise<number> {
  for (;;) {
    const beganMs = performance.now();
    const { session, attempts } = open();
    await session.catch(() => undefined);
    if (performance.now() - beganMs < QUICK_MS) return attempts();
  }
}

test('a peer that answers is dialled once', async (t) => {
  const { ca, peer } = openRig(t);
  t.is((await opening(t, ca, peer.address).session).peerIdentity, SERVER);
  t.is(await attemptsOfQuickOne(() => opening(t, ca, peer.address)), 1);
});

test('a connection that nobody answers holds nobody up, and is given up for the one that is answered', async (t) => {
  const { ca, peer } = openRig(t);
  const { address, closed } = await silentAtFirst(t, peer.address, 1);
  const { session, attempts } = opening(t, ca, address);
  const open = await session;
  t.true(attempts() >= 2);
  const { stream } = await openTunnel(open, { authority: '10.0.0.2:80', headers: [] });
  stream.reset();
  await t.notThrowsAsync(closed[0] ?? t.fail());
});

test('a failure is told at once while there is but one attempt', async (t) => {
  const { peer } = openRig(t);
  const other = makeTestCa();
  await t.throwsAsync(opening(t, other, peer.address).session, { code: 'ERR_TLS_HANDSHAKE' });
  t.is(await attemptsOfQuickOne(() => opening(t, other, peer.address)), 1);
});

test('silence to the end is told as that, when all attempts have had their time', async (t) => {
  const { ca, peer } = openRig(t);
  const { address, closed } = await silentAtFirst(t, peer.address, Infinity);
  const { session, attempts } = opening(t, ca, address, { timeoutMs: 700 });
  await t.throwsAsync(session, { code: 'ERR_TLS_TIMEOUT' });
  t.is(attempts(), 3);
  t.is(closed.length, 3);
});

test('whoever gives up ends every attempt', async (t) => {
  const { ca, peer } = openRig(t);
  const { address, closed } = await silentAtFirst(t, peer.address, Infinity);
  const gone = new AbortController();
  const { session, attempts } = opening(t, ca, address, { signal: gone.signal });
  while (closed.length < 2) await new Promise(setImmediate);
  gone.abort(new Error('the pod is gone'));
  await t.throwsAsync(session, { code: 'ERR_ABORTED' });
  t.is(attempts(), 2);
  await Promise.all(closed);
  const late = opening(t, ca, address, { signal: gone.signal });
  await t.throwsAsync(late.session, { message: 'the pod is gone' });
  t.is(late.attempts(), 0);
});
