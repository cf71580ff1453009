import { X509Certificate, type KeyObject } from 'node:crypto';
import { MeshError } from '../base/errors.ts';
import { maySignCertificates, readCertificate, type CertificateFields } from './x509.ts';

/** More no one has, and each costs a verifier time. */
export const MAX_INTERMEDIATES = 8;

type Link = Readonly<{ fields: CertificateFields; opened: X509Certificate; publicKey: KeyObject }>;

/**
 * Checks the shape of a chain that we are given for our own use: each certificate is signed by the next, the last by one
 * of the roots, all that sign may do so and are valid now. Peers' chains are not for this: OpenSSL verifies them whole
 * in the handshake.
 *
 * @param chainPem the leaf, or a CA, first; PEM each.
 * @param rootsPem PEM each.
 * @returns the fields of the first.
 * @throws {MeshError} ERR_CHAIN, or what readCertificate() throws.
 */
export function checkChain(
  chainPem: readonly string[],
  rootsPem: readonly string[],
  nowMs: number,
): CertificateFields {
  const [first, ...between] = chainPem.map(openLink);
  if (first === undefined) throw chainError('no certificate');
  if (between.length > MAX_INTERMEDIATES) throw chainError(`${between.length} intermediates`);
  let child = first;
  checkValidity(first.fields, nowMs);
  between.forEach((parent, below) => {
    if (!isSignedBy(child, parent)) throw chainError('certificates that did not sign each other');
    checkSigner(parent.fields, below, nowMs);
    child = parent;
  });
  const last = child;
  const anchor = rootsPem.map(openLink).find((root) => isSignedBy(last, root));
  if (anchor === undefined) throw chainError('an end that none of the roots signed');
  checkSigner(anchor.fields, between.length, nowMs);
  return first.fields;
}

function openLink(pem: string): Link {
  const fields = readCertificate(pem);
  try {
    const opened = new X509Certificate(fields.der);
    return { fields, opened, publicKey: opened.publicKey };
  } catch (cause) {
    // We do not read names and keys ourselves.
    throw chainError('a certificate that OpenSSL refuses', cause);
  }
}

function isSignedBy(child: Link, parent: Link): boolean {
  return (
    child.fields.issuer.equals(parent.fields.subject) &&
    child.opened.checkIssued(parent.opened) &&
    child.opened.verify(parent.publicKey)
  );
}

function checkSigner(fields: CertificateFields, below: number, nowMs: number): void {
  if (!maySignCertificates(fields)) throw chainError('a certificate that may not sign others');
  if ((fields.pathLength ?? below) < below) throw chainError('more intermediates than allowed');
  checkValidity(fields, nowMs);
}

function checkValidity(fields: CertificateFields, nowMs: number): void {
  if (fields.notBeforeMs > nowMs) throw chainError('a certificate that is not valid yet');
  if (fields.notAfterMs <= nowMs) throw chainError('a certificate that has expired');
}

function chainError(found: string, cause?: unknown): MeshError {
  const message = `Cannot accept certificate chain: found ${found}`;
  return new MeshError('ERR_CHAIN', 'local', message, { cause });
}
