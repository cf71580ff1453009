import { closeSync, openSync, readFileSync, renameSync, statSync, writeSync } from 'node:fs';

/** A file is moved to `<name>.1` when it is this long; so a part or container keeps 8 to 16 MiB. */
const MAX_LOG_BYTES = 8 * 1024 * 1024;

export type LogListener = (chunk: Buffer) => void;

/** Where the output of a part or a container goes: a file with a bound, and whoever follows it. */
export class LogFile {
  readonly path: string;
  readonly #listeners = new Set<LogListener>();
  #fd: number;
  #bytes: number;

  constructor(path: string) {
    this.path = path;
    this.#fd = openSync(path, 'a', 0o600);
    this.#bytes = statSync(path).size;
  }

  append(chunk: Buffer): void {
    if (this.#fd < 0) return;
    if (this.#bytes > 0 && this.#bytes + chunk.length > MAX_LOG_BYTES) this.#turnOver();
    writeSync(this.#fd, chunk);
    this.#bytes += chunk.length;
    for (const listener of this.#listeners) listener(chunk);
  }

  /** A line of the sandbox's own between those of the program. */
  note(text: string): void {
    this.append(Buffer.from(`[halo] ${text}\n`));
  }

  /** All that is kept, oldest first, or its last `tail` lines. */
  read(tail?: number): string {
    let text = '';
    for (const path of [`${this.path}.1`, this.path]) {
      try {
        text += readFileSync(path, 'utf8');
      } catch {
        continue; // not turned over yet
      }
    }
    if (tail === undefined) return text;
    const lines = text.split('\n');
    const end = lines.at(-1) === '' ? lines.length - 1 : lines.length;
    return lines.slice(Math.max(0, end - tail)).join('\n');
  }

  /** @returns how to stop. */
  follow(listener: LogListener): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
    this.#listeners.clear();
  }

  #turnOver(): void {
    closeSync(this.#fd);
    renameSync(this.path, `${this.path}.1`);
    this.#fd = openSync(this.path, 'a', 0o600);
    this.#bytes = 0;
  }
}
