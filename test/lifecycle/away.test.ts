import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import test from 'ava';
import { faketimeEnvironment } from '../support/faketime.ts';
import { startMesh } from '../support/mesh.ts';
import { sized } from './full-size.ts';
import { SHOP } from './shop.ts';

/*
 * The control plane is away for a day. libfaketime moves the wall clock of the supervisor, the control plane and the
 * proxies; timers go on as they are, as after a sleep of the machine.
 */
const AWAY_H = 24;
const STEP_H = sized(1, 4);
/** Certificates that a day leaves valid, and two days do not. */
const CERTIFICATE_LIFETIME_H = 25;
/** libfaketime reads its file so often, and sessions are idle so long before the next one shakes hands anew. */
const NOTICE_MS = 2200;
/** Tokens are signed anew within 10 s, and streams are tried again within 15. */
const RECOVERY_MS = 60_000;

const folder = mkdtempSync(join(tmpdir(), 'halo-clock-'));
const clockFile = join(folder, 'offset');
const fake = {
  ...faketimeEnvironment(clockFile),
  NO_FAKE_STAT: '1',
};
setAhead(0);
// Of the supervisor, which signs the proxies' tokens; this process has its libraries already.
Object.assign(process.env, fake);
process.on('exit', () => {
  rmSync(folder, { recursive: true, force: true });
});

const mesh = startMesh(test, {
  yaml: SHOP,
  settings: {
    partEnvironment: {
      'istiod-lite': fake,
      ztunnel: {
        ...fake,
        SECRET_TTL: `${CERTIFICATE_LIFETIME_H}h`,
        POOL_UNUSED_RELEASE_TIMEOUT: '1s',
      },
    },
  },
});

function setAhead(hours: number): void {
  writeFileSync(clockFile, `+${hours * 3600}`);
}

async function say(text: string): Promise<string> {
  const said = await (await mesh.peer('client')).say('web.shop', 80, text);
  return said.text === text ? said.ended : `${said.text} ${said.ended}`;
}

test.before('the server listens', async () => {
  await (await mesh.peer('web')).listen(9000);
});

test('a day without a control plane costs nothing, two days all that is new, and it comes back by itself', async (t) => {
  t.timeout(300_000);
  const held = await (await mesh.peer('client')).connect('web.shop', 80);
  t.is(await say('before'), 'end');
  const before = await mesh.metrics('node-2');

  await mesh.part('istiod-lite', 'stop');
  for (let hour = STEP_H; hour <= AWAY_H; hour += STEP_H) {
    setAhead(hour);
    await delay(NOTICE_MS);
    t.is(await say(`new ${hour}`), 'end', `after ${hour} h`);
    t.true(await held.echo(`held ${hour}`), `after ${hour} h`);
  }
  const failed = 'istio_tcp_connections_failed_total';
  t.is((await mesh.metrics('node-2')).growth(before, failed), 0);

  await mesh.part('istiod-lite', 'start');
  await recovered(async () => {
    await mesh.pushed();
    return 'end';
  });
  t.is(await say('it is back'), 'end');

  // Away again, and for longer than the certificates that came meanwhile.
  await mesh.part('istiod-lite', 'stop');
  setAhead(AWAY_H + 2 * CERTIFICATE_LIFETIME_H);
  await delay(NOTICE_MS);
  t.not(await say('too late'), 'end', 'without a valid certificate nothing is carried');
  await mesh.part('istiod-lite', 'start');
  t.is(await recovered(() => say('again')), 'end');
  await held.end();
});

/** Asks until the answer is `end`, for as long as it may take. */
async function recovered(ask: () => Promise<string>): Promise<string> {
  const deadlineMs = performance.now() + RECOVERY_MS;
  for (;;) {
    const answer = await ask().catch(String);
    if (answer === 'end' || performance.now() > deadlineMs) return answer;
    await delay(200);
  }
}
