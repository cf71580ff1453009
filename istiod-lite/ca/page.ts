import { X509Certificate } from 'node:crypto';
import { parseRoots } from '../../certs/bundle.ts';
import type { ServerIdentity } from './server-credentials.ts';
import type { OpenedAuthority } from './open.ts';
import type { RotationSchedule } from './rotation.ts';

/** What the debug page of the CA shows: its roots, and where a change of them stands. */
export function describeCa(
  ca: OpenedAuthority,
  parts: Readonly<{ identity: ServerIdentity; rotation: RotationSchedule | undefined }>,
): unknown {
  const { identity, rotation } = parts;
  const roots =
    ca.kind === 'self-made'
      ? ca.selfMade.roots()
      : parseRoots(ca.authority.rootsPem).map((certificatePem) => ({ certificatePem }));
  const next = rotation?.next();
  return {
    kind: ca.kind,
    notAfter: timeText(ca.authority.notAfterMs),
    roots: roots.map(({ certificatePem, ...role }) => {
      const root = new X509Certificate(certificatePem);
      return {
        ...role,
        ...{ subject: root.subject, serialNumber: root.serialNumber.toLowerCase() },
        ...{ fingerprint256: root.fingerprint256 },
        ...{ notBefore: timeText(Date.parse(root.validFrom)) },
        ...{ notAfter: timeText(Date.parse(root.validTo)) },
      };
    }),
    ...(ca.kind === 'self-made' && { phase: ca.selfMade.phase }),
    ...(next && { nextStep: next.step, nextStepAt: timeText(next.atMs) }),
    ownCertificateRenewedAt: timeText(identity.renewalMs()),
  };
}

function timeText(ms: number): string {
  return new Date(ms).toISOString();
}
