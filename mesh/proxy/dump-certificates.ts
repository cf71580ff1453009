import type { CertificateManager, CertificateState } from '../../certs/manager.ts';
import { dumpCertificate, type Json } from '../admin/config-dump.ts';

/** The certificates of a proxy for `/config_dump`, without their keys. */
export function dumpCertificates(certificates: CertificateManager): Json[] {
  return [...certificates.states()].map(([identity, at]) =>
    dumpCertificate({ identity, ...dumpState(at) }),
  );
}

function dumpState(
  at: CertificateState,
): Pick<Parameters<typeof dumpCertificate>[0], 'state' | 'certificate'> {
  switch (at.kind) {
    case 'Available':
      return { state: { kind: 'available' }, certificate: at.certificate };
    case 'Initializing':
      return { state: { kind: 'initializing' } };
    case 'Unavailable':
      return { state: { kind: 'unavailable', reason: at.reason } };
  }
}
