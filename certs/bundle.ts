import { MeshError } from '../base/errors.ts';
import { splitCertificates } from './pem.ts';
import { maySignCertificates, readCertificate } from './x509.ts';

/** A rotation has two, several clusters a few; a reader must try them all. */
const MAX_ROOTS = 64;

/**
 * Reads roots that stand one behind the other; the same one twice counts once. Whether they are still valid is for the
 * verifier to say, at the time of each handshake.
 *
 * @throws {MeshError} ERR_PEM, ERR_DER, ERR_CERTIFICATE, or ERR_ROOTS for a certificate that may not sign others.
 */
export function parseRoots(pem: string): string[] {
  const roots = mergeRoots(splitCertificates(pem, MAX_ROOTS));
  for (const root of roots) {
    if (maySignCertificates(readCertificate(root))) continue;
    throw new MeshError('ERR_ROOTS', 'local', 'Cannot read roots: found a certificate of no CA');
  }
  return roots;
}

/** All of them in order, each once. Each is PEM in the layout of formatPem(), so equal certificates are equal texts. */
export function mergeRoots(...lists: readonly (readonly string[])[]): string[] {
  return [...new Set(lists.flat())];
}

/** One text for a file or a message. */
export function formatRoots(roots: readonly string[]): string {
  return roots.join('');
}

/** True where everyone who trusts `smaller` also trusts `larger`. */
export function containsRoots(larger: readonly string[], smaller: readonly string[]): boolean {
  return smaller.every((root) => larger.includes(root));
}
