import { createServer, connect, type TLSSocket } from 'node:tls';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { acceptChain } from '../../../certs/ca-client.ts';
import { publicKeyDer } from '../../../certs/keys.ts';
import { openAuthority, type OpenedAuthority } from '../../../istiod-lite/ca/open.ts';
import { describeCa } from '../../../istiod-lite/ca/page.ts';
import { RotationSchedule } from '../../../istiod-lite/ca/rotation.ts';
import type { RotationStep } from '../../../istiod-lite/ca/self-made.ts';
import { followAuthority } from '../../../istiod-lite/ca/server-credentials.ts';
import type { WorkloadCertificate } from '../../../mesh/model/certificate.ts';
import { parseSpiffeId, parseTrustDomain } from '../../../mesh/model/identity.ts';
import { HandClock } from '../../support/hand-clock.ts';
import { makeKeys } from '../../support/test-ca.ts';

const WEB = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/web');
const trustDomain = parseTrustDomain('cluster.local');
const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** Real TLS looks at the real clock: all of a rotation lies in the hours before now. */
const LONGEST_TTL = 2 * HOUR;

type SelfMade = Extract<OpenedAuthority, { kind: 'self-made' }>;

/** One life of the CA, on a clock that the test moves. */
class Life implements Disposable {
  readonly opened: SelfMade;
  readonly schedule: RotationSchedule;
  readonly steps: RotationStep[] = [];
  readonly troubles: string[] = [];
  #wake: (() => void) | undefined;

  private constructor(opened: SelfMade, clock: HandClock) {
    this.opened = opened;
    this.schedule = new RotationSchedule({
      ...{ selfMade: opened.selfMade, rotate: opened.rotate, clock, longestTtlMs: LONGEST_TTL },
      onStep: (step) => {
        this.steps.push(step);
        this.#wake?.();
      },
      onTrouble: (message) => this.troubles.push(message),
    });
  }

  static async begin(caDir: string, clock: HandClock): Promise<Life> {
    const opened = await openAuthority({ caDir, trustDomain, now: clock.now });
    if (opened.kind !== 'self-made') throw new Error('Cannot be plugged in');
    const life = new Life(opened, clock);
    await life.schedule.start();
    return life;
  }

  /** Resolves when so many steps are done. */
  async done(steps: number): Promise<void> {
    while (this.steps.length < steps)
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
  }

  [Symbol.dispose](): void {
    this.schedule[Symbol.dispose]();
  }
}

/** A folder with a root of that age. */
async function rootOfAge(t: ExecutionContext, ageMs: number, nowMs: number): Promise<string> {
  const caDir = mkdtempSync(join(tmpdir(), 'halo-rotation-'));
  t.teardown(() => {
    rmSync(caDir, { recursive: true, force: true });
  });
  await openAuthority({ caDir, trustDomain, now: () => nowMs - ageMs });
  return caDir;
}

function fetch({ opened }: Life, clock: HandClock): WorkloadCertificate {
  const keys = makeKeys();
  const chain = opened.authority.issue(WEB, publicKeyDer(keys.publicKey), DAY);
  return acceptChain(chain, WEB, keys, clock.now());
}

/** Whether a real TLS client and a real TLS server with these certificates accept each other and pass bytes. */
async function shakeHands(client: WorkloadCertificate, server: WorkloadCertificate): Promise<void> {
  const optionsOf = ({ privateKeyPem, chainPem, rootsPem }: WorkloadCertificate) => ({
    ...{ key: privateKeyPem, cert: chainPem.join(''), ca: [...rootsPem] },
    ...{ rejectUnauthorized: true, minVersion: 'TLSv1.3' as const },
  });
  const listener = createServer({ ...optionsOf(server), requestCert: true }, (socket) => {
    socket.on('error', () => undefined);
    socket.end('hello');
  });
  listener.on('tlsClientError', () => undefined);
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address() as AddressInfo;
  const socket: TLSSocket = connect({
    ...{ ...optionsOf(client), port, host: '127.0.0.1', checkServerIdentity: () => undefined },
  });
  try {
    const [bytes] = (await once(socket, 'data')) as [Buffer];
    if (bytes.toString() !== 'hello') throw new Error(`Cannot read ${String(bytes)}`);
  } finally {
    socket.destroy();
    listener.close();
  }
}

