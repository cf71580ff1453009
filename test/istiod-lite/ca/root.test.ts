import { execFileSync } from 'node:child_process';
import { createPrivateKey } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { describeError } from '../../../base/errors.ts';
import { acceptChain } from '../../../certs/ca-client.ts';
import { parseRoots } from '../../../certs/bundle.ts';
import { checkChain } from '../../../certs/chain.ts';
import { privateKeyPem, publicKeyDer } from '../../../certs/keys.ts';
import type { CertificateAuthority } from '../../../istiod-lite/ca/authority.ts';
import { openAuthority, type OpenedAuthority } from '../../../istiod-lite/ca/open.ts';
import { loadPluggedInCa } from '../../../istiod-lite/ca/plugged-in.ts';
import { SelfMadeCa } from '../../../istiod-lite/ca/self-made.ts';
import type { WorkloadCertificate } from '../../../mesh/model/certificate.ts';
import { parseSpiffeId, parseTrustDomain } from '../../../mesh/model/identity.ts';
import { makeKeys, makeTestCa, type TestCa } from '../../support/test-ca.ts';

const WEB = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/web');
const trustDomain = parseTrustDomain('cluster.local');
const HOUR = 3_600_000;
const DAY = 24 * HOUR;

function makeFolder(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'halo-root-'));
  t.teardown(() => {
    rmSync(folder, { recursive: true });
  });
  return folder;
}

/** What a proxy makes of an answer of this CA now. */
function fetch(authority: CertificateAuthority): WorkloadCertificate {
  const keys = makeKeys();
  return acceptChain(
    authority.issue(WEB, publicKeyDer(keys.publicKey), HOUR),
    WEB,
    keys,
    Date.now(),
  );
}

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

/** Whether each of two peers accepts the other, as TLS would: by the chain and its own roots. */
function accept(one: WorkloadCertificate, other: WorkloadCertificate): boolean {
  try {
    checkChain(one.chainPem, other.rootsPem, Date.now());
    checkChain(other.chainPem, one.rootsPem, Date.now());
    return true;
  } catch {
    return false;
  }
}

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
function plugIn(folder: string, ca: TestCa, files: Readonly<Record<string, string>> = {}): void {
  mkdirSync(folder, { recursive: true });
  const [certificate = ca.rootPem] = ca.intermediatesPem;
  const all = {
    'ca-cert.pem': certificate,
    'ca-key.pem': privateKeyPem(ca.keys.privateKey),
    'cert-chain.pem': ca.intermediatesPem.join(''),
    'root-cert.pem': ca.rootPem,
    ...files,
  };
  for (const [name, content] of Object.entries(all)) writeFileSync(join(folder, name), content);
}

const pluggedIn = test.macro({
  async exec(
    t,
    ca: TestCa,
    files: (ca: TestCa) => Readonly<Record<string, string>>,
    length: number,
  ) {
    const folder = makeFolder(t);
    plugIn(folder, ca, files(ca));
    const opened = await openAuthority({
      caDir: join(folder, 'own'),
      cacertsDir: folder,
      trustDomain,
    });
    t.is(opened.kind, 'plugged-in');
    const leaf = fetch(opened.authority);
    t.is(leaf.chainPem.length, length);
    t.deepEqual(leaf.rootsPem, [ca.rootPem]);
  },
  title: (given = '') => `a CA that is plugged in is used: ${given}`,
});
const none = (): Readonly<Record<string, string>> => ({});
test('an intermediate', pluggedIn, makeTestCa({ intermediates: 1 }), none, 2);
test('two intermediates', pluggedIn, makeTestCa({ intermediates: 2 }), none, 3);
test('a root that signs itself', pluggedIn, makeTestCa(), none, 1);
test('RSA', pluggedIn, makeTestCa({ intermediates: 1, key: 'rsa' }), none, 2);
test(
  'with the root in cert-chain.pem',
  pluggedIn,
  makeTestCa({ intermediates: 1 }),
  (ca) => ({ 'cert-chain.pem': [...ca.intermediatesPem, ca.rootPem].join('') }),
  2,
);
test(
  'with only what is above ca-cert.pem in cert-chain.pem',
  pluggedIn,
  makeTestCa({ intermediates: 2 }),
  (ca) => ({ 'cert-chain.pem': ca.intermediatesPem.slice(1).join('') }),
  3,
);
test(
  'with explanations around the certificates',
  pluggedIn,
  makeTestCa({ intermediates: 1 }),
  (ca) => ({ 'root-cert.pem': `# our root\nIssuer: somebody\n${ca.rootPem}` }),
  2,
);
test(
  'with a SEC 1 key',
  pluggedIn,
  makeTestCa({ intermediates: 1 }),
  (ca) => ({
    'ca-key.pem': createPrivateKey(privateKeyPem(ca.keys.privateKey)).export({
      type: 'sec1',
      format: 'pem',
    }),
  }),
  2,
);

