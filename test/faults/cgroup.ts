import { accessSync, constants, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = '/sys/fs/cgroup';
type Controller = 'cpu' | 'memory';

/** Files of the two versions that say the same. */
const FILES = {
  1: { cpu: 'cpu.cfs_quota_us', memory: 'memory.limit_in_bytes', hits: 'memory.failcnt' },
  2: { cpu: 'cpu.max', memory: 'memory.max', hits: 'memory.events' },
} as const;

let made = 0;

/** A control group with a limit, for processes that are taken back to where they were. */
export class Cgroup {
  readonly version: 1 | 2;
  readonly #controller: Controller;
  readonly #folder: string;
  readonly #before = new Map<number, string>();

  private constructor(version: 1 | 2, controller: Controller, folder: string) {
    this.version = version;
    this.#controller = controller;
    this.#folder = folder;
    process.once('exit', this.#remove);
  }

  /** One with that controller; `undefined` where this user and machine have none to give. */
  static make(controller: Controller): Cgroup | undefined {
    const places = [
      [1, join(ROOT, controller)],
      [2, ROOT],
    ] as const;
    for (const [version, parent] of places) {
      const folder = join(parent, `halo-fault-${process.pid}-${++made}`);
      try {
        accessSync(join(parent, 'cgroup.procs'), constants.W_OK);
        if (version === 2) writeFileSync(join(parent, 'cgroup.subtree_control'), `+${controller}`);
        mkdirSync(folder);
        const group = new Cgroup(version, controller, folder);
        accessSync(join(folder, FILES[version][controller]), constants.W_OK);
        return group;
      } catch {
        // Not here; the other version perhaps.
      }
    }
    return undefined;
  }

  /** @param value as the file of version 2 has it, in the same unit: `10000` of a period of 100,000 us, or bytes. */
  limit(value: number): void {
    const text = this.version === 2 && this.#controller === 'cpu' ? `${value} 100000` : `${value}`;
    writeFileSync(join(this.#folder, FILES[this.version][this.#controller]), text);
  }

  /** Takes a process in, with all of its threads. */
  add(pid: number): void {
    this.#before.set(pid, this.#groupOf(pid));
    writeFileSync(join(this.#folder, 'cgroup.procs'), String(pid));
  }

  /** How often the memory limit was met. */
  get hits(): number {
    const text = readFileSync(join(this.#folder, FILES[this.version].hits), 'utf8');
    return Number((this.version === 1 ? text : /^max (\d+)$/m.exec(text)?.[1]) ?? 0);
  }

  /** Takes everybody back and removes the group. */
  end(): void {
    for (const [pid, folder] of this.#before)
      try {
        writeFileSync(join(folder, 'cgroup.procs'), String(pid));
      } catch {
        // It has ended.
      }
    this.#remove();
    process.off('exit', this.#remove);
  }

  readonly #remove = (): void => {
    try {
      rmdirSync(this.#folder);
    } catch {
      // Who is in it is about to end; an empty one that is left limits nobody.
    }
  };

  #groupOf(pid: number): string {
    const lines = readFileSync(`/proc/${pid}/cgroup`, 'utf8').split('\n');
    const wanted = this.version === 2 ? '' : this.#controller;
    const line = lines.find((text) => text.split(':')[1]?.split(',').includes(wanted) === true);
    const path = line?.split(':').slice(2).join(':') ?? '/';
    return join(this.version === 2 ? ROOT : join(ROOT, this.#controller), path);
  }
}
