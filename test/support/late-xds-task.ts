import type { TunnelCertificate } from './tunnel-task.ts';

export const HOLD_FILE = 'hold';
export const READY_FILE = 'ready';

/** A control plane's stand-in that can keep policies back. */
export type LateXdsTask = Readonly<{
  /** `<host>:<port>`, both. */
  listen: string;
  upstream: string;
  /** The name that the upstream's certificate has. */
  serverName: string;
  rootsPem: string;
  certificate: TunnelCertificate;
  /** Where the files are by which it is told, and tells. */
  folder: string;
}>;
