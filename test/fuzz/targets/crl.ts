import { match, ok } from 'node:assert';
import { readRevocationLists, Revocations } from '../../../certs/crl.ts';
import { makeTestCa } from '../../support/test-ca.ts';
import { unlessRefused, type Target } from '../oracle.ts';

const ca = makeTestCa();
const leaf = ca.issue('spiffe://cluster.local/ns/shop/sa/web');
const chain = [leaf.chainPem[0] ?? '', ca.rootPem].map((pem) =>
  Buffer.from(pem.replaceAll(/-----[A-Z ]+-----/g, ''), 'base64'),
);

/** A file is read or refused as a whole; and a list that our CA did not sign revokes none of its certificates. */
export const target: Target = {
  maxBytes: 64 << 10,
  check(input) {
    const codes = ['ERR_CRL', 'ERR_DER', 'ERR_CERTIFICATE'];
    const lists = unlessRefused(codes, () => readRevocationLists(input));
    if (lists === undefined) return;
    for (const { serials } of lists) for (const serial of serials) match(serial, /^[0-9a-f]*$/);
    const revocations = new Revocations();
    revocations.replace(lists);
    ok(revocations.find(chain) === undefined);
  },
};
