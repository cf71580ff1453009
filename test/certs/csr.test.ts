import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import test from 'ava';
import fc from 'fast-check';
import { Tag } from '../../base/der.ts';
import {
  der,
  derBitString,
  derContext,
  derOid,
  derSequence,
  derSet,
} from '../../base/der-write.ts';
import { derUnsigned } from '../../base/der-write.ts';
import { MeshError } from '../../base/errors.ts';
import { checkRequestedNames, makeCsr, parseCsr } from '../../certs/csr.ts';
import { KeyUsage, makeExtension, makeSubjectAltName } from '../../certs/extensions.ts';
import {
  makeBasicConstraints,
  makeExtKeyUsage,
  makeKeyUsage,
  makeName,
} from '../../certs/issue.ts';
import { publicKeyDer, type KeyPair } from '../../certs/keys.ts';
import { Oid } from '../../certs/oids.ts';
import { formatPem } from '../../certs/pem.ts';
import { parseSpiffeId } from '../../mesh/model/identity.ts';
import { makeKeys } from '../support/test-ca.ts';

const WEB = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/web');
const CART = 'spiffe://cluster.local/ns/shop/sa/cart';
const keys = makeKeys();
const openssl = (args: readonly string[], input?: string): string =>
  execFileSync('openssl', args, { input, encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'] });

type Odd = {
  version?: number;
  subject?: Buffer;
  publicKey?: Buffer;
  extensions?: readonly Buffer[];
  attributes?: readonly Buffer[];
  algorithm?: Buffer;
  digest?: string;
  signWith?: KeyObject;
  signature?: Buffer;
  behind?: Buffer;
};

const SAN = makeSubjectAltName({ uris: [WEB] }, true);
const extensionRequest = (...extensions: readonly Buffer[]): Buffer =>
  derSequence(derOid(Oid.extensionRequest), derSet(derSequence(...extensions)));

/** A request that is right in all but what a test asks for. */
function build(odd: Odd = {}, of: KeyPair = keys): Buffer {
  const attributes = odd.attributes ?? [extensionRequest(...(odd.extensions ?? [SAN]))];
  const body = derSequence(
    derUnsigned(Uint8Array.of(odd.version ?? 0)),
    odd.subject ?? derSequence(),
    odd.publicKey ?? publicKeyDer(of.publicKey),
    derContext(0, ...attributes),
  );
  const signature =
    odd.signature ?? sign(odd.digest ?? 'sha256', body, odd.signWith ?? of.privateKey);
  const algorithm = odd.algorithm ?? derSequence(derOid(Oid.ecdsaWithSha256));
  return Buffer.concat([
    derSequence(body, algorithm, derBitString(signature)),
    odd.behind ?? Buffer.alloc(0),
  ]);
}

for (const kind of ['ec', 'rsa'] as const) {
  test(`makeCsr() makes an ${kind} request that openssl verifies and parseCsr() reads`, (t) => {
    const own = makeKeys(kind);
    const csr = makeCsr(WEB, own);
    const text = openssl(['req', '-verify', '-noout', '-text'], csr);
    t.regex(text, /Subject: *\n/);
    t.regex(text, /X509v3 Subject Alternative Name: critical\s+URI:spiffe:\/\/cluster\.local/);
    const request = parseCsr(csr);
    t.deepEqual(request.names.uris, [WEB]);
    t.deepEqual(request.publicKey, publicKeyDer(own.publicKey));
    t.notThrows(() => {
      checkRequestedNames(request, WEB);
    });
  });
}

test('parseCsr() reads what openssl req makes, as PEM and as DER', (t) => {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-384', '-nodes'];
  const names = ['-subj', '/O=team', '-addext', `subjectAltName=URI:${WEB}`];
  const csr = openssl(['req', '-new', ...key, '-keyout', '/dev/null', '-sha384', ...names]);
  t.deepEqual(parseCsr(csr).names.uris, [WEB]);
  t.deepEqual(
    parseCsr(Buffer.from(openssl(['req'], csr).replace(/-.*-|\s/g, ''), 'base64')).names.uris,
    [WEB],
  );
});

const refused = test.macro({
  exec(t, csr: () => Buffer | string, code: string) {
    const error = t.throws(() => {
      checkRequestedNames(parseCsr(csr()), WEB);
    });
    t.is(error instanceof MeshError ? error.code : String(error), code);
  },
  title: (given = '') => `a request is refused with ${given} (T8, T9)`,
});

const names = (odd: Parameters<typeof makeSubjectAltName>[0]) => () =>
  build({ extensions: [makeSubjectAltName(odd, true)] });
test('the identity of another', refused, names({ uris: [CART] }), 'ERR_CSR');
test('two identities', refused, names({ uris: [WEB, CART] }), 'ERR_CSR');
test(
  'a host name beside its identity',
  refused,
  names({ uris: [WEB], dnsNames: ['a.test'] }),
  'ERR_CSR',
);
test('an address', refused, names({ ips: [Uint8Array.of(10, 0, 0, 1)] }), 'ERR_CSR');
test('a NUL in its identity', refused, names({ uris: [`${WEB}\0.test`] }), 'ERR_CERTIFICATE');
test(
  'a list of names in one URI',
  refused,
  names({ uris: [`${WEB}, URI:${CART}`] }),
  'ERR_CERTIFICATE',
);
test(
  'an e-mail address',
  refused,
  () =>
    build({
      extensions: [
        makeExtension(Oid.subjectAltName, true, derSequence(der(0x81, Buffer.from('a@b')))),
      ],
    }),
  'ERR_CSR',
);
test(
  'the common name of another',
  refused,
  () => build({ subject: makeName('team', CART) }),
  'ERR_CSR',
);
test('CA:true', refused, () => build({ extensions: [SAN, makeBasicConstraints(true)] }), 'ERR_CSR');
test(
  'the right to sign certificates',
  refused,
  () => build({ extensions: [SAN, makeKeyUsage(KeyUsage.keyCertSign)] }),
  'ERR_CSR',
);
test(
  'an unknown critical extension',
  refused,
  () => build({ extensions: [SAN, makeExtension(Oid.nameConstraints, true, derSequence())] }),
  'ERR_CSR',
);
test('an extension twice', refused, () => build({ extensions: [SAN, SAN] }), 'ERR_CERTIFICATE');
test(
  'an attribute twice',
  refused,
  () => build({ attributes: [extensionRequest(SAN), extensionRequest(SAN)] }),
  'ERR_CSR',
);
test(
  'a signature of another key',
  refused,
  () => build({ signWith: makeKeys().privateKey }),
  'ERR_CSR',
);
test(
  'a signature of zeros, r and s',
  refused,
  () =>
    build({ signature: derSequence(derUnsigned(Uint8Array.of(0)), derUnsigned(Uint8Array.of(0))) }),
  'ERR_CSR',
);
test('an empty signature', refused, () => build({ signature: Buffer.alloc(0) }), 'ERR_CSR');
test(
  'a SHA-1 signature',
  refused,
  () => build({ digest: 'sha1', algorithm: derSequence(derOid('1.2.840.10045.4.1')) }),
  'ERR_WEAK_SIGNATURE',
);
test(
  'an algorithm of another kind of key',
  refused,
  () => build({ algorithm: derSequence(derOid(Oid.rsaWithSha256), der(Tag.null)) }),
  'ERR_WEAK_SIGNATURE',
);
test('another version', refused, () => build({ version: 1 }), 'ERR_CSR');
test('bytes behind it', refused, () => build({ behind: Buffer.of(0) }), 'ERR_DER');
test('a request of 1 MiB', refused, () => Buffer.alloc(1024 * 1024, 0x30), 'ERR_CSR');
test('a PEM of 1 MiB', refused, () => 'A'.repeat(1024 * 1024), 'ERR_CSR');
test(
  'two PEM blocks',
  refused,
  () => formatPem('CERTIFICATE REQUEST', build()).repeat(2),
  'ERR_PEM',
);
test('another PEM label', refused, () => formatPem('CERTIFICATE', build()), 'ERR_PEM');
test(
  'text before the PEM block',
  refused,
  () => `x\n${formatPem('CERTIFICATE REQUEST', build())}`,
  'ERR_PEM',
);
test('nothing in it', refused, () => '', 'ERR_PEM');

const rsa = (bits: number, exponent = 65537): KeyPair =>
  generateKeyPairSync('rsa', { modulusLength: bits, publicExponent: exponent });
const weak = (make: () => KeyPair) => () => {
  const own = make();
  const algorithm =
    own.publicKey.asymmetricKeyType === 'rsa'
      ? derSequence(derOid(Oid.rsaWithSha256), der(Tag.null))
      : derSequence(derOid(Oid.ecdsaWithSha256));
  const digest = own.publicKey.asymmetricKeyType === 'ed25519' ? Buffer.alloc(64) : undefined;
  return build({ algorithm, ...(digest && { signature: digest }) }, own);
};
test(
  'RSA of 512 bits',
  refused,
  weak(() => rsa(512)),
  'ERR_WEAK_KEY',
);
test(
  'RSA of 1024 bits',
  refused,
  weak(() => rsa(1024)),
  'ERR_WEAK_KEY',
);
test(
  'RSA with the exponent 3',
  refused,
  weak(() => rsa(2048, 3)),
  'ERR_WEAK_KEY',
);
test(
  'a weak curve',
  refused,
  weak(() => generateKeyPairSync('ec', { namedCurve: 'P-224' })),
  'ERR_WEAK_KEY',
);
test(
  'a Koblitz curve',
  refused,
  weak(() => generateKeyPairSync('ec', { namedCurve: 'secp256k1' })),
  'ERR_WEAK_KEY',
);
test(
  'explicit curve parameters',
  refused,
  weak(() => generateKeyPairSync('ec', { namedCurve: 'P-256', paramEncoding: 'explicit' })),
  'ERR_WEAK_KEY',
);
test(
  'a key of another kind',
  refused,
  weak(() => generateKeyPairSync('ed25519')),
  'ERR_WEAK_KEY',
);

const curve = derSequence(derOid(Oid.ecPublicKey), derOid(Oid.p256));
test(
  'a point off the curve',
  refused,
  () =>
    build({
      publicKey: derSequence(
        curve,
        derBitString(Buffer.concat([Buffer.of(4), Buffer.alloc(64, 7)])),
      ),
    }),
  'ERR_WEAK_KEY',
);
test(
  'the point at infinity',
  refused,
  () => build({ publicKey: derSequence(curve, derBitString(Buffer.of(0))) }),
  'ERR_WEAK_KEY',
);
const bigRsa = (modulus: Buffer, exponent: Buffer) => () =>
  build({
    publicKey: derSequence(
      derSequence(derOid(Oid.rsaEncryption), der(Tag.null)),
      derBitString(derSequence(derUnsigned(modulus), derUnsigned(exponent))),
    ),
  });
test(
  'RSA of 16384 bits, at once',
  refused,
  bigRsa(Buffer.alloc(2048, 0xff), Buffer.of(1, 0, 1)),
  'ERR_WEAK_KEY',
);
test(
  'an RSA exponent of 1',
  refused,
  bigRsa(Buffer.alloc(256, 0xff), Buffer.of(1)),
  'ERR_WEAK_KEY',
);
test(
  'a huge RSA exponent',
  refused,
  bigRsa(Buffer.alloc(256, 0xff), Buffer.alloc(256, 0x7f)),
  'ERR_WEAK_KEY',
);

const part = (...values: readonly Buffer[]): Buffer =>
  derSequence(derOid(Oid.organization), ...values);
const utf8 = (value: string): Buffer => der(Tag.utf8String, Buffer.from(value));
const attribute = (oid: string, ...values: readonly Buffer[]): Buffer =>
  derSequence(derOid(oid), derSet(...values));
/** The object identifiers of attributes that mean nothing here. */
const foreign = (index: number): string => `1.2.3.${index}`;

test('one identity twice', refused, names({ uris: [WEB, WEB] }), 'ERR_CSR');
test(
  'a part of its subject that has two values',
  refused,
  () => build({ subject: derSequence(derSet(part(utf8('a')), part(utf8('b')))) }),
  'ERR_DER',
);
test(
  'a part of its subject with something behind its value',
  refused,
  () => build({ subject: derSequence(derSet(part(utf8('a'), utf8('b')))) }),
  'ERR_DER',
);
test(
  'a subject of 17 parts',
  refused,
  () => build({ subject: derSequence(...Array<Buffer>(17).fill(derSet(part(utf8('a'))))) }),
  'ERR_CSR',
);
test(
  'nine attributes',
  refused,
  () => build({ attributes: Array.from({ length: 9 }, (_, index) => attribute(foreign(index))) }),
  'ERR_CSR',
);
test(
  'an attribute with something behind its values',
  refused,
  () => build({ attributes: [derSequence(derOid(foreign(1)), derSet(), utf8('x'))] }),
  'ERR_DER',
);
test(
  'two values of its extensions',
  refused,
  () => build({ attributes: [attribute(Oid.extensionRequest, derSequence(SAN), derSequence())] }),
  'ERR_DER',
);

/** Signs a body of any content. */
const signed = (body: Buffer, ...behind: readonly Buffer[]): Buffer =>
  derSequence(
    body,
    derSequence(derOid(Oid.ecdsaWithSha256)),
    derBitString(sign('sha256', body, keys.privateKey)),
    ...behind,
  );
const bodyWith = (...behind: readonly Buffer[]): Buffer =>
  derSequence(
    derUnsigned(Uint8Array.of(0)),
    derSequence(),
    publicKeyDer(keys.publicKey),
    derContext(0, extensionRequest(SAN)),
    ...behind,
  );
test('something behind its signature', refused, () => signed(bodyWith(), utf8('x')), 'ERR_DER');
test('something behind its attributes', refused, () => signed(bodyWith(utf8('x'))), 'ERR_DER');

test('a request says nothing by other parts of its subject, other attributes, and CA:false', (t) => {
  const subject = derSequence(...Array<Buffer>(16).fill(derSet(part(utf8(CART)))));
  const attributes = [
    ...Array.from({ length: 7 }, (_, index) => attribute(foreign(index), utf8(CART))),
    extensionRequest(SAN, makeBasicConstraints(false)),
  ];
  const request = parseCsr(build({ subject, attributes }));
  t.deepEqual(request.commonNames, []);
  t.deepEqual(request.names.uris, [WEB]);
  t.false(request.wantsCa);
  const named = parseCsr(build({ subject: makeName('team', WEB) }));
  t.deepEqual(named.commonNames, [WEB]);
});

test('a request of 16 KiB is read, and one more byte is not', (t) => {
  const filled = (bytes: number): Buffer =>
    build({ attributes: [extensionRequest(SAN), attribute(foreign(1), utf8('x'.repeat(bytes)))] });
  const limit = 16 * 1024;
  let request = filled(limit - 400);
  // A signature has one length or another, by chance.
  for (let fill = limit - 400; request.length !== limit; fill += limit - request.length)
    request = filled(fill);
  t.notThrows(() => parseCsr(request));
  const found = /found 16385 bytes, at most 16384 are allowed$/;
  t.throws(() => parseCsr(Buffer.concat([request, Buffer.of(0)])), { message: found });
});

const reasons: readonly (readonly [reason: string, request: () => Buffer])[] = [
  ['another version than 1', () => build({ version: 1 })],
  ['a signature that its key did not make', () => build({ signature: Buffer.alloc(0) })],
  ['a subject alternative name that is no URI', names({ dnsNames: ['a.test'] })],
  ['several URIs', names({ uris: [WEB, CART] })],
  [`the name "${CART}" where the caller may have ${WEB}`, names({ uris: [CART] })],
  [
    `the name "${'x'.repeat(128)}" where the caller may have ${WEB}`,
    names({ uris: ['x'.repeat(200)] }),
  ],
  [
    'a request for a CA certificate',
    () => build({ extensions: [SAN, makeBasicConstraints(true)] }),
  ],
  [
    'a subject of too many parts',
    () => build({ subject: derSequence(...Array<Buffer>(17).fill(derSet(part(utf8('a'))))) }),
  ],
  [
    'too many attributes',
    () => build({ attributes: Array.from({ length: 9 }, (_, index) => attribute(foreign(index))) }),
  ],
  [
    `the attribute ${Oid.extensionRequest} twice`,
    () => build({ attributes: [extensionRequest(SAN), extensionRequest(SAN)] }),
  ],
  [
    `the critical extension ${Oid.nameConstraints}`,
    () => build({ extensions: [SAN, makeExtension(Oid.nameConstraints, true, derSequence())] }),
  ],
];
for (const [reason, request] of reasons)
  test(`the log tells of a request with ${reason.slice(0, 60)}`, (t) => {
    const error = t.throws(
      () => {
        checkRequestedNames(parseCsr(request()), WEB);
      },
      { instanceOf: MeshError },
    );
    t.is(error.message, `Cannot accept certificate request: found ${reason}`);
    t.is(error.side, 'downstream');
  });

test('a request without names is accepted, and names nobody', (t) => {
  const request = parseCsr(build({ attributes: [] }));
  t.deepEqual(request.names.uris, []);
  t.notThrows(() => {
    checkRequestedNames(request, WEB);
  });
});

test('purposes and plain key usage may be asked for; they mean nothing', (t) => {
  const extensions = [
    SAN,
    makeExtKeyUsage(Oid.serverAuth),
    makeKeyUsage(KeyUsage.digitalSignature),
  ];
  t.notThrows(() => {
    checkRequestedNames(parseCsr(build({ extensions })), WEB);
  });
});

test('a changed byte anywhere in a request is refused, or changes nothing', (t) => {
  const good = build();
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const changed = Buffer.from(good);
      changed[at] = (changed[at] ?? 0) ^ flip;
      try {
        checkRequestedNames(parseCsr(changed), WEB);
        return false;
      } catch (error) {
        return error instanceof MeshError;
      }
    }),
    { numRuns: 1000 },
  );
  t.pass();
});
