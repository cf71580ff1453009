/** Kubernetes begins at 10 s and ends at 300; a machine of one's own need not wait that long. */
const FIRST_MS = 200;
const LONGEST_MS = 10_000;
/** What ran this long is taken as sound again. */
const SOUND_AFTER_MS = 20_000;

/** How long to wait before something that ended is started again. */
export class RestartBackoff {
  #delayMs = 0;

  /** @param ranMs how long it ran until it ended. */
  next(ranMs: number): number {
    const sound = ranMs >= SOUND_AFTER_MS || this.#delayMs === 0;
    this.#delayMs = sound ? FIRST_MS : Math.min(LONGEST_MS, this.#delayMs * 2);
    return this.#delayMs;
  }
}

/** Waits; ends early, with false, when the signal is given. */
export function pause(ms: number, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve(false);
      return;
    }
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve(!signal.aborted);
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener('abort', end, { once: true });
  });
}
