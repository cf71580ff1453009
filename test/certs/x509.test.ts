import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import test from 'ava';
import fc from 'fast-check';
import { Tag } from '../../base/der.ts';
import { der, derSequence } from '../../base/der-write.ts';
import { MeshError } from '../../base/errors.ts';
import { makeExtension, makeSubjectAltName } from '../../certs/extensions.ts';
import { CLOCK_SKEW_MS, signCertificate } from '../../certs/issue.ts';
import { publicKeyDer } from '../../certs/keys.ts';
import { Oid } from '../../certs/oids.ts';
import { formatPem, parsePem } from '../../certs/pem.ts';
import { certificateIdentity, readCertificate } from '../../certs/x509.ts';
import { makeKeys, makeTestCa } from '../support/test-ca.ts';

const WEB = 'spiffe://cluster.local/ns/shop/sa/web';
const ca = makeTestCa();
const keys = makeKeys();

/** A certificate with these extensions and no others, signed by a real CA. */
function withExtensions(...extensions: readonly Buffer[]): string {
  return signCertificate(ca.signer, {
    subject: derSequence(),
    publicKey: publicKeyDer(keys.publicKey),
    notBeforeMs: Date.now() - CLOCK_SKEW_MS,
    notAfterMs: Date.now() + 60_000,
    extensions,
  }).pem;
}

const identity = test.macro({
  exec(t, certificate: () => string, expected: string) {
    try {
      t.is<string, string>(certificateIdentity(readCertificate(certificate())), expected);
    } catch (error) {
      t.is(error instanceof MeshError ? error.code : String(error), expected);
    }
  },
  title: (given = '') => `certificateIdentity() of ${given} (T1, T2, T3)`,
});

const uris =
  (...list: readonly string[]) =>
  () =>
    withExtensions(makeSubjectAltName({ uris: list }, true));
test('one SPIFFE id is that id', identity, uris(WEB), WEB);
test('no extension is refused', identity, () => withExtensions(), 'ERR_CERTIFICATE');
test('no names is refused', identity, uris(), 'ERR_CERTIFICATE');
test('two URIs is refused', identity, uris(WEB, WEB), 'ERR_CERTIFICATE');
test(
  'a URI with a host name is refused',
  identity,
  () => withExtensions(makeSubjectAltName({ uris: [WEB], dnsNames: ['web.test'] }, true)),
  'ERR_CERTIFICATE',
);
const rawName = (tag: number, content: Uint8Array) => () =>
  withExtensions(makeExtension(Oid.subjectAltName, true, derSequence(der(tag, content))));
test(
  'a NUL inside is refused',
  identity,
  rawName(0x86, Buffer.from(`${WEB}\0.evil`)),
  'ERR_CERTIFICATE',
);
test(
  'a comma and a second URI in one is refused',
  identity,
  uris(`${WEB}, URI:spiffe://x`),
  'ERR_CERTIFICATE',
);
test(
  'a comma without a space is refused',
  identity,
  uris(`${WEB},URI:spiffe://x`),
  'ERR_SPIFFE_ID',
);
test(
  'a look-alike letter is refused',
  identity,
  rawName(0x86, Buffer.from(WEB.replace('a', 'а'))),
  'ERR_CERTIFICATE',
);
test('an otherName is refused', identity, rawName(0xa0, Buffer.of(0x06, 1, 1)), 'ERR_CERTIFICATE');
test('an X.400 name is refused', identity, rawName(0xa3, Buffer.alloc(0)), 'ERR_CERTIFICATE');
for (const text of [
  'SPIFFE://cluster.local/ns/shop/sa/web',
  'https://cluster.local/ns/shop/sa/web',
  `${WEB}?query`,
  `${WEB}#fragment`,
  'spiffe://user@cluster.local/ns/shop/sa/web',
  'spiffe://cluster.local:443/ns/shop/sa/web',
  'spiffe://cluster.local/ns/../sa/web',
  'spiffe://cluster.local/ns/shop%2fsa/sa/web',
  'spiffe://Cluster.local/ns/shop/sa/web',
  'spiffe://cluster.local/ns/shop/sa/web/x',
  'spiffe://cluster.local/ns/shop',
  'spiffe:///ns/shop/sa/web',
  `spiffe://cluster.local/ns/shop/sa/${'a'.repeat(2049)}`,
])
  test(`${text.slice(0, 60)} is refused`, identity, uris(text), 'ERR_SPIFFE_ID');
