import type { KeyObject } from 'node:crypto';
import { derSequence } from '../../base/der-write.ts';
import { KeyUsage, makeSubjectAltName } from '../../certs/extensions.ts';
import {
  CLOCK_SKEW_MS,
  makeBasicConstraints,
  makeExtKeyUsage,
  makeKeyUsage,
  makeName,
  signCertificate,
  type Signer,
} from '../../certs/issue.ts';
import { privateKeyPem, publicKeyDer } from '../../certs/keys.ts';
import { Oid } from '../../certs/oids.ts';
import type { WorkloadCertificate } from '../../mesh/model/certificate.ts';
import { parseSpiffeId } from '../../mesh/model/identity.ts';
import { makeKeys, type TestCa } from './test-ca.ts';

const HOUR_MS = 3_600_000;

/** What an attacker chose who has the CA's key, or has talked it into something; right where absent. */
export type Forgery = Readonly<{
  /** In place of the one URI: DER of the whole extension; none without. */
  names?: Buffer | 'none';
  keyUsage?: readonly number[] | 'none';
  purposes?: readonly string[] | 'none';
  isCa?: boolean;
  extensions?: readonly Buffer[];
  /** Who signs, and what stands between it and the root: the CA's own otherwise. */
  signer?: Signer;
  intermediatesPem?: readonly string[];
  keys?: Readonly<{ privateKey: KeyObject; publicKey: KeyObject }>;
}>;

/** A certificate for `identity` that is wrong in the ways asked for, and signed by a real CA. */
export function forge(ca: TestCa, identity: string, odd: Forgery = {}): WorkloadCertificate {
  const { privateKey, publicKey } = odd.keys ?? makeKeys();
  const nowMs = Date.now();
  const names = odd.names ?? makeSubjectAltName({ uris: [identity] }, true);
  const usage = odd.keyUsage ?? [KeyUsage.digitalSignature];
  const purposes = odd.purposes ?? [Oid.serverAuth, Oid.clientAuth];
  const leaf = signCertificate(odd.signer ?? ca.signer, {
    subject: derSequence(),
    publicKey: publicKeyDer(publicKey),
    notBeforeMs: nowMs - CLOCK_SKEW_MS,
    notAfterMs: nowMs + HOUR_MS,
    extensions: [
      ...(usage === 'none' ? [] : [makeKeyUsage(...usage)]),
      ...(purposes === 'none' ? [] : [makeExtKeyUsage(...purposes)]),
      makeBasicConstraints(odd.isCa ?? false),
      ...(names === 'none' ? [] : [names]),
      ...(odd.extensions ?? []),
    ],
  });
  return {
    identity: parseSpiffeId(identity),
    privateKeyPem: privateKeyPem(privateKey),
    chainPem: [leaf.pem, ...(odd.intermediatesPem ?? ca.intermediatesPem)],
    rootsPem: [ca.rootPem],
    serialNumber: leaf.serialNumber,
    notBeforeMs: leaf.notBeforeMs,
    notAfterMs: leaf.notAfterMs,
  };
}

/** What stands between a CA and a leaf, with these extensions and no others, and signs. */
export function forgeIntermediate(
  signer: Signer,
  extensions: readonly Buffer[],
  keys = makeKeys(),
): { signer: Signer; pem: string } {
  const name = makeName('cluster.local', `intermediate ${Math.random()}`);
  const nowMs = Date.now();
  const { pem, notAfterMs } = signCertificate(signer, {
    ...{ subject: name, publicKey: publicKeyDer(keys.publicKey), extensions },
    ...{ notBeforeMs: nowMs - CLOCK_SKEW_MS, notAfterMs: nowMs + HOUR_MS },
  });
  return { pem, signer: { privateKey: keys.privateKey, name, notAfterMs } };
}
