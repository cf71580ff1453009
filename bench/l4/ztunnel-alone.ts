import { join } from 'node:path';
import { runChild } from '../harness/child.ts';
import type { ProcessMemory } from '../harness/processes.ts';

export type AloneTask = Readonly<{
  workloads: number;
  services: number;
  /** After one that is not counted. */
  starts: number;
  /** Whether memory is looked at after each start, which takes some seconds. */
  memory: boolean;
}>;

export type AloneReport = Readonly<{
  startsMs: readonly number[];
  memory: readonly ProcessMemory[];
}>;

const PROGRAM = join(import.meta.dirname, 'ztunnel-alone-program.ts');

/** Starts a ztunnel again and again, alone with a control plane, in a network namespace of its own. */
export async function runAlone(task: AloneTask): Promise<AloneReport> {
  const user = process.getuid?.() === 0 ? [] : ['--user', '--map-root-user'];
  const node = [process.execPath, '--disable-warning=ExperimentalWarning', PROGRAM];
  const script = 'ip link set lo up && exec "$@"';
  const inside = ['sh', '-c', script, 'sh', ...node, JSON.stringify(task)];
  const output = await runChild(['unshare', ...user, '--net', ...inside]);
  return JSON.parse(output) as AloneReport;
}
