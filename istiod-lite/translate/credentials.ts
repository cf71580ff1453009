import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readRevocationLists } from '../../certs/crl.ts';
import { describeError } from '../../base/errors.ts';
import { perObject } from '../../base/per-object.ts';
import type { ConfigMap } from '../../mesh/kubernetes/core.ts';
import { secretValue, type Secret } from '../../mesh/kubernetes/secret.ts';

/** PEM; or why it cannot be used, with nothing of it. */
export type Found<T> = T | Readonly<{ problem: string }>;

/** A chain from the certificate itself on, and its private key. */
export type KeyPair = Readonly<{ chainPem: string; keyPem: string }>;

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g;

/**
 * The certificate and key that a Secret holds, of type kubernetes.io/tls or as Istio has it. Read when it is first asked for: an
 * object is never changed, only replaced.
 */
export const keyPairOf = perObject(readKeyPair);

function readKeyPair(secret: Secret): Found<KeyPair> {
  const name = `Secret ${secret.ref.namespace}/${secret.ref.name}`;
  const chain = secretValue(secret, 'tls.crt', 'cert');
  const keyPem = secretValue(secret, 'tls.key', 'key');
  if (chain === undefined) return { problem: `${name} has no tls.crt` };
  if (keyPem === undefined) return { problem: `${name} has no tls.key` };
  const [leaf, ...others] = certificatesIn(chain);
  if (leaf === undefined || others.includes(undefined))
    return { problem: `tls.crt of ${name} holds no certificate that can be read` };
  try {
    if (!leaf.checkPrivateKey(createPrivateKey(keyPem)))
      return { problem: `tls.key of ${name} is the key of another certificate` };
  } catch {
    return { problem: `tls.key of ${name} holds no key that can be read` };
  }
  return { chainPem: pemIn(chain).join('\n'), keyPem };
}

/** The revocation lists that a ConfigMap or Secret has under `ca.crl`; '' where it has none. */
export function revocationListsOf(
  object: ConfigMap | Secret,
): Found<Readonly<{ revocationLists: string }>> {
  const { kind, ref } = object;
  const text = kind === 'Secret' ? secretValue(object, 'ca.crl', 'crl') : object.data.get('ca.crl');
  if (text === undefined || text === '') return { revocationLists: '' };
  try {
    readRevocationLists(Buffer.from(text));
  } catch (error) {
    return { problem: `ca.crl of ${kind} ${ref.namespace}/${ref.name}: ${describeError(error)}` };
  }
  return { revocationLists: text };
}

/** The certificates of authorities that a ConfigMap or Secret has under `ca.crt`. */
export function rootsOf(object: ConfigMap | Secret): Found<Readonly<{ rootsPem: string }>> {
  const { kind, ref } = object;
  const name = `${kind} ${ref.namespace}/${ref.name}`;
  const text =
    kind === 'Secret' ? secretValue(object, 'ca.crt', 'cacert') : object.data.get('ca.crt');
  if (text === undefined || text === '') return { problem: `${name} has no ca.crt` };
  const found = certificatesIn(text);
  if (found.length === 0 || found.includes(undefined))
    return { problem: `ca.crt of ${name} holds no certificate that can be read` };
  return { rootsPem: pemIn(text).join('\n') };
}

/** What stands between certificates, such as remarks or a key, is left out. */
function pemIn(text: string): string[] {
  return text.match(CERTIFICATE) ?? [];
}

/** `undefined` for one that cannot be read. */
function certificatesIn(text: string): (X509Certificate | undefined)[] {
  return pemIn(text).map((pem) => {
    try {
      return new X509Certificate(pem);
    } catch {
      return undefined;
    }
  });
}
