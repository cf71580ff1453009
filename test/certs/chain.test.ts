import test from 'ava';
import { Tag } from '../../base/der.ts';
import { der, derBitString, derOid, derSequence, derSet } from '../../base/der-write.ts';
import { checkChain } from '../../certs/chain.ts';
import { makeBasicConstraints, signCertificate } from '../../certs/issue.ts';
import { publicKeyDer } from '../../certs/keys.ts';
import { Oid } from '../../certs/oids.ts';
import { makeKeys, makeTestCa } from '../support/test-ca.ts';

const ca = makeTestCa();
const keys = makeKeys();
const nowMs = Date.now();

/** A CA's certificate that is DER all through, with a subject and a key of any content. */
function certificate(subject: Buffer, publicKey: Buffer): string {
  return signCertificate(ca.signer, {
    ...{ subject, publicKey, notBeforeMs: nowMs - 60_000, notAfterMs: nowMs + 60_000 },
    extensions: [makeBasicConstraints(true)],
  }).pem;
}

const name = (value: Buffer): Buffer =>
  derSequence(derSet(derSequence(derOid(Oid.commonName), value)));
const badText = name(der(Tag.utf8String, Buffer.of(0xe3, 0x61)));
const noPoint = derSequence(
  derSequence(derOid(Oid.ecPublicKey), derOid(Oid.p256)),
  derBitString(Buffer.of(4, 1, 2)),
);
const flaws: readonly (readonly [title: string, pem: string])[] = [
  ['a name in text that is none', certificate(badText, publicKeyDer(keys.publicKey))],
  ['a key that is no point of its curve', certificate(derSequence(), noPoint)],
];

for (const [title, pem] of flaws)
  test(`checkChain() refuses ${title} as it refuses any other, wherever it stands`, (t) => {
    const leaf = ca.issue('spiffe://cluster.local/ns/shop/sa/web').chainPem;
    const refused = { code: 'ERR_CHAIN', message: /a certificate that OpenSSL refuses$/ };
    t.throws(() => checkChain([pem], [ca.rootPem], nowMs), refused);
    t.throws(() => checkChain(leaf, [pem], nowMs), refused);
  });
