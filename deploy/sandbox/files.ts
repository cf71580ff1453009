import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** Replaces a file in one step, so that no reader ever sees half of it. Names that begin with a dot are not yet files. */
export function writeFileAtomic(path: string, data: string | Uint8Array, mode = 0o600): void {
  const temporary = join(dirname(path), `.${basename(path)}.new`);
  writeFileSync(temporary, data, { mode });
  renameSync(temporary, path);
}

export function makeFolder(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
}

export function removeFile(path: string): void {
  rmSync(path, { force: true });
}
