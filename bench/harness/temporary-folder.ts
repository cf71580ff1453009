import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A folder that goes with all that is in it when it is disposed of, and with this process at the latest. */
export class TemporaryFolder implements Disposable {
  readonly path: string;
  readonly #onExit = (): void => {
    rmSync(this.path, { recursive: true, force: true });
  };

  /** @param what becomes part of its name. */
  constructor(what: string) {
    this.path = mkdtempSync(join(tmpdir(), `halo-bench-${what}-`));
    process.on('exit', this.#onExit);
  }

  [Symbol.dispose](): void {
    process.off('exit', this.#onExit);
    this.#onExit();
  }
}