test(
  'a CA is refused',
  identity,
  () => ca.issue(WEB, { isCa: true }).chainPem[0] ?? '',
  'ERR_CERTIFICATE',
);

test('readCertificate() reads what openssl makes', (t) => {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const text = execFileSync(
    'openssl',
    ['req', '-x509', ...key, '-keyout', '/dev/null', '-subj', '/O=team/CN=root', '-days', '3'],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
  );
  const read = readCertificate(text);
  t.true(read.isCa);
  t.deepEqual(read.subject, read.issuer);
  t.deepEqual(read.publicKey, publicKeyDer(new X509Certificate(text).publicKey));
  t.is(read.notAfterMs - read.notBeforeMs, 3 * 86_400_000);
});

const good = parsePem(ca.issue(WEB).chainPem[0] ?? '', 'CERTIFICATE', 1)[0] ?? Buffer.alloc(0);
const malformed = test.macro({
  exec(t, make: () => Uint8Array | string) {
    const given = make();
    const begin = process.hrtime.bigint();
    const error = t.throws(() => readCertificate(given), { instanceOf: MeshError });
    t.regex(error.code, /^ERR_(DER|PEM|CERTIFICATE)$/);
    t.true(process.hrtime.bigint() - begin < 50_000_000n, 'it is refused at once');
  },
  title: (given = '') => `readCertificate() refuses ${given} (T7)`,
});
test('nothing', malformed, () => Buffer.alloc(0));
test('a byte behind it', malformed, () => Buffer.concat([good, Buffer.of(0)]));
test('a certificate cut short', malformed, () => good.subarray(0, -1));
test('16 MiB', malformed, () => Buffer.alloc(16 * 1024 * 1024, 0x30));
test('16 MiB of PEM', malformed, () => 'A'.repeat(16 * 1024 * 1024));
test('an indefinite length', malformed, () =>
  Buffer.concat([Buffer.of(0x30, 0x80), good.subarray(4), Buffer.alloc(2)]),
);
test('a giant length', malformed, () => Buffer.of(0x30, 0x84, 0x7f, 0xff, 0xff, 0xff, 0x30));
test('a length not in its shortest form', malformed, () =>
  Buffer.concat([Buffer.of(0x30, 0x83, 0), good.subarray(2)]),
);
test('32,000 nested sequences', malformed, () => {
  let nested = Buffer.alloc(0);
  for (let depth = 0; depth < 16_000; depth++) {
    const header =
      nested.length < 0x80 ? [nested.length] : [0x82, nested.length >> 8, nested.length & 255];
    if (nested.length + 4 > 65_000) break;
    nested = Buffer.concat([Buffer.of(0x30, ...header), nested]);
  }
  return nested;
});
test('a negative serial number', malformed, () => {
  const bytes = Buffer.from(good);
  const serial = bytes.indexOf(Buffer.of(0x02, 0x10)) + 2;
  bytes[serial] = 0xff;
  return bytes;
});
test('an extension twice', malformed, () =>
  withExtensions(
    makeSubjectAltName({ uris: [WEB] }, true),
    makeSubjectAltName({ uris: [WEB] }, true),
  ),
);
test('65 names', malformed, uris(...Array.from({ length: 65 }, () => WEB)));
test('33 extensions', malformed, () =>
  withExtensions(
    ...Array.from({ length: 33 }, (_, index) =>
      makeExtension(`1.2.3.${index}`, false, der(Tag.null)),
    ),
  ),
);
test('another PEM label', malformed, () => formatPem('PRIVATE KEY', good));
test('two certificates in one PEM', malformed, () => formatPem('CERTIFICATE', good).repeat(2));
test('PEM with a flaw', malformed, () => formatPem('CERTIFICATE', good).replace('MII', 'M*I'));
test('PEM without its end', malformed, () => formatPem('CERTIFICATE', good).slice(0, -10));

test('readCertificate() answers changed bytes with fields or a MeshError, never with another', (t) => {
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.nat(255), (at, value) => {
      const changed = Buffer.from(good);
      changed[at] = value;
      try {
        readCertificate(changed);
      } catch (error) {
        if (!(error instanceof MeshError)) throw error;
      }
    }),
    { numRuns: 2000 },
  );
  t.pass();
});
