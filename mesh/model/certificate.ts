import type { SpiffeId } from './identity.ts';

/** What a workload shows its peers and checks them against. A value: renewing makes another one. */
export type WorkloadCertificate = Readonly<{
  identity: SpiffeId;
  /** PKCS #8 PEM. Never logged, never dumped. */
  privateKeyPem: string;
  /** PEM each: the leaf, then intermediates; without the root. */
  chainPem: readonly string[];
  /** PEM each: every root that peers may chain to. */
  rootsPem: readonly string[];
  /** Lower-case hexadecimal. */
  serialNumber: string;
  /** Milliseconds since the epoch. */
  notBeforeMs: number;
  notAfterMs: number;
}>;
