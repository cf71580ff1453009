/** A reason not to be ready; opening it twice is opening it once. */
export type ReadinessGate = Readonly<{ open(): void }>;

/** Ready when every gate that was made has been opened. */
export class Readiness {
  readonly #pending = new Set<string>();
  #waiters: (() => void)[] = [];

  /** @param name what is waited for, as a person reads it: `state manager`. */
  gate(name: string): ReadinessGate {
    this.#pending.add(name);
    return {
      open: () => {
        this.#pending.delete(name);
        if (this.#pending.size > 0) return;
        const waiters = this.#waiters;
        this.#waiters = [];
        for (const wake of waiters) wake();
      },
    };
  }

  /** The names of what is waited for, in the order in which the gates were made. */
  pending(): readonly string[] {
    return [...this.#pending];
  }

  /** `ready`, or `not ready, pending: ...`. */
  describe(): string {
    const pending = this.pending();
    return pending.length === 0 ? 'ready' : `not ready, pending: ${pending.join(', ')}`;
  }

  async whenReady(): Promise<void> {
    if (this.#pending.size === 0) return;
    await new Promise<void>((resolve) => this.#waiters.push(resolve));
  }
}
