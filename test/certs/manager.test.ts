import { setImmediate as turn } from 'node:timers/promises';
import test from 'ava';
import { CertificateManager } from '../../certs/manager.ts';
import { backoffMs, renewalTimeMs } from '../../certs/renewal.ts';
import type { WorkloadCertificate } from '../../mesh/model/certificate.ts';
import { parseSpiffeId, type SpiffeId } from '../../mesh/model/identity.ts';
import { HandClock } from '../support/hand-clock.ts';

const HOUR = 3_600_000;
const START = Date.parse('2026-01-01T00:00:00Z');
const account = (name: string): SpiffeId =>
  parseSpiffeId(`spiffe://cluster.local/ns/shop/sa/${name}`);
const WEB = account('web');
const CART = account('cart');

type Fetch = Readonly<{
  identity: SpiffeId;
  signal: AbortSignal;
  succeed: (odd?: Partial<WorkloadCertificate>) => Promise<void>;
  fail: (message?: string) => Promise<void>;
}>;

/** A manager with a CA whose every answer the test gives. */
function start(warmAfter?: Promise<unknown>): {
  clock: HandClock;
  manager: CertificateManager;
  fetches: Fetch[];
} {
  const clock = new HandClock(START);
  const fetches: Fetch[] = [];
  const manager = new CertificateManager({
    clock,
    ...(warmAfter && { warmAfter }),
    fetch: async (identity, { signal }) => {
      const { promise, resolve, reject } = Promise.withResolvers<WorkloadCertificate>();
      fetches.push({
        identity,
        signal,
        succeed: async (odd) => {
          resolve({ ...certificate(identity, clock.now(), String(fetches.length)), ...odd });
          await turn();
        },
        fail: async (message = 'the CA is away') => {
          reject(new Error(message));
          await turn();
        },
      });
      return promise;
    },
  });
  return { clock, manager, fetches };
}

function certificate(identity: SpiffeId, nowMs: number, serialNumber: string): WorkloadCertificate {
  return {
    identity,
    privateKeyPem: 'key',
    chainPem: ['leaf'],
    rootsPem: ['root'],
    serialNumber,
    notBeforeMs: nowMs,
    notAfterMs: nowMs + 24 * HOUR,
  };
}

function at(fetches: readonly Fetch[], index: number): Fetch {
  const fetch = fetches.at(index);
  if (fetch === undefined) throw new Error(`No fetch ${index}`);
  return fetch;
}

test('connections that wait for one identity share one fetch', async (t) => {
  const { manager, fetches } = start();
  const waiting = Promise.all([manager.get(WEB), manager.get(WEB), manager.get(WEB)]);
  await turn();
  t.is(fetches.length, 1);
  t.is(manager.states().get(WEB)?.kind, 'Initializing');
  await at(fetches, 0).succeed();
  const [one, two, three] = await waiting;
  t.true(one === two && two === three);
  t.is(manager.current(WEB), one);
  t.is(manager.states().get(WEB)?.kind, 'Available');
  t.is(await manager.get(WEB), one);
  t.is(fetches.length, 1);
});

test('a certificate is fetched when a workload is there, before any connection', async (t) => {
  const { manager, fetches } = start();
  manager.hold(WEB);
  await at(fetches, 0).succeed();
  t.is(manager.current(WEB)?.identity, WEB);
});

test('eight are fetched at once, those that connections wait for first, then in order', async (t) => {
  const { manager, fetches } = start();
  const names = Array.from({ length: 12 }, (_, index) => account(`a${index}`));
  for (const name of names) manager.hold(name);
  t.deepEqual(
    fetches.map(({ identity }) => identity),
    names.slice(0, 8),
  );
  void manager.get(account('a10'));
  await at(fetches, 0).succeed();
  await at(fetches, 1).succeed();
  await at(fetches, 2).fail();
  t.deepEqual(
    fetches.slice(8).map(({ identity }) => identity),
    [account('a10'), account('a8'), account('a9')],
  );
});

