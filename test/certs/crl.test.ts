import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { MeshError } from '../../base/errors.ts';
import { readRevocationLists, Revocations } from '../../certs/crl.ts';
import { parsePem } from '../../certs/pem.ts';
import { crlPem, makeCrl } from '../support/crl.ts';
import { TemporaryFolder } from '../support/temporary-folder.ts';
import { makeTestCa, type TestCa } from '../support/test-ca.ts';

const CLIENT = 'spiffe://cluster.local/ns/shop/sa/client';

function chainOf(ca: TestCa): { chain: Buffer[]; serialNumber: string } {
  const { chainPem, serialNumber } = ca.issue(CLIENT);
  const chain = [...chainPem, ca.rootPem].flatMap((pem) => parsePem(pem, 'CERTIFICATE', 1));
  return { chain, serialNumber };
}

function revocationsOf(...files: readonly Buffer[]): Revocations {
  const revocations = new Revocations();
  revocations.replace(files.flatMap(readRevocationLists));
  return revocations;
}

test('a certificate on its issuer’s list is revoked, another one is not', (t) => {
  const ca = makeTestCa();
  const [bad, good] = [chainOf(ca), chainOf(ca)];
  const list = makeCrl(ca, ['0badcafe', bad.serialNumber]);
  for (const file of [list, Buffer.from(crlPem(list)), Buffer.from(`a comment\n${crlPem(list)}`)]) {
    const revocations = revocationsOf(file);
    t.is(revocations.find(bad.chain), bad.serialNumber);
    t.is(revocations.find(bad.chain), bad.serialNumber);
    t.is(revocations.find(good.chain), undefined);
  }
});

test('a revoked intermediate revokes what is below it', (t) => {
  const ca = makeTestCa();
  const below = chainOf(makeTestCa()).chain[0] ?? Buffer.alloc(0);
  const middle = chainOf(ca);
  const revocations = revocationsOf(makeCrl(ca, [middle.serialNumber]));
  t.is(revocations.find([below, ...middle.chain]), middle.serialNumber);
  t.is(revocations.find([below, ...chainOf(ca).chain]), undefined);
});

test('a certificate is unlisted where no list is signed by its issuer, and a root needs none', (t) => {
  const ca = makeTestCa();
  const { chain, serialNumber } = chainOf(ca);
  t.is(revocationsOf(makeCrl(ca, [])).findUnlisted(chain), undefined);
  t.is(revocationsOf(makeCrl(makeTestCa(), [])).findUnlisted(chain), serialNumber);
  t.is(new Revocations().findUnlisted(chain), serialNumber);
  t.is(new Revocations().findUnlisted(chain.slice(-1)), undefined);
});

test('a list counts only where the issuer in the chain has signed it', (t) => {
  const ca = makeTestCa();
  const { chain, serialNumber } = chainOf(ca);
  const impostor = makeTestCa();
  t.is(revocationsOf(makeCrl(impostor, [serialNumber])).find(chain), undefined);
  const forged = makeCrl(ca, [serialNumber]);
  forged.writeUInt8(forged.readUInt8(forged.length - 1) ^ 1, forged.length - 1);
  t.is(revocationsOf(forged).find(chain), undefined);
});

test('a list whose successor is late is still used', (t) => {
  const ca = makeTestCa();
  const { chain, serialNumber } = chainOf(ca);
  const late = makeCrl(ca, [serialNumber], { nextUpdateInMs: -1000 });
  t.is(revocationsOf(late).find(chain), serialNumber);
  t.is(revocationsOf(makeCrl(ca, [])).find(chain), undefined);
  t.is(new Revocations().find(chain), undefined);
});

test('what is no complete list is refused', (t) => {
  const ca = makeTestCa();
  const list = makeCrl(ca, ['01']);
  const refused = [
    Buffer.alloc(0),
    Buffer.from('no list'),
    list.subarray(0, -1),
    Buffer.concat([list, list]),
    makeCrl(ca, ['01'], { critical: '2.5.29.28' }), // a part only
    makeCrl(ca, ['01'], { critical: '2.5.29.27' }), // a delta
    Buffer.from(crlPem(list.subarray(0, -4))),
  ];
  for (const file of refused) {
    const error = t.throws(() => readRevocationLists(file), { instanceOf: MeshError });
    t.regex(error.code, /^ERR_(CRL|DER)$/);
  }
});

test('OpenSSL reads our test lists as we do', (t) => {
  const ca = makeTestCa();
  using temporary = new TemporaryFolder();
  const folder = temporary.path;
  const file = join(folder, 'list.pem');
  writeFileSync(file, crlPem(makeCrl(ca, ['0badcafe'])));
  const root = join(folder, 'root.pem');
  writeFileSync(root, ca.rootPem);
  const text = execFileSync('openssl', ['crl', '-in', file, '-CAfile', root, '-noout', '-text'], {
    ...{ encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] },
  });
  t.regex(text, /Serial Number: 0?BADCAFE/);
});
