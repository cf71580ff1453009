import { join } from 'node:path';
import { runChild } from '../harness/child.ts';

export type ScaleTask = Readonly<{ workloads: number; proxies: number; changes: number }>;

/** What one size gave; times in milliseconds, memory in MB. */
export type ScaleReport = Readonly<{
  /** From starting to read the files until the control plane serves. */
  startMs: number;
  /** Resident, with every proxy connected and nothing under way. */
  controlMb: number;
  /** From asking to the whole state, of each proxy. */
  firstMs: readonly number[];
  /** From the first proxy that asks to the last that has everything. */
  allFirstMs: number;
  /** To one proxy that comes. */
  firstBytes: number;
  /** From writing a file to the last proxy's receipt, of each change. */
  changeMs: readonly number[];
  /** Processor time of the control plane for a change. */
  changeCpuMs: number;
  /** To all proxies for a change. */
  changeBytes: number;
}>;

/** One size, with what a proxy takes that knows all of it. */
export type ScalePoint = ScaleReport &
  Readonly<{
    workloads: number;
    proxies: number;
    /** Resident, of a ztunnel. */
    ztunnelMb: number;
  }>;

const PROGRAM = join(import.meta.dirname, 'control-program.ts');

/** Runs it in a process of its own, which holds the control plane and nothing else. */
export async function runScale(task: ScaleTask): Promise<ScaleReport> {
  const node = [process.execPath, '--disable-warning=ExperimentalWarning'];
  return JSON.parse(await runChild([...node, PROGRAM, JSON.stringify(task)])) as ScaleReport;
}