test('at the start of a proxy only what connections wait for is fetched, the rest afterwards', async (t) => {
  const started = Promise.withResolvers<undefined>();
  const { manager, fetches } = start(started.promise);
  const asked = (): SpiffeId[] => fetches.map(({ identity }) => identity);
  manager.hold(account('idle'));
  manager.hold(WEB);
  manager.hold(CART);
  await turn();
  t.deepEqual(asked(), []);
  const waiting = manager.get(CART);
  t.deepEqual(asked(), [CART]);
  await at(fetches, 0).succeed();
  t.is((await waiting).identity, CART);
  t.deepEqual(asked(), [CART]);
  started.resolve(undefined);
  await turn();
  t.deepEqual(asked(), [CART, account('idle'), WEB]);
});

test('a renewal waits behind those that are needed for the first time', async (t) => {
  const { clock, manager, fetches } = start();
  manager.hold(WEB);
  await at(fetches, 0).succeed();
  await clock.advance(11 * HOUR);
  for (let index = 0; index < 9; index++) manager.hold(account(`a${index}`));
  await clock.advance(HOUR);
  t.is(fetches.length, 9);
  await at(fetches, 1).succeed();
  t.is(at(fetches, 9).identity, account('a8'));
  await at(fetches, 2).succeed();
  t.is(at(fetches, 10).identity, WEB);
});

test('a certificate is renewed after half of what remained, and everyone is told', async (t) => {
  const { clock, manager, fetches } = start();
  const told: string[] = [];
  manager.subscribe(({ serialNumber }) => told.push(serialNumber));
  manager.hold(WEB);
  await at(fetches, 0).succeed({ serialNumber: 'a', notBeforeMs: START - 10 * HOUR });
  await clock.advance(12 * HOUR - 1);
  t.is(fetches.length, 1);
  await clock.advance(1);
  t.is(fetches.length, 2);
  t.is(manager.current(WEB)?.serialNumber, 'a');
  await at(fetches, 1).succeed({ serialNumber: 'b' });
  t.is(manager.current(WEB)?.serialNumber, 'b');
  t.deepEqual(told, ['a', 'b']);
});

test('renewalTimeMs() never comes sooner than a second', (t) => {
  t.is(renewalTimeMs(START, START + 24 * HOUR), START + 12 * HOUR);
  t.is(renewalTimeMs(START, START + 500), START + 1000);
  t.is(renewalTimeMs(START, START - HOUR), START + 1000);
});

test('backoffMs() doubles from a second to 150, a fifth either way (C6)', (t) => {
  t.deepEqual(
    [1, 2, 3, 8, 9, 1000].map((failures) => backoffMs(failures, 0.5)),
    [1000, 2000, 4000, 128_000, 150_000, 150_000],
  );
  t.is(backoffMs(1, 0), 800);
  t.is(backoffMs(9, 1), 180_000);
});

test('a failed first fetch fails those that wait, and others at once until a retry works', async (t) => {
  const { clock, manager, fetches } = start();
  manager.hold(WEB);
  const waiting = t.throwsAsync(manager.get(WEB), { code: 'ERR_CERTIFICATE_UNAVAILABLE' });
  await at(fetches, 0).fail('no such pod');
  await waiting;
  await t.throwsAsync(manager.get(WEB), { code: 'ERR_CERTIFICATE_UNAVAILABLE' });
  t.like(manager.states().get(WEB), {
    kind: 'Unavailable',
    reason: `Cannot get a certificate for ${WEB}: no such pod`,
  });
  await clock.advance(999);
  t.is(fetches.length, 1);
  await clock.advance(1);
  t.is(fetches.length, 2);
  await at(fetches, 1).fail();
  await clock.advance(1999);
  t.is(fetches.length, 2);
  await clock.advance(1);
  await at(fetches, 2).succeed();
  t.is((await manager.get(WEB)).identity, WEB);
});

