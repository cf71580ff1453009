import { readdirSync, readFileSync } from 'node:fs';

/** A process and all below it, as /proc has them now. */
export function processTree(pid: number): readonly number[] {
  const tree = [pid];
  for (const parent of tree) tree.push(...childrenOf(parent));
  return tree;
}

/**
 * Processor time used by the processes so far, in microseconds: user and system together, every thread that lives.
 * From schedstat, which counts nanoseconds where /proc/PID/stat counts ticks of 10 ms.
 */
export function processorTimeUs(pids: readonly number[]): number {
  let ns = 0;
  for (const pid of pids)
    for (const thread of list(`/proc/${pid}/task`))
      ns += Number(readProc(`/proc/${pid}/task/${thread}/schedstat`).split(' ')[0] ?? 0);
  return ns / 1000;
}

/** Memory of processes, in bytes. */
export type ProcessMemory = Readonly<{
  resident: number;
  /** Written by these processes and shared with nobody: what would be free without them. */
  privateDirty: number;
}>;

export function processMemory(pids: readonly number[]): ProcessMemory {
  const sums = { resident: 0, privateDirty: 0 };
  for (const pid of pids) {
    const text = readProc(`/proc/${pid}/smaps_rollup`);
    sums.resident += kilobytes(text, 'Rss') * 1024;
    sums.privateDirty += kilobytes(text, 'Private_Dirty') * 1024;
  }
  return sums;
}

/** Memory of several processes of one node, in bytes. */
export type NodeMemory = Readonly<{
  /** Proportional set size, as the kernel counts it: pages are divided among all of this machine that map them. */
  proportional: number;
  /**
   * The same as if the node were a machine of its own: pages of files are counted once for all of its processes, and
   * not divided among those of other nodes, which share a page cache here and nowhere else.
   */
  asOwnMachine: number;
}>;

/** @param pids of processes that run the same program, for the pages of its file are taken for the same. */
export function nodeMemory(pids: readonly number[]): NodeMemory {
  let [proportional, anonymous, file] = [0, 0, 0];
  for (const pid of pids) {
    const text = readProc(`/proc/${pid}/smaps_rollup`);
    const own = kilobytes(text, 'Anonymous');
    proportional += kilobytes(text, 'Pss');
    anonymous += own;
    file = Math.max(file, kilobytes(text, 'Rss') - own);
  }
  return { proportional: proportional * 1024, asOwnMachine: (anonymous + file) * 1024 };
}

/** Bytes that a process's network has sent on its interfaces but loopback, by /proc/net/dev (proc(5)). */
export function sentBytes(pid: number): number {
  const lines = readProc(`/proc/${pid}/net/dev`).split('\n');
  return lines.reduce((sum, line) => {
    const [name = '', counters] = line.split(':');
    if (counters === undefined || name.trim() === 'lo') return sum;
    return sum + Number(counters.trim().split(/\s+/)[8] ?? 0);
  }, 0);
}

/** When a process began, in milliseconds since 1970; right to 10 ms, the kernel's tick. NaN when it is not there. */
export function startedAtMs(pid: number): number {
  const stat = readProc(`/proc/${pid}/stat`);
  // The name in parentheses may hold anything; the 22nd field is the 20th behind it.
  const ticks = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? NaN);
  const uptimeSeconds = Number(readProc('/proc/uptime').split(' ')[0] ?? NaN);
  return Date.now() - uptimeSeconds * 1000 + ticks * 10;
}

/**
 * A process inside a pid namespace, as the outside numbers it.
 *
 * @param pid as the namespace of `insider` (a process in it, numbered from outside) numbers it.
 */
export function outsidePid(pid: number, insider: number): number | undefined {
  const family = new Set(processTree(insider));
  for (const candidate of family) {
    const numbers = /^NSpid:\s*(.*)$/m
      .exec(readProc(`/proc/${candidate}/status`))?.[1]
      ?.split(/\s+/);
    if (numbers !== undefined && numbers.length > 1 && Number(numbers.at(-1)) === pid)
      return candidate;
  }
  return undefined;
}

function childrenOf(pid: number): number[] {
  return list(`/proc/${pid}/task`).flatMap((thread) =>
    readProc(`/proc/${pid}/task/${thread}/children`).split(' ').filter(Boolean).map(Number),
  );
}

function kilobytes(text: string, field: string): number {
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1] ?? 0);
}

/** A file of /proc; nothing where the process has ended meanwhile. */
export function readProc(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
