import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Writes what nobody else may read, such as a key. @returns the path. */
export function writePrivate(folder: string, name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}
