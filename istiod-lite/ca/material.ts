import { createPrivateKey, createPublicKey } from 'node:crypto';
import { MeshError } from '../../base/errors.ts';
import { parseRoots } from '../../certs/bundle.ts';
import { checkChain } from '../../certs/chain.ts';
import { makeSigner, type Signer } from '../../certs/issue.ts';
import { publicKeyDer, readPublicKey } from '../../certs/keys.ts';
import { splitCertificates } from '../../certs/pem.ts';

/** What a CA signs with and what stands around its certificates. A value: rotation and reloading make another one. */
export type CaMaterial = Readonly<{
  signer: Signer;
  /** What follows a leaf: the signing certificate and those above it, PEM each, without roots. */
  intermediatesPem: readonly string[];
  /** All roots that the mesh trusts, PEM each. */
  rootsPem: readonly string[];
}>;

const MAX_CHAIN = 16;

/**
 * Joins a CA's parts and checks that they fit: the key belongs to the certificate and is strong, the chain leads from
 * the certificate to one of the roots.
 *
 * @param parts.chainPem from the signing certificate upwards; it may repeat that certificate and the root, or not.
 * @throws {MeshError} ERR_CA with what does not fit; the key is in no message.
 */
export function makeMaterial(
  parts: Readonly<{
    certificatePem: string;
    privateKeyPem: string;
    chainPem: string;
    rootsPem: string;
  }>,
  nowMs: number,
): CaMaterial {
  try {
    const [certificate = ''] = splitCertificates(parts.certificatePem, MAX_CHAIN);
    const roots = parseRoots(parts.rootsPem);
    const privateKey = createPrivateKey(parts.privateKeyPem);
    const signer = makeSigner(certificate, privateKey);
    const publicKey = publicKeyDer(createPublicKey(privateKey));
    readPublicKey(publicKey);
    const above = parts.chainPem.trim() === '' ? [] : splitCertificates(parts.chainPem, MAX_CHAIN);
    const chain = [...new Set([certificate, ...above])];
    // A root that signs is sent with the roots, not twice.
    const intermediatesPem = chain.filter((pem) => !roots.includes(pem));
    const fields = checkChain([certificate, ...intermediatesPem.slice(1)], roots, nowMs);
    if (!fields.publicKey.equals(publicKey))
      throw new MeshError('ERR_CA', 'local', 'Cannot use key: it does not belong to certificate');
    return { signer, intermediatesPem, rootsPem: roots };
  } catch (cause) {
    throw new MeshError('ERR_CA', 'local', "Cannot use the CA's certificate and key", { cause });
  }
}
