import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { describeError } from '../../../base/errors.ts';
import { parseRoots } from '../../../certs/bundle.ts';
import { checkChain } from '../../../certs/chain.ts';
import { openAuthority, type OpenedAuthority } from '../../../istiod-lite/ca/open.ts';
import { SelfMadeCa } from '../../../istiod-lite/ca/self-made.ts';
import { parseSpiffeId, parseTrustDomain } from '../../../mesh/model/identity.ts';
import { accept, fetch, makeFolder } from '../../support/issued.ts';

const WEB = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/web');
const trustDomain = parseTrustDomain('cluster.local');
const DAY = 86_400_000;

for (const keyKind of ['ec-p256', 'rsa-2048'] as const)
  test(`a self-made ${keyKind} root is kept for its owner alone, and used again after a restart`, async (t) => {
    const caDir = join(makeFolder(t), 'ca');
    const first = await openAuthority({ caDir, trustDomain, keyKind });
    t.is(first.kind, 'self-made');
    t.is(statSync(caDir).mode & 0o777, 0o700);
    for (const name of readdirSync(caDir)) t.is(statSync(join(caDir, name)).mode & 0o777, 0o600);
    const again = await openAuthority({ caDir, trustDomain, keyKind });
    t.is(again.authority.rootsPem, first.authority.rootsPem);
    const leaf = fetch(again.authority);
    t.notThrows(() => checkChain(leaf.chainPem, parseRoots(first.authority.rootsPem), Date.now()));
    const text = execFileSync('openssl', ['x509', '-noout', '-text'], {
      input: first.authority.rootsPem,
      encoding: 'utf8',
    });
    t.regex(text, /Issuer: O = cluster\.local, CN = Halo root/);
    t.regex(text, /CA:TRUE/);
    t.regex(text, /Certificate Sign, CRL Sign/);
  });

const broken = test.macro({
  async exec(t, damage: (path: string) => void, reason: RegExp) {
    const caDir = makeFolder(t);
    const { authority } = await openAuthority({ caDir, trustDomain });
    const [name = ''] = readdirSync(caDir);
    const path = join(caDir, name);
    const before = readFileSync(path, 'utf8');
    damage(path);
    const error = await t.throwsAsync(openAuthority({ caDir, trustDomain }), { code: 'ERR_CA' });
    t.regex(describeError(error), reason);
    t.false(describeError(error).includes('PRIVATE KEY'), 'the key is in no message');
    writeFileSync(path, before);
    chmodSync(path, 0o600);
    t.is((await openAuthority({ caDir, trustDomain })).authority.rootsPem, authority.rootsPem);
  },
  title: (given = '') => `a self-made root is not replaced by a new one when its file is ${given}`,
});
test(
  'cut short',
  broken,
  (path) => {
    writeFileSync(path, readFileSync(path).subarray(0, -200));
  },
  /not what we wrote/,
);
test(
  'empty',
  broken,
  (path) => {
    writeFileSync(path, '');
  },
  /not what we wrote/,
);
test(
  'of another version',
  broken,
  (path) => {
    writeFileSync(path, '{"version":2}');
  },
  /version/,
);
test(
  'readable to others',
  broken,
  (path) => {
    chmodSync(path, 0o644);
  },
  /others may read it/,
);

test('a crash while the root is written leaves none, not half of one', async (t) => {
  const caDir = makeFolder(t);
  writeFileSync(join(caDir, 'ca.json.new'), '{"version":1,"sign');
  const { authority } = await openAuthority({ caDir, trustDomain });
  t.is(fetch(authority).identity, WEB);
});

test('a folder that others may enter becomes private when it is empty, and is refused when it is not', async (t) => {
  const empty = join(makeFolder(t), 'ca');
  mkdirSync(empty, { mode: 0o755 });
  await openAuthority({ caDir: empty, trustDomain });
  t.is(statSync(empty).mode & 0o777, 0o700);
  const shared = join(makeFolder(t), 'etc');
  mkdirSync(shared, { mode: 0o755 });
  writeFileSync(join(shared, 'passwd'), '');
  await t.throwsAsync(openAuthority({ caDir: shared, trustDomain }), {
    code: 'ERR_CA',
    message: /others may enter it \(mode 755\)/,
  });
  t.is(statSync(shared).mode & 0o777, 0o755);
});