test('a certificate serves until it expires while the CA is away, and no longer', async (t) => {
  const { clock, manager, fetches } = start();
  manager.hold(WEB);
  await at(fetches, 0).succeed();
  const failing = setUpFailures(fetches);
  await clock.advance(12 * HOUR);
  while (clock.now() < START + 24 * HOUR - 1000) {
    await failing();
    t.is((await manager.get(WEB)).serialNumber, '1');
    await clock.advance(Math.min(149_000, START + 24 * HOUR - 1000 - clock.now()));
  }
  await failing();
  await clock.advance(1000);
  await failing();
  await t.throwsAsync(manager.get(WEB), { code: 'ERR_CERTIFICATE_UNAVAILABLE' });
  t.is(manager.current(WEB), undefined);
  t.is(manager.states().get(WEB)?.kind, 'Unavailable');
});

function setUpFailures(fetches: readonly Fetch[]): () => Promise<void> {
  let failed = 1;
  return async () => {
    while (failed < fetches.length) await at(fetches, failed++).fail();
  };
}

test('a clock that jumped past the end makes connections wait for a new certificate', async (t) => {
  const { clock, manager, fetches } = start();
  manager.hold(WEB);
  await at(fetches, 0).succeed({ notAfterMs: START + 1500 });
  clock.jump(HOUR);
  const waiting = manager.get(WEB);
  t.is(fetches.length, 2);
  await at(fetches, 1).succeed();
  t.is((await waiting).notAfterMs, START + 25 * HOUR);
});

test('after a clock was set back a day, what failed is tried and what holds is renewed as before (R6)', async (t) => {
  const { clock, manager, fetches } = start();
  manager.hold(WEB);
  await at(fetches, 0).succeed();
  manager.hold(CART);
  await at(fetches, 1).fail();
  clock.set(-24 * HOUR);
  await clock.advance(3_000);
  t.is(fetches.length, 3, 'what failed is tried again');
  await at(fetches, 2).succeed();
  t.is((await manager.get(CART)).identity, CART);
  await clock.advance(12 * HOUR);
  t.deepEqual(
    fetches.slice(3).map(({ identity }) => identity),
    [WEB, CART],
    'half a day later',
  );
});

test('after a clock was set ahead a day, all is renewed at once (R6)', async (t) => {
  const { clock, manager, fetches } = start();
  manager.hold(WEB);
  await at(fetches, 0).succeed();
  clock.set(24 * HOUR);
  const waiting = manager.get(WEB);
  await at(fetches, 1).succeed();
  t.is((await waiting).notAfterMs, START + 48 * HOUR);
});

test('an identity is forgotten when its last workload goes', async (t) => {
  const { clock, manager, fetches } = start();
  const [first, second] = [manager.hold(WEB), manager.hold(WEB)];
  await at(fetches, 0).succeed();
  first();
  first(); // twice by mistake
  t.is(manager.states().size, 1);
  second();
  t.is(manager.states().size, 0);
  await clock.advance(48 * HOUR);
  t.is(fetches.length, 1);
});

test('a fetch ends with the last workload, and whoever waits is told', async (t) => {
  const { manager, fetches } = start();
  const release = manager.hold(WEB);
  const waiting = t.throwsAsync(manager.get(WEB), { message: /no workload of this node/ });
  release();
  t.true(at(fetches, 0).signal.aborted);
  await waiting;
  await at(fetches, 0).succeed();
  t.is(manager.states().size, 0);
});

test('an identity that no workload holds is not renewed but forgotten', async (t) => {
  const { clock, manager, fetches } = start();
  const waiting = manager.get(WEB);
  await at(fetches, 0).succeed();
  await waiting;
  await clock.advance(12 * HOUR);
  t.is(manager.states().size, 0);
  t.is(fetches.length, 1);
});

test('one that waits can give up alone', async (t) => {
  const { manager, fetches } = start();
  const aborter = new AbortController();
  const impatient = t.throwsAsync(manager.get(WEB, { signal: aborter.signal }), {
    name: 'AbortError',
  });
  const patient = manager.get(WEB);
  aborter.abort();
  await impatient;
  await at(fetches, 0).succeed();
  t.is((await patient).identity, WEB);
});

