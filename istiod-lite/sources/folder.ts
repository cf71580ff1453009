import { lstatSync, watch, type Dirent, type FSWatcher } from 'node:fs';
import { lstat, readdir, readFile, realpath } from 'node:fs/promises';
import { basename, extname, join, resolve } from 'node:path';
import { setImmediate as breath } from 'node:timers/promises';
import { describeError } from '../../base/errors.ts';
import { YAML_LIMITS } from '../../mesh/kubernetes/yaml.ts';
import { FileSet, type Origin } from './file-set.ts';
import type { ObjectKey } from '../../mesh/kubernetes/object.ts';
import type { ConfigSource, SourceListener } from './source.ts';

export type FolderSourceOptions = Readonly<{
  /** Folders, watched with all that is under them; in case of doubt the first wins. One that is missing is waited for. */
  folders: readonly string[];
  /** What is not an object's fault, such as a folder that cannot be watched. */
  onTrouble?: (message: string) => void;
  /** How often everything is looked at again, should the kernel's events have missed something. */
  rescanMs?: number;
}>;

/** A writer is given this long between two writes of one file, so that half a file is not taken for the whole. */
const QUIET_MS = 8;
/** A file that never rests is read after this long all the same. */
const MAX_DELAY_MS = 100;
const RESCAN_MS = 30_000;
const EXTENSIONS = new Set(['.yaml', '.yml', '.json']);
const MAX_DEPTH = 16;
const LOOKS_PER_BREATH = 256;

type Seen = Readonly<{ mtimeMs: number; size: number; ino: number }>;
type Found = Readonly<{ files: Map<string, Seen>; folders: Set<string> }>;

/** A source that reads folders of YAML and watches them. Names that begin with a dot are left out. */
export class FolderSource implements ConfigSource {
  readonly #folders: readonly string[];
  readonly #set: FileSet;
  readonly #options: FolderSourceOptions;
  readonly #watchers = new Map<string, FSWatcher>();
  readonly #seen = new Map<string, Seen>();
  #listener: SourceListener | undefined;
  #timer: NodeJS.Timeout | undefined;
  #rescan: NodeJS.Timeout | undefined;
  #firstEventMs = 0;
  readonly #dirty = new Set<string>();
  #scanning: Promise<void> = Promise.resolve();
  /** Asked for, and not begun. */
  #waitingScan: Promise<void> | undefined;
  #lastProblems = '[]';
  #closed = false;

  constructor(options: FolderSourceOptions) {
    this.#options = options;
    this.#folders = options.folders.map((folder) => resolve(folder));
    this.#set = new FileSet((a, b) => this.#rank(a) - this.#rank(b) || (a < b ? -1 : 1));
  }

  async start(listener: SourceListener): Promise<void> {
    this.#listener = listener;
    await this.refresh();
    const everyMs = this.#options.rescanMs ?? RESCAN_MS;
    this.#rescan = setInterval(() => void this.refresh(), everyMs);
    this.#rescan.unref();
  }

