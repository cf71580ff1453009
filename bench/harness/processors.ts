import { readFileSync } from 'node:fs';
import { runChild } from './child.ts';

/**
 * Divides the machine's processors: who is measured has one, where only one of them works at a time, and who is around it the
 * others. With one request under way at a time the scheduler, left to itself, places who wakes whom on one processor or on two,
 * holds to that for seconds, and the same request costs a quarter more on two: which of it a subject gets is luck.
 */
export class Processors {
  readonly #all: readonly number[];
  readonly #measured: readonly number[];
  readonly #others: readonly number[];

  /** @param all numbers of processors; of one alone everybody runs there. */
  constructor(all: readonly number[] = processorsOf('self')) {
    this.#all = all;
    this.#measured = all.slice(-1);
    this.#others = all.length > 1 ? all.slice(0, -1) : all;
  }

  /** Makes a command run beside who is measured. */
  forOthers(command: readonly string[]): string[] {
    return ['taskset', '--cpu-list', this.#others.join(','), ...command];
  }

  /** @param measured pids, as `others`; those that are gone are left out. */
  async divide(measured: readonly number[], others: readonly number[]): Promise<void> {
    await move(measured, this.#measured);
    await move(others, this.#others);
  }

  /** All processors for all of them again. */
  async share(pids: readonly number[]): Promise<void> {
    await move(pids, this.#all);
  }
}

async function move(pids: readonly number[], processors: readonly number[]): Promise<void> {
  const options = ['--all-tasks', '--cpu-list', '--pid', processors.join(',')];
  for (const pid of pids) await runChild(['taskset', ...options, String(pid)]);
}

/** Where a process may run. */
export function processorsOf(pid: number | 'self'): number[] {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return parseProcessorList(/^Cpus_allowed_list:\s*(.*)$/m.exec(status)?.[1] ?? '0');
}

/** Of the kernel's form, such as `0-2,7`. */
export function parseProcessorList(list: string): number[] {
  return list.split(',').flatMap((range) => {
    const [first = 0, last = first] = range.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}
