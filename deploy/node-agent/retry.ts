/** As istio-cni retries a pod that is enrolled in part: 5 ms, doubling to 5 s, without end. */
const FIRST_MS = 5;
const LONGEST_MS = 5000;

/** Growing pauses between attempts. */
export class Backoff {
  #delayMs = FIRST_MS;

  next(): number {
    const delayMs = this.#delayMs;
    this.#delayMs = Math.min(LONGEST_MS, delayMs * 2);
    return delayMs;
  }

  reset(): void {
    this.#delayMs = FIRST_MS;
  }

  wait(signal: AbortSignal): Promise<void> {
    return pause(this.next(), signal);
  }
}

/** Waits; ends early, without an error, when the signal is given. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener('abort', end, { once: true });
  });
}
