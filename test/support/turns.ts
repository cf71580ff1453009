/** Finds the longest turn of this thread, in its own processor time: that does not depend on what else the machine does. */
export class TurnMeter implements Disposable {
  readonly #timer: NodeJS.Timeout;
  #before = cpuMs();
  longestMs = 0;
  /** Of all turns together. */
  allMs = 0;

  constructor() {
    this.#timer = setInterval(() => {
      const now = cpuMs();
      this.longestMs = Math.max(this.longestMs, now - this.#before);
      this.allMs += now - this.#before;
      this.#before = now;
    }, 1);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

function cpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}
