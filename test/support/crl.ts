import { sign } from 'node:crypto';
import {
  der,
  derBitString,
  derContext,
  derOid,
  derSequence,
  derTime,
  derUnsigned,
} from '../../base/der-write.ts';
import { Tag } from '../../base/der.ts';
import { Oid } from '../../certs/oids.ts';
import type { TestCa } from './test-ca.ts';

/** A revocation list (version 2, DER) of a test's CA. */
export function makeCrl(
  ca: TestCa,
  serialNumbers: readonly string[],
  options: Readonly<{ nextUpdateInMs?: number; critical?: string }> = {},
): Buffer {
  const nowMs = Date.now();
  const algorithm = derSequence(derOid(Oid.ecdsaWithSha256));
  const entries = serialNumbers.map((serial) =>
    derSequence(derUnsigned(Buffer.from(serial, 'hex')), derTime(nowMs)),
  );
  const { critical, nextUpdateInMs = 86_400_000 } = options;
  const extension =
    critical === undefined
      ? derSequence(derOid('2.5.29.20'), der(Tag.octetString, derUnsigned(Buffer.from([1]))))
      : derSequence(derOid(critical), der(Tag.boolean, Buffer.from([0xff])), der(Tag.octetString));
  const signed = derSequence(
    derUnsigned(Buffer.from([1])),
    algorithm,
    ca.signer.name,
    derTime(nowMs),
    derTime(nowMs + nextUpdateInMs),
    ...(entries.length > 0 ? [derSequence(...entries)] : []),
    derContext(0, derSequence(extension)),
  );
  const signature = sign('sha256', signed, ca.signer.privateKey);
  return derSequence(signed, algorithm, derBitString(signature));
}

/** As tools write it. */
export function crlPem(crl: Buffer): string {
  const lines = crl.toString('base64').match(/.{1,64}/g) ?? [];
  return ['-----BEGIN X509 CRL-----', ...lines, '-----END X509 CRL-----', ''].join('\n');
}
