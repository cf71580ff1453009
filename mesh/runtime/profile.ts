import { Session } from 'node:inspector/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { MeshError } from '../../base/errors.ts';

export type CpuProfileOptions = Readonly<{
  seconds: number;
  /** Samples a second. */
  frequency: number;
}>;

/**
 * Where this thread spends its time from now on, as the JSON text of a `.cpuprofile`, which browsers' developer tools
 * open.
 *
 * @throws {MeshError} ERR_PROFILE_BUSY while another one is taken.
 */
export async function profileCpu({ seconds, frequency }: CpuProfileOptions): Promise<string> {
  if (profiling)
    throw new MeshError('ERR_PROFILE_BUSY', 'downstream', 'Cannot take two profiles at once');
  profiling = true;
  const session = new Session();
  try {
    session.connect();
    await session.post('Profiler.enable');
    await session.post('Profiler.setSamplingInterval', { interval: Math.round(1e6 / frequency) });
    await session.post('Profiler.start');
    await pause(seconds * 1000);
    const { profile } = await session.post('Profiler.stop');
    return JSON.stringify(profile);
  } finally {
    session.disconnect();
    profiling = false;
  }
}

let profiling = false;

/**
 * Samples which functions of this thread hold memory. Unlike a snapshot of the heap it stops nothing, and it shows no
 * values: private keys and tokens are among those.
 */
export class HeapSampling implements Disposable {
  #session: Session | undefined;

  /** Begins to sample, or ends it and forgets. Idempotent. */
  async activate(active: boolean): Promise<void> {
    if (active === (this.#session !== undefined)) return;
    if (!active) {
      this[Symbol.dispose]();
      return;
    }
    const session = new Session();
    this.#session = session;
    session.connect();
    await session.post('HeapProfiler.startSampling');
  }

  /** What was allocated since and lives, as the JSON text of a `.heapprofile`; `undefined` while it is not active. */
  async profile(): Promise<string | undefined> {
    if (this.#session === undefined) return undefined;
    const { profile } = await this.#session.post('HeapProfiler.getSamplingProfile');
    return JSON.stringify(profile);
  }

  [Symbol.dispose](): void {
    this.#session?.disconnect();
    this.#session = undefined;
  }
}
