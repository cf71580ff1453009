import { ok, strictEqual } from 'node:assert';
import { X509Certificate } from 'node:crypto';
import { checkChain } from '../../../certs/chain.ts';
import { formatPem, splitCertificates } from '../../../certs/pem.ts';
import { certificateIdentity, readCertificate } from '../../../certs/x509.ts';
import { makeTestCa } from '../../support/test-ca.ts';
import { splitChoice, unlessRefused, type Target } from '../oracle.ts';

const REFUSED = ['ERR_DER', 'ERR_PEM', 'ERR_CERTIFICATE'];
const ca = makeTestCa();
const leaf = ca.issue('spiffe://cluster.local/ns/shop/sa/web').chainPem;

/** What both we and OpenSSL read says the same to both; a chain that OpenSSL cannot read is refused like any other. */
export const target: Target = {
  maxBytes: 16 << 10,
  check(input) {
    const [choice, bytes] = splitChoice(input);
    if ((choice & 1) !== 0) {
      const text = bytes.toString('latin1');
      for (const pem of unlessRefused(REFUSED, () => splitCertificates(text, 4)) ?? [])
        checkCertificate(Buffer.from(readBase64(pem), 'base64'));
    } else checkCertificate(bytes);
  },
};

function readBase64(pem: string): string {
  return pem.replaceAll(/-----[A-Z ]+-----/g, '');
}

function checkCertificate(der: Buffer): void {
  const fields = unlessRefused(REFUSED, () => readCertificate(der));
  if (fields === undefined) return;
  ok(fields.der.equals(der));
  const identity = unlessRefused([...REFUSED, 'ERR_SPIFFE_ID'], () => certificateIdentity(fields));
  const pem = formatPem('CERTIFICATE', der);
  const chains = [
    [[pem], [ca.rootPem]],
    [leaf, [pem]],
  ] as const;
  for (const [chain, roots] of chains)
    unlessRefused([...REFUSED, 'ERR_CHAIN'], () => checkChain(chain, roots, fields.notBeforeMs));
  const theirs = openWithOpenssl(der);
  if (theirs === undefined) return;
  strictEqual(BigInt(`0x${theirs.serialNumber}`), BigInt(`0x${fields.serialNumber}`));
  strictEqual(theirs.validFromDate.getTime(), fields.notBeforeMs);
  strictEqual(theirs.validToDate.getTime(), fields.notAfterMs);
  if (identity !== undefined) {
    strictEqual(theirs.subjectAltName, `URI:${identity}`);
    ok(!theirs.ca, 'a workload that OpenSSL takes for a CA');
  }
}

function openWithOpenssl(der: Buffer): X509Certificate | undefined {
  try {
    return new X509Certificate(der);
  } catch {
    return undefined;
  }
}
