/** Kubernetes begins at 10 s and ends at 300; a machine of one's own need not wait that long. */
const FIRST_MS = 200;
const LONGEST_MS = 10_000;
/** What ran this long is taken as sound again. */
const SOUND_AFTER_MS = 20_000;

export type RestartBackoffOptions = Readonly<{
  /** What ran this long is sound; 20 s unless told otherwise. */
  soundAfterMs?: number;
  /** How long to wait for what was sound; 200 ms unless told otherwise. */
  soundDelayMs?: number;
}>;

/** How long to wait before something that ended is started again. */
export class RestartBackoff {
  readonly #soundAfterMs: number;
  readonly #soundDelayMs: number;
  #delayMs = 0;

  constructor(options: RestartBackoffOptions = {}) {
    this.#soundAfterMs = options.soundAfterMs ?? SOUND_AFTER_MS;
    this.#soundDelayMs = options.soundDelayMs ?? FIRST_MS;
  }

  /** @param ranMs how long it ran until it ended. */
  next(ranMs: number): number {
    if (ranMs >= this.#soundAfterMs) this.#delayMs = this.#soundDelayMs;
    else this.#delayMs = Math.min(LONGEST_MS, Math.max(FIRST_MS, this.#delayMs * 2));
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
