import { join } from 'node:path';
import type { WorkloadCertificate } from '../../mesh/model/certificate.ts';

/** A way into the mesh for load that speaks no HBONE: TCP on loopback, one tunnel for each connection. */
export type EntryTask = Readonly<{
  /** Where it listens, and the authority of the tunnels from there. */
  ways: readonly Readonly<{ listenPort: number; authority: string }>[];
  /** The waypoint. */
  to: Readonly<{ host: string; port: number }>;
  /** Whom the waypoint has to prove to be. */
  peers: readonly string[];
  certificate: WorkloadCertificate;
}>;

export function entryCommand(task: EntryTask): string[] {
  const program = join(import.meta.dirname, 'entry-program.ts');
  const node = [process.execPath, '--disable-warning=ExperimentalWarning'];
  return [...node, program, JSON.stringify(task)];
}
