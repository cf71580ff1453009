import { readFileSync } from 'node:fs';
import { relative, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { formatColumns } from './table.ts';

/** What V8 writes with --cpu-prof, as far as it is used here. */
export type CpuProfile = Readonly<{
  nodes: readonly Readonly<{
    id: number;
    callFrame: Readonly<{ functionName: string; url: string; lineNumber: number }>;
  }>[];
  /** The node that was on top at each look. */
  samples: readonly number[];
  /** Microseconds before each look. */
  timeDeltas: readonly number[];
}>;

export type FunctionTime = Readonly<{ name: string; where: string; ms: number; share: number }>;

const ROOT = join(import.meta.dirname, '../..');
/** Node's own name for it, and where the engine's threads sleep. */
const IDLE: ReadonlySet<string> = new Set(['(idle)', 'epollWait']);

/** Time in each function itself, without those that it calls; the most first. Idle time is left out. */
export function functionTimes(profile: CpuProfile): FunctionTime[] {
  const frames = new Map(profile.nodes.map(({ id, callFrame }) => [id, callFrame]));
  const times = new Map<string, { name: string; where: string; us: number }>();
  let totalUs = 0;
  profile.samples.forEach((id, look) => {
    const frame = frames.get(id);
    const us = profile.timeDeltas[look] ?? 0;
    if (frame === undefined || IDLE.has(frame.functionName)) return;
    totalUs += us;
    const name = frame.functionName === '' ? '(anonymous)' : frame.functionName;
    const where = frame.url === '' ? '' : `${shorten(frame.url)}:${frame.lineNumber + 1}`;
    const key = `${name} ${where}`;
    const known = times.get(key);
    if (known === undefined) times.set(key, { name, where, us });
    else known.us += us;
  });
  return [...times.values()]
    .sort((a, b) => b.us - a.us)
    .map(({ name, where, us }) => ({ name, where, ms: us / 1000, share: us / totalUs }));
}

/** @throws {Error} when it is no profile. */
export function readProfile(path: string): CpuProfile {
  const parsed = JSON.parse(readFileSync(path, 'utf8')) as Partial<CpuProfile>;
  const { nodes, samples, timeDeltas } = parsed;
  if (nodes !== undefined && samples !== undefined && timeDeltas !== undefined)
    return { nodes, samples, timeDeltas };
  throw new Error(`Cannot read the profile ${path}: found no samples`);
}

/** The functions that take most, a line each. */
export function formatProfile(times: readonly FunctionTime[], count: number): string {
  const lines = times
    .slice(0, count)
    .map(({ name, where, ms, share }) => [
      ...[`${(share * 100).toFixed(1)} %`, `${ms.toFixed(0)} ms`, name, where],
    ]);
  return formatColumns([['self', '', 'function', ''], ...lines], new Set([0, 1]));
}

function shorten(url: string): string {
  return url.startsWith('file://') ? relative(ROOT, fileURLToPath(url)) : url;
}
