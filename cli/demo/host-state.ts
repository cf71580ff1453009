import { execFile } from 'node:child_process';
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** What a host has that a sandbox could have left a trace in, by name; each text is equal when nothing changed. */
export type HostState = ReadonlyMap<string, string>;

/** Rules are left out where an ordinary user may not read them; such a user cannot change them either. */
export async function readHostState(): Promise<HostState> {
  const [interfaces, routes4, routes6, rules] = await Promise.all([
    tool('ip', ['-o', 'address', 'show']),
    tool('ip', ['-o', 'route', 'show', 'table', 'all']),
    tool('ip', ['-o', '-6', 'route', 'show', 'table', 'all']),
    tool('nft', ['-s', 'list', 'ruleset']).catch(() => undefined),
  ]);
  return new Map([
    // Lifetimes of leased addresses count down by themselves.
    ['interfaces', interfaces.replace(/(valid|preferred)_lft \S+/g, '')],
    ['routes', [routes4, routes6].join('\n').replace(/expires \S+/g, '')],
    ...(rules === undefined ? [] : [['rules', rules] as const]),
    ['mounts', mountsOf(readFileSync('/proc/self/mountinfo', 'utf8'))],
  ]);
}

/** The names of the parts in which two states differ. */
export function changedParts(before: HostState, after: HostState): string[] {
  return [...before.keys()].filter((part) => before.get(part) !== after.get(part));
}

/** npm puts packages' own commands first in PATH, and one of them is called `nft` too. */
async function tool(name: string, args: readonly string[]): Promise<string> {
  const path = (process.env['PATH'] ?? '').split(':').filter((at) => !at.includes('node_modules'));
  const PATH = [...path, '/usr/sbin', '/sbin'].join(':');
  const { stdout } = await run(name, args, { env: { ...process.env, PATH } });
  return stdout;
}

/** A namespace or process that must be gone afterwards. */
export type Traces = Readonly<{
  /** `net:[4026532000]` and the like, by which the kernel names a namespace. */
  namespaces: ReadonlySet<string>;
  /** Process ids with start times, so that an id used again is not mistaken. */
  processes: ReadonlySet<string>;
  /** When they were read, in clock ticks since the machine started. */
  takenTicks: number;
}>;

const KINDS = ['net', 'mnt', 'pid', 'uts'] as const;

/** A process and all that descend from it, with the namespaces that they do not share with us. */
export function readTraces(rootPid: number): Traces {
  const ours = new Set(namespacesOf('self'));
  const children = new Map<string, string[]>();
  for (const pid of pids()) {
    const parent = statOf(pid)[1] ?? '';
    children.set(parent, [...(children.get(parent) ?? []), pid]);
  }
  const namespaces = new Set<string>();
  const processes = new Set<string>();
  const visit = (pid: string): void => {
    processes.add(processKey(pid));
    for (const name of namespacesOf(pid)) if (!ours.has(name)) namespaces.add(name);
    for (const child of children.get(pid) ?? []) visit(child);
  };
  visit(String(rootPid));
  return { namespaces, processes, takenTicks: uptimeTicks() };
}

/**
 * What of the traces is still there; a process that has ended and only waits to be noticed is not. The kernel gives the
 * number of a namespace that is gone to the next one, so only processes from before count as being in it.
 */
export function remaining(traces: Traces): Traces {
  const alive = pids().filter((pid) => statOf(pid)[0] !== 'Z');
  const older = alive.filter((pid) => Number(statOf(pid)[19] ?? Infinity) <= traces.takenTicks);
  return {
    processes: new Set(alive.map(processKey).filter((key) => traces.processes.has(key))),
    namespaces: new Set(older.flatMap(namespacesOf).filter((name) => traces.namespaces.has(name))),
    takenTicks: traces.takenTicks,
  };
}

/** USER_HZ, which is 100 on every Linux of today. */
const TICKS_PER_SECOND = 100;

function uptimeTicks(): number {
  return Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * TICKS_PER_SECOND;
}

function pids(): string[] {
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name));
}

/** Empty for a process that has ended, or belongs to somebody else. */
function namespacesOf(pid: string): string[] {
  try {
    return KINDS.map((kind) => readlinkSync(`/proc/${pid}/ns/${kind}`));
  } catch {
    return [];
  }
}

function processKey(pid: string): string {
  return `${pid} ${statOf(pid)[19] ?? ''}`;
}

/** The fields of /proc/PID/stat from the third on: state, parent, ...; empty for a process that has ended. */
function statOf(pid: string): string[] {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name in parentheses may hold anything.
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return [];
  }
}

/** Without named network namespaces, which others on this host may come and go with; our own are looked for by themselves. */
function mountsOf(mountinfo: string): string {
  return mountinfo
    .split('\n')
    .filter((line) => !line.includes('/run/netns'))
    .join('\n');
}
