export type DrainSteps = Readonly<{
  /** No new work from here on. */
  stopAccepting(): void | Promise<void>;
  /** Tells peers to go elsewhere: GOAWAY. */
  announce(): void | Promise<void>;
  /** Settles when the last piece of work has ended by itself. */
  whenIdle(): Promise<void>;
  /** Ends what is left. */
  force(): void | Promise<void>;
}>;

/**
 * Shuts a part down in order: stop accepting, announce, wait, force.
 *
 * @param deadlineMs how long work may go on; 0 forces at once.
 * @returns whether all work ended by itself.
 */
export async function runDrain(
  steps: DrainSteps,
  deadlineMs: number,
): Promise<'drained' | 'forced'> {
  await steps.stopAccepting();
  await steps.announce();
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<'forced'>((resolve) => {
    timer = setTimeout(resolve, Math.min(deadlineMs, MAX_TIMER_MS), 'forced');
  });
  const idle = steps.whenIdle().then(() => 'drained' as const);
  const outcome = await Promise.race([idle, deadline]);
  clearTimeout(timer);
  if (outcome === 'forced') await steps.force();
  return outcome;
}

/** What setTimeout() takes; above it, it would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Counts work in flight, so that a drain knows when it has ended. */
export class InFlight {
  #count = 0;
  #waiters: (() => void)[] = [];

  get count(): number {
    return this.#count;
  }

  /** One more, until it is disposed. */
  begin(): Disposable {
    this.#count++;
    let ended = false;
    return {
      [Symbol.dispose]: () => {
        if (ended) return;
        ended = true;
        if (--this.#count > 0) return;
        const waiters = this.#waiters;
        this.#waiters = [];
        for (const wake of waiters) wake();
      },
    };
  }

  async whenIdle(): Promise<void> {
    if (this.#count === 0) return;
    await new Promise<void>((resolve) => this.#waiters.push(resolve));
  }
}