test('an expired root is an error', async (t) => {
  const caDir = makeFolder(t);
  await openAuthority({ caDir, trustDomain, now: () => Date.now() - 3651 * DAY });
  const error = await t.throwsAsync(openAuthority({ caDir, trustDomain }), { code: 'ERR_CA' });
  t.regex(describeError(error), /has expired/);
});

async function openSelfMade(
  caDir: string,
  now = Date.now,
): Promise<Extract<OpenedAuthority, { kind: 'self-made' }>> {
  const opened = await openAuthority({ caDir, trustDomain, now });
  if (opened.kind !== 'self-made') throw new Error('Cannot be plugged in');
  return opened;
}

test('through a rotation every certificate is accepted by those of the step before, also after restarts (T12)', async (t) => {
  const caDir = makeFolder(t);
  const published: string[] = [];
  let before = fetch((await openSelfMade(caDir)).authority);
  for (const [step, phase, roots] of [
    ['begin', 'begun', 2],
    ['switch', 'switched', 2],
    ['finish', 'steady', 1],
  ] as const) {
    const opened = await openSelfMade(caDir);
    const unsubscribe = opened.authority.subscribeRoots((pem) => published.push(pem));
    await opened.rotate(step);
    unsubscribe();
    t.is(opened.selfMade.phase, phase);
    const after = fetch(opened.authority);
    t.true(accept(before, after), `the certificates before and after ${step} accept each other`);
    t.is(after.rootsPem.length, roots);
    t.is((await openSelfMade(caDir)).selfMade.phase, phase);
    before = after;
  }
  t.is(published.length, 5, 'each subscription, and each of the two changes of the bundle');
  t.false(published.at(-1) === published[0]);
});

test('a rotation goes in order', async (t) => {
  const { rotate } = await openSelfMade(makeFolder(t));
  await t.throwsAsync(rotate('switch'), { code: 'ERR_CA_ROTATION' });
  await t.throwsAsync(rotate('finish'), { code: 'ERR_CA_ROTATION' });
  await rotate('begin');
  await t.throwsAsync(rotate('begin'), { code: 'ERR_CA_ROTATION' });
  await t.throwsAsync(rotate('finish'), { code: 'ERR_CA_ROTATION' });
});

test('a step whose outcome could not be used leaves all as it was, in memory and on disk', async (t) => {
  const caDir = makeFolder(t);
  let aheadMs = 0;
  const opened = await openSelfMade(caDir, () => Date.now() + aheadMs);
  await opened.rotate('begin');
  const before = fetch(opened.authority);
  aheadMs = -86_400_000; // before the new root, which would sign from now on
  await t.throwsAsync(opened.rotate('switch'), { code: 'ERR_CA' });
  aheadMs = 0;
  t.is(opened.selfMade.phase, 'begun');
  t.is((await openSelfMade(caDir)).selfMade.phase, 'begun');
  await t.throwsAsync(opened.rotate('finish'), { code: 'ERR_CA_ROTATION' });
  t.true(accept(before, fetch(opened.authority)));
  await opened.rotate('switch');
  t.true(accept(before, fetch(opened.authority)));
  t.is(opened.selfMade.phase, 'switched');
});

test('of two who begin a rotation at once one does', async (t) => {
  const caDir = makeFolder(t);
  const { rotate, selfMade } = await openSelfMade(caDir);
  const outcomes = await Promise.allSettled([rotate('begin'), rotate('begin')]);
  t.deepEqual(outcomes.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
  t.is(selfMade.phase, 'begun');
});

test('the key of a root that signs no more is gone from the disk', async (t) => {
  const caDir = makeFolder(t);
  const { rotate } = await openSelfMade(caDir);
  const keys = (): number =>
    readFileSync(join(caDir, 'ca.json'), 'utf8').split('BEGIN PRIVATE').length - 1;
  await rotate('begin');
  t.is(keys(), 2);
  await rotate('switch');
  t.is(keys(), 1);
});

test('a rotation is due in the last fifth of a life', async (t) => {
  const made = Date.now();
  const ca = await SelfMadeCa.open({ folder: makeFolder(t), trustDomain }, made);
  t.true(Math.abs(ca.rotationDueMs - (made + 2920 * DAY)) < DAY);
});

/** The files of a CA, as somebody would plug it in. */
