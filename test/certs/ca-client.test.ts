import test from 'ava';
import { describeError } from '../../base/errors.ts';
import { containsRoots, mergeRoots, parseRoots } from '../../certs/bundle.ts';
import { acceptChain } from '../../certs/ca-client.ts';
import { makeSubjectAltName } from '../../certs/extensions.ts';
import {
  makeBasicConstraints,
  makeExtKeyUsage,
  issueWorkloadCertificate,
  signCertificate,
} from '../../certs/issue.ts';
import { derSequence } from '../../base/der-write.ts';
import { publicKeyDer } from '../../certs/keys.ts';
import { Oid } from '../../certs/oids.ts';
import { parseSpiffeId } from '../../mesh/model/identity.ts';
import { makeKeys, makeTestCa } from '../support/test-ca.ts';

const WEB = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/web');
const CART = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/cart');
const ca = makeTestCa({ intermediates: 2 });
const other = makeTestCa({ intermediates: 2 });
const keys = makeKeys();
const publicKey = publicKeyDer(keys.publicKey);
const nowMs = Date.now();
const HOUR = 3_600_000;

const leaf = (identity = WEB, key = publicKey, ttlMs = HOUR, at = nowMs): string =>
  issueWorkloadCertificate(ca.signer, { identity, publicKey: key, ttlMs, nowMs: at }).pem;
const [near = '', far = ''] = ca.intermediatesPem;

const accepted = test.macro({
  exec(t, chain: readonly string[], chainPem: readonly string[], rootsPem: readonly string[]) {
    const certificate = acceptChain(chain, WEB, keys, nowMs);
    t.deepEqual(certificate.chainPem, chainPem);
    t.deepEqual(certificate.rootsPem, rootsPem);
  },
  title: (given = '') => `acceptChain() accepts ${given}`,
});
const own = leaf();
test(
  'leaf, intermediates, root',
  accepted,
  [own, near, far, ca.rootPem],
  [own, near, far],
  [ca.rootPem],
);
test(
  'several roots in the last element',
  accepted,
  [own, near, far, other.rootPem + ca.rootPem],
  [own, near, far],
  [other.rootPem, ca.rootPem],
);
test(
  'intermediates in one element',
  accepted,
  [own, near + far, ca.rootPem],
  [own, near, far],
  [ca.rootPem],
);
test(
  'a root that is repeated among the intermediates',
  accepted,
  [own, near, far, ca.rootPem, ca.rootPem],
  [own, near, far],
  [ca.rootPem],
);

const refused = test.macro({
  exec(t, chain: readonly string[], reason: RegExp) {
    const error = t.throws(() => acceptChain(chain, WEB, keys, nowMs), { code: 'ERR_CA_ANSWER' });
    t.regex(describeError(error), reason);
  },
  title: (given = '') => `acceptChain() refuses ${given}`,
});
const behind = [near, far, ca.rootPem];
/** A certificate of the CA that is right but for these extensions. */
const odd = (...extensions: readonly Buffer[]): string =>
  signCertificate(ca.signer, {
    ...{ subject: derSequence(), publicKey },
    ...{ notBeforeMs: nowMs - 1000, notAfterMs: nowMs + HOUR },
    extensions,
  }).pem;
const san = makeSubjectAltName({ uris: [WEB] }, true);
const both = makeExtKeyUsage(Oid.serverAuth, Oid.clientAuth);
test('nothing', refused, [], /no roots/);
test('a leaf alone', refused, [own], /no roots/);
test('no leaf', refused, behind, /identity|names|URI/);
test('empty roots', refused, [own, near, far, ''], /PEM/);
test('the identity of another', refused, [leaf(CART), ...behind], /the identity .*cart/);
test(
  'the key of another',
  refused,
  [leaf(WEB, publicKeyDer(makeKeys().publicKey)), ...behind],
  /another key/,
);
test(
  'an expired leaf',
  refused,
  [leaf(WEB, publicKey, HOUR, nowMs - 2 * HOUR), ...behind],
  /has expired/,
);
test(
  'a leaf of the future',
  refused,
  [leaf(WEB, publicKey, HOUR, nowMs + HOUR), ...behind],
  /not valid yet/,
);
test('a gap in the chain', refused, [own, far, ca.rootPem], /did not sign each other/);
test('intermediates in the wrong order', refused, [own, far, near, ca.rootPem], /did not sign/);
test("another CA's root", refused, [own, near, far, other.rootPem], /none of the roots signed/);
test(
  "another CA's intermediates",
  refused,
  [own, ...other.intermediatesPem, ca.rootPem],
  /did not sign/,
);
test('a leaf as root', refused, [own, near, far, own], /of no CA/);
test(
  'two certificates where the leaf must be',
  refused,
  [own + near, far, ca.rootPem],
  /more than 1 blocks/,
);
test(
  '100 intermediates',
  refused,
  [own, ...Array.from({ length: 100 }, () => near), ca.rootPem],
  /intermediates/,
);
test(
  'a leaf that is a CA',
  refused,
  [odd(san, both, makeBasicConstraints(true)), ...behind],
  /CA certificate/,
);
test(
  'a leaf for servers alone',
  refused,
  [odd(san, makeExtKeyUsage(Oid.serverAuth)), ...behind],
  /no purpose/,
);
test('a leaf without a purpose', refused, [odd(san), ...behind], /no purpose/);
test(
  'a leaf with two identities',
  refused,
  [odd(makeSubjectAltName({ uris: [WEB, CART] }, true), both), ...behind],
  /2 URIs/,
);
test('a leaf with a forged signature', refused, [flip(own), ...behind], /did not sign|Cannot read/);
test(
  'a chain longer than a path length allows',
  refused,
  (() => {
    const short = makeTestCa({ intermediates: 2, pathLength: 0 });
    const { pem } = issueWorkloadCertificate(short.signer, {
      identity: WEB,
      publicKey,
      ttlMs: HOUR,
      nowMs,
    });
    return [pem, ...short.intermediatesPem, short.rootPem];
  })(),
  /more intermediates than allowed/,
);

test(
  'a chain through an intermediate that is no CA (T5)',
  refused,
  (() => {
    const plain = makeTestCa({ intermediates: 1, plainIntermediates: true });
    const request = { identity: WEB, publicKey, ttlMs: HOUR, nowMs };
    const { pem } = issueWorkloadCertificate(plain.signer, request);
    return [pem, ...plain.intermediatesPem, plain.rootPem];
  })(),
  /may not sign others/,
);

/** A bit of the last line, which is within the signature. */
function flip(pem: string): string {
  const lines = pem.trimEnd().split('\n');
  const last = lines.at(-2) ?? '';
  lines[lines.length - 2] = (last.startsWith('A') ? 'B' : 'A') + last.slice(1);
  return `${lines.join('\n')}\n`;
}

test('parseRoots() reads several roots and counts each once', (t) => {
  t.deepEqual(parseRoots(`\n${ca.rootPem}\n\n${other.rootPem}${ca.rootPem}`), [
    ca.rootPem,
    other.rootPem,
  ]);
  t.deepEqual(parseRoots(ca.rootPem.replaceAll('\n', '\r\n')), [ca.rootPem]);
});

test('mergeRoots() and containsRoots() treat roots as sets in order', (t) => {
  t.deepEqual(mergeRoots(['a', 'b'], ['b', 'c']), ['a', 'b', 'c']);
  t.true(containsRoots(['a', 'b'], ['b']));
  t.false(containsRoots(['a', 'b'], ['b', 'c']));
});
