import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { describeError } from '../base/errors.ts';
import type { Logger } from '../mesh/runtime/log.ts';
import { writeWhole } from './status-files.ts';
import type { GeneratedObject } from './translate/settings.ts';

const FILE = 'generated.json';
/** Of a folder that cannot be written to: what it says is old, and somebody waits for the new. */
const RETRY_MS = 1000;

/** Asks whoever runs objects (the sandbox, by a file) for those that follow from the configuration, and no others. */
export class GeneratedFile implements Disposable {
  readonly #folder: string | undefined;
  readonly #log: Logger;
  readonly #take: () => Iterable<GeneratedObject>;
  #written = '';
  #retry: NodeJS.Timeout | undefined;

  /** @param folder absent: nobody is asked. */
  constructor(folder: string | undefined, log: Logger, take: () => Iterable<GeneratedObject>) {
    this.#folder = folder;
    this.#log = log;
    this.#take = take;
  }

  /** Writes what is to exist now, if that is not what was written last. Only a whole picture may be told: what is missing in it is removed. */
  update(): void {
    if (this.#folder === undefined) return;
    const text = `${JSON.stringify({ objects: [...this.#take()] }, null, 1)}\n`;
    if (text === this.#written) return;
    try {
      mkdirSync(this.#folder, { recursive: true });
      writeWhole(join(this.#folder, FILE), text);
      this.#written = text;
    } catch (error) {
      this.#log.error('cannot write what is to be run', { error: describeError(error) });
      clearTimeout(this.#retry);
      this.#retry = setTimeout(() => {
        this.update();
      }, RETRY_MS).unref();
    }
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#retry);
  }
}