  refresh(): Promise<void> {
    // One scan at a time; a caller's scan begins after the call, so it sees what the caller wrote. Callers before it
    // begins share it: however many ask, one runs and one waits.
    if (this.#waitingScan === undefined) {
      this.#waitingScan = this.#scanning.then(() => {
        this.#waitingScan = undefined;
        return this.#scanAll();
      });
      this.#scanning = this.#waitingScan;
    }
    return this.#waitingScan;
  }

  /** Where the object in force stands. */
  originOf(key: ObjectKey): Origin | undefined {
    return this.#set.originOf(key);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    clearInterval(this.#rescan);
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
    await this.#scanning;
  }

  #rank(file: string): number {
    const found = this.#folders.findIndex((folder) => file.startsWith(`${folder}/`));
    return found < 0 ? this.#folders.length : found;
  }

  #onEvent(path: string): void {
    if (this.#closed) return;
    this.#dirty.add(path);
    const now = Date.now();
    if (this.#timer === undefined) this.#firstEventMs = now;
    else clearTimeout(this.#timer);
    const delayMs = Math.min(QUIET_MS, Math.max(0, this.#firstEventMs + MAX_DELAY_MS - now));
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#scanning = this.#scanning.then(() => this.#scanDirty());
    }, delayMs);
  }

  /** Never rejects: what goes wrong with a file is a problem of the file. */
  async #scanAll(): Promise<void> {
    this.#dirty.clear();
    for (const folder of this.#folders) {
      if (this.#closed) return;
      const found: Found = { files: new Map(), folders: new Set() };
      await this.#walk(folder, found, 0);
      await this.#settle(folder, found);
    }
    this.#deliver();
  }

  /** Looks only at what the kernel named. */
  async #scanDirty(): Promise<void> {
    const paths = [...this.#dirty];
    this.#dirty.clear();
    for (const path of paths) {
      if (this.#closed) return;
      const found: Found = { files: new Map(), folders: new Set() };
      if (this.#folders.includes(path)) await this.#walk(path, found, 0);
      else await this.#look(path, found, 1);
      await this.#settle(path, found);
    }
    this.#deliver();
  }

  /** Makes what is known of `scope` and all under it agree with what was found there. */
  async #settle(scope: string, found: Found): Promise<void> {
    const inScope = (path: string): boolean => path === scope || path.startsWith(`${scope}/`);
    for (const [folder, watcher] of this.#watchers)
      if (inScope(folder) && !found.folders.has(folder)) {
        watcher.close();
        this.#watchers.delete(folder);
      }
    const known = this.#seen.has(scope) ? [scope] : [...this.#seen.keys()].filter(inScope);
    for (const file of known)
      if (!found.files.has(file)) {
        this.#seen.delete(file);
        this.#set.removeFile(file);
      }
    for (const [file, now] of found.files) {
      const before = this.#seen.get(file);
      const same =
        before?.mtimeMs === now.mtimeMs && before.size === now.size && before.ino === now.ino;
      if (!same) await this.#read(file, now);
    }
  }

  async #walk(folder: string, found: Found, depth: number): Promise<void> {
    if (depth > MAX_DEPTH) return;
    // Watched before it is listed: what comes in between is an event.
    if (this.#watch(folder)) found.folders.add(folder);
    let entries: Dirent[];
    try {
      entries = await readdir(folder, { withFileTypes: true });
    } catch (error) {
      // A folder that is not there yet is waited for by the next rescan.
      if (!isMissing(error)) this.#trouble(`Cannot list ${folder}: ${describeError(error)}`);
      return;
    }
    let looked = 0;
    for (const entry of entries) {
      const path = join(folder, entry.name);
      if (!entry.isFile()) await this.#look(path, found, depth + 1);
      else if (isConfigName(entry.name)) {
        // Asking for a file's size at once takes 3 us, with a promise 100; a breath now and then lets others in.
        const seen = lookAt(path);
        if (seen !== undefined) found.files.set(path, seen);
        if (++looked % LOOKS_PER_BREATH === 0) await breath();
      }
    }
  }

  async #look(path: string, found: Found, depth: number): Promise<void> {
    const name = basename(path);
    if (name.startsWith('.')) return;
    try {
      const target = (await lstat(path)).isSymbolicLink() ? await realpath(path) : path;
      const { mtimeMs, size, ino, ...stat } = await statOf(target);
      // A link to a folder is not followed: it may lead anywhere, also in a circle.
      if (stat.isFolder && target === path) await this.#walk(path, found, depth);
      else if (stat.isFile && isConfigName(name)) found.files.set(path, { mtimeMs, size, ino });
    } catch (error) {
      if (!isMissing(error)) this.#trouble(`Cannot look at ${path}: ${describeError(error)}`);
    }
  }

  async #read(file: string, seen: Seen): Promise<void> {
    // Noted before it is read: whatever is written from now on is seen as a change.
    this.#seen.set(file, seen);
    try {
      if (seen.size > YAML_LIMITS.fileBytes)
        this.#set.setUnreadable(file, `the file is too large: found ${seen.size} bytes`);
      else this.#set.setFile(file, await readFile(file, 'utf8'));
    } catch (error) {
      this.#seen.delete(file);
      if (isMissing(error)) this.#set.removeFile(file);
      else this.#set.setUnreadable(file, `cannot be read: ${describeError(error)}`);
    }
  }

  #deliver(): void {
    const changes = this.#set.takeChanges();
    const problems = this.#set.problems();
    if (changes.upserts.length > 0 || changes.removals.length > 0)
      this.#listener?.onChange(changes);
    const text = JSON.stringify(problems);
    if (text === this.#lastProblems) return;
    this.#lastProblems = text;
    this.#listener?.onProblems(problems);
  }

  /** Whether the folder is there to be watched. */
  #watch(folder: string): boolean {
    if (this.#closed) return false;
    if (this.#watchers.has(folder)) return true;
    try {
      const watcher = watch(folder, (_event, name) => {
        this.#onEvent(name === null ? folder : join(folder, name));
      });
      watcher.on('error', () => {
        watcher.close();
        this.#watchers.delete(folder);
        this.#onEvent(folder);
      });
      this.#watchers.set(folder, watcher);
      return true;
    } catch (error) {
      if (!isMissing(error)) this.#trouble(`Cannot watch ${folder}: ${describeError(error)}`);
      return false;
    }
  }

  #trouble(message: string): void {
    this.#options.onTrouble?.(message);
  }
}

function isConfigName(name: string): boolean {
  return !name.startsWith('.') && EXTENSIONS.has(extname(name));
}

function lookAt(path: string): Seen | undefined {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return undefined;
  const { mtimeMs, size, ino } = stat;
  return { mtimeMs, size, ino };
}

async function statOf(path: string): Promise<Seen & { isFile: boolean; isFolder: boolean }> {
  const stat = await lstat(path);
  const { mtimeMs, size, ino } = stat;
  return { mtimeMs, size, ino, isFile: stat.isFile(), isFolder: stat.isDirectory() };
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
