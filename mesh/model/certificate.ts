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

/**
 * 398 days: the longest lifetime of a certificate that a peer may show, and that our CA signs. A stolen key is of use until
 * its certificate ends, and most meshes check no revocation list. Istio's CA gives 90 days at most (MAX_WORKLOAD_CERT_TTL);
 * this leaves room for other CAs, up to what browsers allow of a server (CA/Browser Forum baseline requirements 6.3.2).
 */
export const LONGEST_LIFETIME_MS = 398 * 86_400_000;
