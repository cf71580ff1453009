import type { Severity } from '../../mesh/kubernetes/problem.ts';
import type { Snapshot } from '../snapshot.ts';
import type { MeshSettings } from '../translate/settings.ts';
import type { CheckedWorkload } from './workloads.ts';

/** What a check of one object says. */
export type Finding = Readonly<{ severity: Severity; message: string; mend: string }>;

/** What the checks look at. */
export type CheckedMesh = Readonly<{
  snapshot: Snapshot;
  settings: MeshSettings;
  workloads: readonly CheckedWorkload[];
  /** Namespaces that anything is in, or that are declared. */
  namespaces: ReadonlySet<string>;
}>;

export function warning(message: string, mend = ''): Finding {
  return { severity: 'warning', message, mend };
}
