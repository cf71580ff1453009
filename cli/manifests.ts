import { readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { MeshError } from '../base/errors.ts';

/** A file of YAML with its name, as errors will show it. */
export type Manifest = Readonly<{ source: string; text: string }>;

const SUFFIXES = ['.yaml', '.yml', '.json'];

/**
 * Reads what `-f` names: files as they are, folders with all below them that ends in .yaml, .yml or .json, and `-` for
 * the standard input; in the order given, inside a folder by name.
 *
 * @throws {MeshError} ERR_MANIFEST for what cannot be read, and for a folder without such a file unless those are allowed.
 */
export async function readManifests(
  paths: readonly string[],
  options: Readonly<{ emptyFolders?: boolean }> = {},
): Promise<Manifest[]> {
  const manifests: Manifest[] = [];
  for (const path of paths) {
    if (path === '-') {
      manifests.push({ source: 'stdin', text: await text(process.stdin) });
      continue;
    }
    try {
      const files = (await stat(path)).isDirectory() ? await filesBelow(path) : [path];
      if (files.length === 0 && options.emptyFolders !== true)
        throw new MeshError('ERR_MANIFEST', 'local', `Cannot read ${path}: no YAML file in it`);
      for (const source of files) manifests.push({ source, text: await readFile(source, 'utf8') });
    } catch (error) {
      if (error instanceof MeshError) throw error;
      throw new MeshError('ERR_MANIFEST', 'local', `Cannot read ${path}`, { cause: error });
    }
  }
  return manifests;
}

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => !entry.isDirectory() && SUFFIXES.some((end) => entry.name.endsWith(end)))
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => !path.slice(folder.length).includes('/.'))
    .sort();
}