test('a root in the last fifth of its life is changed, and at no time does a connection fail (T12)', async (t) => {
  const clock = new HandClock(Date.now() - 5 * HOUR);
  const caDir = await rootOfAge(t, 2921 * DAY, clock.now());
  using life = await Life.begin(caDir, clock);
  t.deepEqual(life.steps, ['begin'], 'it was due when we came');
  const [oldRoot] = life.opened.selfMade.roots();
  const proxies = [0, 1, 2, 3].map((number) => ({
    renewsAtMs: clock.now() + (number * LONGEST_TTL) / 8,
    // Two of them come from before the rotation, two from after its first step.
    certificate: fetch(life, clock),
  }));
  let rounds = 0;
  while (life.steps.length < 3) {
    t.true(++rounds < 20, 'it comes to an end');
    for (const proxy of proxies)
      if (clock.now() >= proxy.renewsAtMs) {
        proxy.certificate = fetch(life, clock);
        proxy.renewsAtMs = clock.now() + LONGEST_TTL / 2;
      }
    for (const { certificate: client } of proxies)
      for (const { certificate: server } of proxies)
        await t.notThrowsAsync(shakeHands(client, server));
    await clock.advance(HOUR / 4);
    await new Promise(setImmediate);
  }
  t.deepEqual(life.steps, ['begin', 'switch', 'finish']);
  t.deepEqual(life.troubles, []);
  for (const { certificate: client } of proxies)
    for (const { certificate: server } of proxies)
      await t.notThrowsAsync(shakeHands(client, server));
  // A test that cannot fail is none: who trusts only the new root refuses what the old one signed.
  const [newRoot] = life.opened.selfMade.roots();
  t.not(newRoot?.certificatePem, oldRoot?.certificatePem);
  const stranger = { ...fetch(life, clock), rootsPem: [oldRoot?.certificatePem ?? ''] };
  await t.throwsAsync(shakeHands(stranger, fetch(life, clock)));
  t.is(life.schedule.next().step, 'begin');
  t.true(life.schedule.next().atMs > clock.now() + 2900 * DAY);
});

test('a restart goes on at the right step, and time in which nobody was served does not count', async (t) => {
  const clock = new HandClock(Date.now() - 100 * DAY);
  const caDir = await rootOfAge(t, 2921 * DAY, clock.now());
  {
    using life = await Life.begin(caDir, clock);
    t.deepEqual(life.steps, ['begin']);
    t.is(life.schedule.next().step, 'switch');
    await clock.advance(HOUR);
    t.deepEqual(life.steps, ['begin'], 'an hour of 1.1 is over');
  }
  clock.jump(10 * DAY); // no proxy could fetch the new root
  {
    using life = await Life.begin(caDir, clock);
    t.deepEqual(life.steps, []);
    t.is(life.opened.selfMade.phase, 'begun');
    const { step, atMs } = life.schedule.next();
    t.is(step, 'switch');
    t.is(Math.round(atMs - clock.now()), 0.1 * HOUR);
    await clock.advance(HOUR);
    await life.done(1);
    t.deepEqual(life.steps, ['switch']);
  }
  using life = await Life.begin(caDir, clock);
  t.is(life.schedule.next().step, 'finish');
  t.is(Math.round(life.schedule.next().atMs - clock.now()), Math.round(1.1 * HOUR));
  clock.jump(10 * DAY); // the machine slept: that does not count either
  t.is(Math.round(life.schedule.next().atMs - clock.now()), Math.round(1.1 * HOUR));
  await clock.advance(3.1 * HOUR);
  await life.done(1);
  t.deepEqual(life.steps, ['finish']);
});

test('nothing is done before its time, and a step that fails is tried again', async (t) => {
  const clock = new HandClock(Date.now() - 10 * DAY);
  const caDir = await rootOfAge(t, 2919 * DAY, clock.now());
  using life = await Life.begin(caDir, clock);
  t.deepEqual(life.steps, []);
  const { step, atMs } = life.schedule.next();
  t.is(step, 'begin');
  t.true(Math.abs(atMs - clock.now() - DAY) < HOUR);
  rmSync(caDir, { recursive: true });
  await clock.advance(26 * HOUR);
  while (life.troubles.length === 0) await new Promise(setImmediate);
  t.deepEqual(life.steps, []);
  t.regex(life.troubles.join(), /Cannot change the root: .*ENOENT/);
  t.is(life.opened.selfMade.phase, 'steady');
  mkdirSync(caDir, { mode: 0o700 });
  await clock.advance(2 * HOUR);
  await life.done(1);
  t.deepEqual(life.steps, ['begin']);
});

test('the page of the CA shows its roots, and what is done next', async (t) => {
  const clock = new HandClock(Date.now() - HOUR);
  using life = await Life.begin(await rootOfAge(t, 2921 * DAY, clock.now()), clock);
  const names = { dnsNames: ['localhost'], ips: [] };
  using identity = await followAuthority(life.opened.authority, names, { clock });
  const shown = describeCa(life.opened, { identity, rotation: life.schedule });
  t.like(shown, {
    ...{ kind: 'self-made', phase: 'begun', nextStep: 'switch' },
    roots: [{ role: 'signing' }, { role: 'next' }],
    nextStepAt: new Date(clock.now() + 1.1 * HOUR).toISOString(),
    ownCertificateRenewedAt: new Date(clock.now() + 15 * DAY).toISOString(),
  });
  t.false(JSON.stringify(shown).includes('PRIVATE'));
});