test('a CA that is plugged in as cert-manager does it is used', (t) => {
  const folder = makeFolder(t);
  const ca = makeTestCa({ intermediates: 2 });
  writeFileSync(join(folder, 'tls.crt'), ca.intermediatesPem.join(''));
  writeFileSync(join(folder, 'tls.key'), privateKeyPem(ca.keys.privateKey));
  writeFileSync(join(folder, 'ca.crt'), ca.rootPem);
  const material = loadPluggedInCa(folder, Date.now());
  t.is(material.intermediatesPem.length, 2);
});

const unusable = test.macro({
  async exec(t, change: (folder: string, ca: TestCa) => void, reason: RegExp) {
    const folder = makeFolder(t);
    const ca = makeTestCa({ intermediates: 1 });
    plugIn(folder, ca);
    change(folder, ca);
    const error = await t.throwsAsync(
      openAuthority({ caDir: join(folder, 'own'), cacertsDir: folder, trustDomain }),
      { code: 'ERR_CA' },
    );
    t.regex(describeError(error), reason);
    t.false(describeError(error).includes('PRIVATE KEY'));
  },
  title: (given = '') => `a CA that is plugged in is an error, and no root is made: ${given}`,
});
const put =
  (name: string, content: (ca: TestCa) => string) =>
  (folder: string, ca: TestCa): void => {
    writeFileSync(join(folder, name), content(ca));
  };
test(
  'no key and no chain',
  unusable,
  (folder) => {
    rmSync(join(folder, 'ca-key.pem'));
    rmSync(join(folder, 'cert-chain.pem'));
  },
  /found ca-key\.pem, cert-chain\.pem missing; it needs ca-cert\.pem, ca-key\.pem, cert-chain\.pem, root-cert\.pem; or tls\.crt, tls\.key, ca\.crt/,
);
test(
  'no certificate',
  unusable,
  (folder) => {
    rmSync(join(folder, 'ca-cert.pem'));
  },
  /found ca-cert\.pem missing/,
);
test(
  'the key of another',
  unusable,
  put('ca-key.pem', () => privateKeyPem(makeKeys().privateKey)),
  /does not belong/,
);
test(
  'the root of another',
  unusable,
  put('root-cert.pem', () => makeTestCa().rootPem),
  /none of the roots signed/,
);
test(
  'a key that is none',
  unusable,
  put('ca-key.pem', () => 'x'),
  /that cannot be used/,
);
test(
  'a leaf as CA',
  unusable,
  put('ca-cert.pem', (ca) => ca.issue(WEB).chainPem[0] ?? ''),
  /not one of a CA/,
);
test(
  'a leaf as root',
  unusable,
  put('root-cert.pem', (ca) => ca.issue(WEB).chainPem[0] ?? ''),
  /of no CA/,
);
test(
  'the chain of another',
  unusable,
  put('cert-chain.pem', () => makeTestCa({ intermediates: 1 }).intermediatesPem.join('')),
  /did not sign each other/,
);

test('another intermediate under the same root may come at any time, another root only beside the old', async (t) => {
  const folder = makeFolder(t);
  const ca = makeTestCa({ intermediates: 1 });
  plugIn(folder, ca);
  const opened = await openAuthority({
    caDir: join(folder, 'own'),
    cacertsDir: folder,
    trustDomain,
  });
  if (opened.kind !== 'plugged-in') throw new Error('Cannot be self-made');
  const before = fetch(opened.authority);

  const other = makeTestCa({ intermediates: 1 });
  plugIn(folder, other);
  t.throws(opened.reload, { code: 'ERR_CA_ROTATION' });
  t.true(accept(before, fetch(opened.authority)), 'the old one stays in force');

  plugIn(folder, ca, { 'root-cert.pem': ca.rootPem + other.rootPem });
  opened.reload();
  const both = fetch(opened.authority);
  t.is(both.rootsPem.length, 2);
  plugIn(folder, other, { 'root-cert.pem': ca.rootPem + other.rootPem });
  opened.reload();
  const switched = fetch(opened.authority);
  t.true(accept(both, switched));
  plugIn(folder, other);
  opened.reload();
  t.true(accept(switched, fetch(opened.authority)));
  t.false(accept(before, fetch(opened.authority)));
});
