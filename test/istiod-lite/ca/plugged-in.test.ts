import { createPrivateKey } from 'node:crypto';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { describeError } from '../../../base/errors.ts';
import { privateKeyPem } from '../../../certs/keys.ts';
import { openAuthority } from '../../../istiod-lite/ca/open.ts';
import { loadPluggedInCa } from '../../../istiod-lite/ca/plugged-in.ts';
import { parseSpiffeId, parseTrustDomain } from '../../../mesh/model/identity.ts';
import { accept, fetch, makeFolder } from '../../support/issued.ts';
import { makeKeys, makeTestCa, type TestCa } from '../../support/test-ca.ts';

const WEB = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/web');
const trustDomain = parseTrustDomain('cluster.local');

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