test('new roots of one answer reach all identities at once', async (t) => {
  const { manager, fetches } = start();
  manager.hold(WEB);
  manager.hold(CART);
  await at(fetches, 0).succeed();
  await at(fetches, 1).succeed();
  const told: string[] = [];
  manager.subscribe(({ identity, rootsPem }) => told.push(`${identity} ${rootsPem.join('+')}`));
  manager.renew(WEB);
  await at(fetches, 2).succeed({ rootsPem: ['root', 'new'] });
  t.deepEqual(told, [`${WEB} root+new`, `${CART} root+new`]);
  t.deepEqual(manager.current(CART)?.rootsPem, ['root', 'new']);
  t.is(manager.current(CART)?.serialNumber, '2');
});

test('an answer with older roots does not bring them back', async (t) => {
  const { manager, fetches } = start();
  manager.hold(WEB);
  manager.hold(CART);
  await at(fetches, 1).succeed({ rootsPem: ['root', 'new'] });
  await at(fetches, 0).succeed({ rootsPem: ['root'] });
  t.deepEqual(manager.current(WEB)?.rootsPem, ['root', 'new']);
  t.deepEqual(manager.current(CART)?.rootsPem, ['root', 'new']);
});

test('a dropped root makes every other identity fetch anew', async (t) => {
  const { clock, manager, fetches } = start();
  manager.hold(WEB);
  manager.hold(CART);
  await at(fetches, 0).succeed({ rootsPem: ['old', 'new'] });
  await at(fetches, 1).succeed({ rootsPem: ['old', 'new'] });
  manager.renew(WEB);
  await at(fetches, 2).succeed({ rootsPem: ['new'] });
  await clock.advance(0);
  t.is(at(fetches, 3).identity, CART);
  t.deepEqual(manager.current(CART)?.rootsPem, ['new']);
});

test('disposing ends fetches and everyone who waits', async (t) => {
  const { clock, manager, fetches } = start();
  const waiting = t.throwsAsync(manager.get(WEB), { code: 'ERR_CERTIFICATE_UNAVAILABLE' });
  manager[Symbol.dispose]();
  await waiting;
  t.true(at(fetches, 0).signal.aborted);
  await t.throwsAsync(manager.get(WEB), { code: 'ERR_CERTIFICATE_UNAVAILABLE' });
  await clock.advance(HOUR);
  t.is(fetches.length, 1);
});

test('retryFailed() waits for no back-off, and connections that come meanwhile wait for it', async (t) => {
  const { manager, fetches } = start();
  manager.hold(WEB);
  await at(fetches, 0).fail('the CA is away');
  await t.throwsAsync(manager.get(WEB), { code: 'ERR_CERTIFICATE_UNAVAILABLE' });
  manager.retryFailed();
  t.is(fetches.length, 2);
  const waiting = manager.get(WEB);
  await at(fetches, 1).succeed();
  t.is((await waiting).identity, WEB);
  manager.retryFailed();
  t.is(fetches.length, 2);
});

test('what a clock that was a day ahead has planned is not waited for when it is right again', async (t) => {
  const { clock, manager, fetches } = start();
  manager.hold(WEB);
  manager.hold(CART);
  await at(fetches, 0).succeed();
  await at(fetches, 1).fail();
  clock.set(25 * HOUR);
  manager.renew(WEB);
  await at(fetches, 2).fail('a certificate that has expired'); // it is planned again, for tomorrow
  manager.retryFailed();
  await at(fetches, 3).fail('a certificate that has expired');
  await at(fetches, 4).fail('a certificate that has expired');
  t.is(fetches.length, 5);
  clock.set(-25 * HOUR);

  // A connection that has no certificate does not wait at all, nor is it refused for what failed tomorrow.
  const waiting = manager.get(CART);
  t.is(fetches.length, 6);
  await at(fetches, 5).succeed();
  t.is((await waiting).identity, CART);
  // Whose certificate is still valid is renewed when the clock is looked at, long before that is over.
  t.is(manager.current(WEB)?.identity, WEB);
  await clock.advance(60_000);
  t.is(fetches.length, 7);
  t.is(at(fetches, 6).identity, WEB);
});
