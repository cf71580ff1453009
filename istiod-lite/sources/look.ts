import { lstatSync, realpathSync, type Dirent, type Stats } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { describeError, errorCode } from '../../base/errors.ts';
import { Breather } from '../breather.ts';

/** By which one state of a file is told from another. */
export type Seen = Readonly<{ mtimeMs: number; size: number; ino: number }>;

/** What was found at a path and under it. */
export type Found = Readonly<{
  files: Map<string, Seen>;
  folders: Set<string>;
  /** Paths of which nothing can be told, with the reason: what was known there must not be taken for gone. */
  unknown: Map<string, string>;
}>;

const EXTENSIONS = new Set(['.yaml', '.yml', '.json']);
const MAX_DEPTH = 16;

/**
 * Looks at a file or at a folder with all that is under it. Names that begin with a dot are left out; a path that is not
 * there yields nothing. Never rejects.
 *
 * @param onFolder is called before a folder is listed, so that what comes in meanwhile can be an event.
 */
export async function lookAt(path: string, onFolder: (folder: string) => void): Promise<Found> {
  const found: Found = { files: new Map(), folders: new Set(), unknown: new Map() };
  await look(path, { found, onFolder, breather: new Breather() }, 0);
  return found;
}

type Walk = Readonly<{
  found: Found;
  onFolder: (folder: string) => void;
  breather: Breather;
}>;

async function look(path: string, walk: Walk, depth: number): Promise<void> {
  const { files, unknown } = walk.found;
  try {
    // Asking at once takes 3 us, with a promise 100.
    const own = lstatSync(path);
    const stat = own.isSymbolicLink() ? lstatSync(realpathSync(path)) : own;
    // A link to a folder is not followed: it may lead anywhere, also in a circle.
    if (own.isDirectory()) await list(path, walk, depth);
    else if (stat.isFile() && isConfigName(basename(path))) files.set(path, seenOf(stat));
  } catch (error) {
    if (!isMissing(error)) unknown.set(path, describeError(error));
  }
  const breath = walk.breather.breathe();
  if (breath !== undefined) await breath;
}

async function list(folder: string, walk: Walk, depth: number): Promise<void> {
  if (depth > MAX_DEPTH) return;
  walk.onFolder(folder);
  let entries: Dirent[];
  try {
    entries = await readdir(folder, { withFileTypes: true });
  } catch (error) {
    if (!isMissing(error)) walk.found.unknown.set(folder, describeError(error));
    return;
  }
  walk.found.folders.add(folder);
  for (const entry of entries) {
    if (entry.name.startsWith('.')) continue;
    if (entry.isFile() && !isConfigName(entry.name)) continue;
    await look(join(folder, entry.name), walk, depth + 1);
  }
}

/** Whether two looks saw one state. */
export function isSame(one: Seen | undefined, other: Seen | undefined): boolean {
  return one?.mtimeMs === other?.mtimeMs && one?.size === other?.size && one?.ino === other?.ino;
}

export function seenOf({ mtimeMs, size, ino }: Stats): Seen {
  return { mtimeMs, size, ino };
}

function isConfigName(name: string): boolean {
  return !name.startsWith('.') && EXTENSIONS.has(extname(name));
}

/** Not there, or no longer under a folder. */
export function isMissing(error: unknown): boolean {
  const code = errorCode(error);
  return code === 'ENOENT' || code === 'ENOTDIR';
}
