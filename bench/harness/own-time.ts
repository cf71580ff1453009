import { mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Where control groups of version 2 are, alone or beside those of version 1. */
const PLACES = ['/sys/fs/cgroup', '/sys/fs/cgroup/unified'] as const;
const PREFIX = 'halo-bench-';
/** USER_HZ: of /proc/stat. */
const TICKS_PER_SECOND = 100;

/**
 * The processor time of this process and of all that it starts from now on, theirs included. A control group has it all; without
 * one, the processes that a namespace takes along when it ends are missing, for nobody waits for those.
 */
export class OwnTime implements Disposable {
  readonly #folder: string | undefined;
  readonly #before: number;

  constructor() {
    this.#folder = enterGroup();
    this.#before = this.#read();
    process.once('exit', this.#leave);
  }

  /** Whether it is all of it. */
  get isWhole(): boolean {
    return this.#folder !== undefined;
  }

  /** So far, in ticks of 10 ms; without a control group that of children which have not ended is missing. */
  ticks(): number {
    return this.#read() - this.#before;
  }

  [Symbol.dispose](): void {
    process.off('exit', this.#leave);
    this.#leave();
  }

  readonly #leave = (): void => {
    if (this.#folder === undefined) return;
    try {
      writeFileSync(join(this.#folder, '../cgroup.procs'), String(process.pid));
      rmdirSync(this.#folder);
    } catch {
      // A child outlives us, and keeps it until the next run.
    }
  };

  #read(): number {
    if (this.#folder === undefined) return readProcessTicks();
    const text = readFileSync(join(this.#folder, 'cpu.stat'), 'utf8');
    return (Number(/^usage_usec (\d+)/m.exec(text)?.[1]) / 1e6) * TICKS_PER_SECOND;
  }
}

/** @returns its folder; `undefined` where this user and machine have none to give. */
function enterGroup(): string | undefined {
  for (const place of PLACES)
    try {
      readFileSync(join(place, 'cgroup.controllers'));
      const group = /^0::(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1] ?? '/';
      const folder = join(place, group, `${PREFIX}${process.pid}`);
      removeEmpty(join(place, group));
      mkdirSync(folder);
      writeFileSync(join(folder, 'cgroup.procs'), String(process.pid));
      return folder;
    } catch {
      // Not here.
    }
  return undefined;
}

/** What runs have left that were killed; the kernel removes none in which a process is. */
function removeEmpty(parent: string): void {
  for (const name of readdirSync(parent).filter((each) => each.startsWith(PREFIX)))
    try {
      rmdirSync(join(parent, name));
    } catch {
      // Another run's.
    }
}

/** User and system time of this process and of its children that have ended: fields 14 to 17 (proc(5)). */
function readProcessTicks(): number {
  const stat = readFileSync('/proc/self/stat', 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
}
