import { execFileSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { openDescriptors } from './memory.ts';

/** Few enough to be used up at once. */
const LIMIT = 512;
/** Longer than a turn of the reactor. */
const SETTLE_MS = 50;

/** Lets this process have few descriptors from now on. The runner gives every test file a process of its own. */
export function limitDescriptors(): void {
  execFileSync('prlimit', ['--pid', String(process.pid), `--nofile=${LIMIT}:`]);
}

/** Takes every descriptor that the limit allows but `left`, until it is disposed of. */
export class DescriptorHoard implements Disposable {
  readonly #taken: number[] = [];

  /** Waits first until nothing is being closed any more, which would give descriptors back later. */
  static async open(left: number): Promise<DescriptorHoard> {
    for (let before = -1, now = openDescriptors(); before !== now; now = openDescriptors()) {
      before = now;
      await delay(SETTLE_MS);
    }
    return new DescriptorHoard(left);
  }

  private constructor(left: number) {
    while (this.#takeOne());
    this.release(left);
  }

  /** Gives back that many; all without a number. */
  release(count = this.#taken.length): void {
    for (const fd of this.#taken.splice(0, count)) closeSync(fd);
  }

  [Symbol.dispose](): void {
    this.release();
  }

  #takeOne(): boolean {
    try {
      this.#taken.push(openSync('/dev/null', 'r'));
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EMFILE') throw error;
      return false;
    }
  }
}
