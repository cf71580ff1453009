/** Lets connections wait for something that a later delta brings. */
export class StateWaiters {
  readonly #checks = new Set<() => void>();

  /**
   * Settles with the first result of `look` that is not `undefined`, asked now and after each announce().
   * With `undefined` once the signal aborts.
   */
  until<T>(look: () => T | undefined, signal: AbortSignal): Promise<T | undefined> {
    const found = look();
    if (found !== undefined || signal.aborted) return Promise.resolve(found);
    return new Promise((resolve, reject) => {
      const finish = (): void => {
        this.#checks.delete(check);
        signal.removeEventListener('abort', onAbort);
      };
      const check = (): void => {
        try {
          const result = look();
          if (result === undefined) return;
          finish();
          resolve(result);
        } catch (error) {
          finish();
          reject(error instanceof Error ? error : new Error(String(error)));
        }
      };
      const onAbort = (): void => {
        finish();
        resolve(undefined);
      };
      signal.addEventListener('abort', onAbort, { once: true });
      this.#checks.add(check);
    });
  }

  /** To be called after each delta that was applied. */
  announce(): void {
    for (const check of [...this.#checks]) check();
  }

  get waiting(): number {
    return this.#checks.size;
  }
}
