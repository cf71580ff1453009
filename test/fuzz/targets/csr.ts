import { ok, strictEqual } from 'node:assert';
import { createPrivateKey, createPublicKey, sign, X509Certificate } from 'node:crypto';
import { derBitString, derOid, derSequence } from '../../../base/der-write.ts';
import { checkRequestedNames, parseCsr } from '../../../certs/csr.ts';
import { issueWorkloadCertificate } from '../../../certs/issue.ts';
import { Oid } from '../../../certs/oids.ts';
import { parseSpiffeId } from '../../../mesh/model/identity.ts';
import { makeTestCa } from '../../support/test-ca.ts';
import { splitChoice, unlessRefused, type Target } from '../oracle.ts';

export const REFUSED = [
  ...['ERR_CSR', 'ERR_PEM', 'ERR_DER', 'ERR_CERTIFICATE', 'ERR_WEAK_KEY', 'ERR_WEAK_SIGNATURE'],
];

/** A key for tests alone, the same in every run: signatures over mutated bodies hold for it. */
const privateKey = createPrivateKey(`-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgJ2Yx00hVzHdR5tox
keV1MJR93BffKNFqZ23c0HrWh8ShRANCAAR8zJwDQOUW0T/GItNOg5WBYhmJCXx2
ayBJQSY9ThhbqrroXJVkr9NX3FkhHq/c1hr19uKnupNGZ5HcoUv+LlOG
-----END PRIVATE KEY-----
`);
const ECDSA_SHA256 = derSequence(derOid(Oid.ecdsaWithSha256));

const ca = makeTestCa();
const identity = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/web');

/** The request of an input: as it came, or its body with a signature that holds for the key of the fuzzer. */
export function requestOf(input: Buffer): Buffer | string {
  const [choice, bytes] = splitChoice(input);
  if ((choice & 3) === 1) return bytes.toString('latin1');
  if ((choice & 3) === 2) return bytes;
  return derSequence(bytes, ECDSA_SHA256, derBitString(sign('sha256', bytes, privateKey)));
}

/** A request that is accepted holds a key that OpenSSL reads, and gives a certificate of that key and our name only. */
export const target: Target = {
  maxBytes: 18 << 10,
  check(input) {
    const request = unlessRefused(REFUSED, () => parseCsr(requestOf(input)));
    if (request === undefined) return;
    unlessRefused(['ERR_CSR'], () => {
      checkRequestedNames(request, identity);
    });
    const key = createPublicKey({ key: request.publicKey, format: 'der', type: 'spki' });
    const { publicKey } = request;
    const now = { ttlMs: 60_000, nowMs: Date.now() };
    const { pem } = issueWorkloadCertificate(ca.signer, { identity, publicKey, ...now });
    const issued = new X509Certificate(pem);
    ok(issued.publicKey.equals(key));
    strictEqual(issued.subjectAltName, `URI:${identity}`);
    ok(!issued.ca && issued.verify(new X509Certificate(ca.rootPem).publicKey));
  },
};
