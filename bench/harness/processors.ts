import { readFileSync } from 'node:fs';

type Command = readonly string[];

/**
 * The machine's processors, divided: who is measured has one alone, and shares it with nobody. Left to itself the scheduler places
 * who wakes whom on one processor or on two, holds to that for seconds, and has a small message cost a quarter more on two: which
 * of it a subject gets is luck.
 */
export class Processors {
  readonly #measured: number;
  readonly #others: readonly number[];

  /** @param allowed numbers of processors; of one alone everybody runs there. */
  constructor(allowed: readonly number[] = allowedProcessors()) {
    const others = allowed.slice(0, -1);
    this.#measured = allowed.at(-1) ?? 0;
    this.#others = others.length > 0 ? others : allowed;
  }

  /** Makes a command run where nobody else does. */
  forMeasured(command: Command): string[] {
    return pinned([this.#measured], command);
  }

  /** Makes a command run beside it. */
  forOthers(command: Command): string[] {
    return pinned(this.#others, command);
  }
}

function pinned(processors: readonly number[], command: Command): string[] {
  return ['taskset', '--cpu-list', processors.join(','), ...command];
}

function allowedProcessors(): number[] {
  const status = readFileSync('/proc/self/status', 'utf8');
  return parseProcessorList(/^Cpus_allowed_list:\s*(.*)$/m.exec(status)?.[1] ?? '0');
}

/** Of the kernel's form, such as `0-2,7`. */
export function parseProcessorList(list: string): number[] {
  return list.split(',').flatMap((range) => {
    const [first = 0, last = first] = range.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}
