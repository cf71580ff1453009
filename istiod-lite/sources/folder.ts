import { watch, type FSWatcher } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { describeError } from '../../base/errors.ts';
import type { ObjectKey } from '../../mesh/kubernetes/object.ts';
import type { ConfigProblem } from '../../mesh/kubernetes/problem.ts';
import { YAML_LIMITS } from '../../mesh/kubernetes/yaml.ts';
import { Breather } from '../breather.ts';
import { FileSet, type Origin } from './file-set.ts';
import type { LastGood } from './last-good.ts';
import { isMissing, isSame, lookAt, type Found, type Seen } from './look.ts';
import { readStable } from './read-stable.ts';
import type { ConfigSource, SourceListener } from './source.ts';

export type FolderSourceOptions = Readonly<{
  /** Folders, watched with all that is under them; in case of doubt the first wins. One that is missing is waited for. */
  folders: readonly string[];
  /** What is not an object's fault, such as a folder that cannot be watched. */
  onTrouble?: (message: string) => void;
  /** How often everything is looked at again, should the kernel's events have missed something. */
  rescanMs?: number;
  /** How long a file must rest before it is read; 0 is for folders in which files are only ever replaced whole. */
  quietMs?: number;
  /** Where last good versions outlive this process. */
  lastGood?: LastGood;
}>;

/** A writer is given this long between two writes of one file, so that half a file is not taken for the whole. */
export const QUIET_MS = 8;
/** A file that never rests is read after this long all the same. */
const MAX_DELAY_MS = 100;
const RESCAN_MS = 30_000;
/** While there is something that cannot be looked at, or was never read. */
const INCOMPLETE_RESCAN_MS = 1000;
/**
 * A file that lost objects must rest this long before they are gone: a writer that cuts a file and then writes it leaves
 * an empty one meanwhile, and a policy that is gone for a moment lets connections through.
 */
const SHRINK_QUIET_MS = 250;
/** refresh() waits no longer than this for files that go on changing. */
const MAX_SHRINK_WAIT_MS = 1000;

/**
 * A source that reads folders of YAML and watches them. What cannot be looked at stays as it was: only what is seen to be
 * gone is gone.
 */
export class FolderSource implements ConfigSource {
  readonly #folders: readonly string[];
  readonly #set: FileSet;
  readonly #options: FolderSourceOptions;
  readonly #watchers = new Map<string, FSWatcher>();
  readonly #seen = new Map<string, Seen>();
  /** Paths of which nothing can be told now, with the reason. */
  readonly #unknown = new Map<string, string>();
  /** Files that lost objects, with the state in which they did. */
  readonly #shrunk = new Map<string, Readonly<{ seen: Seen; sinceMs: number }>>();
  /** Files that could never be read. */
  readonly #unread = new Set<string>();
  /** Files of which only an earlier life has told. */
  readonly #earlier: Set<string>;
  #listener: SourceListener | undefined;
  #timer: NodeJS.Timeout | undefined;
  #rescan: NodeJS.Timeout | undefined;
  #firstEventMs = 0;
  readonly #dirty = new Set<string>();
  #scanning: Promise<void> = Promise.resolve();
  /** Asked for, and not begun. */
  #waitingScan: Promise<void> | undefined;
  #lastProblems = '[]';
  #complete = false;
  #closed = false;

  constructor(options: FolderSourceOptions) {
    this.#options = options;
    this.#folders = options.folders.map((folder) => resolve(folder));
    this.#set = new FileSet((a, b) => this.#rank(a) - this.#rank(b) || (a < b ? -1 : 1));
    this.#earlier = new Set(options.lastGood?.files());
  }

  async start(listener: SourceListener): Promise<void> {
    this.#listener = listener;
    await this.refresh();
    this.#planRescan();
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
    clearTimeout(this.#rescan);
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
    await this.#scanning;
  }

  #rank(file: string): number {
    const found = this.#folders.findIndex((folder) => isUnder(file, folder));
    return found < 0 ? this.#folders.length : found;
  }

  #planRescan(): void {
    if (this.#closed) return;
    const usualMs = this.#options.rescanMs ?? RESCAN_MS;
    const whole = this.#complete && this.#unknown.size === 0;
    const everyMs = whole ? usualMs : Math.min(usualMs, INCOMPLETE_RESCAN_MS);
    this.#rescan = setTimeout(() => {
      void this.refresh().then(() => {
        this.#planRescan();
      });
    }, everyMs).unref();
  }

  #onEvent(path: string): void {
    this.#dirty.add(path);
    const now = performance.now();
    if (this.#timer === undefined) this.#firstEventMs = now;
    const { quietMs = QUIET_MS } = this.#options;
    this.#scanDirtyIn(Math.min(quietMs, Math.max(0, this.#firstEventMs + MAX_DELAY_MS - now)));
  }

  #scanDirtyIn(delayMs: number): void {
    if (this.#closed) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#scanning = this.#scanning.then(() => this.#scanDirty());
    }, delayMs);
  }

  /** Never rejects: what goes wrong with a file is a problem of the file. */
  async #scanAll(): Promise<void> {
    this.#dirty.clear();
    for (const folder of this.#folders) await this.#scan(folder);
    for (const file of this.#earlier)
      if (!this.#folders.some((folder) => isUnder(file, folder))) this.#forgetEarlier(file);
    this.#deliver();
    const deadlineMs = performance.now() + MAX_SHRINK_WAIT_MS;
    while (this.#shrunk.size > 0 && !this.#closed && performance.now() < deadlineMs) {
      await delay(SHRINK_QUIET_MS);
      for (const file of [...this.#shrunk.keys()]) await this.#scan(file);
      this.#deliver();
    }
  }

  /** Looks only at what the kernel named, and at what was to rest. */
  async #scanDirty(): Promise<void> {
    const paths = new Set([...this.#dirty, ...this.#shrunk.keys()]);
    this.#dirty.clear();
    for (const path of paths) await this.#scan(path);
    this.#deliver();
    if (this.#shrunk.size > 0 && this.#timer === undefined) this.#scanDirtyIn(SHRINK_QUIET_MS);
  }

  async #scan(scope: string): Promise<void> {
    if (this.#closed) return;
    const found = await lookAt(scope, (folder) => {
      this.#watch(folder);
    });
    const isFolder = this.#folders.includes(scope);
    if (isFolder && !found.folders.has(scope) && !found.unknown.has(scope))
      found.unknown.set(scope, 'it does not exist');
    await this.#settle(scope, found);
  }

  /** Makes what is known of `scope` and all under it agree with what was found there. */
  async #settle(scope: string, found: Found): Promise<void> {
    const unknown = [...found.unknown.keys()];
    const isUnknown = (path: string): boolean => unknown.some((each) => isUnder(path, each));
    for (const path of this.#unknown.keys()) if (isUnder(path, scope)) this.#unknown.delete(path);
    for (const [path, reason] of found.unknown) this.#unknown.set(path, reason);
    for (const [folder, watcher] of this.#watchers)
      if (isUnder(folder, scope) && !found.folders.has(folder)) {
        watcher.close();
        this.#watchers.delete(folder);
      }
    const single = this.#set.has(scope) && found.folders.size === 0;
    const known = single
      ? [scope]
      : [...this.#set.files(), ...this.#earlier].filter((file) => isUnder(file, scope));
    for (const file of known) {
      if (found.files.has(file)) continue;
      if (isUnknown(file)) this.#restore(file);
      else if (found.folders.has(file)) this.#setUnreadable(file, 'is a folder now');
      else this.#remove(file);
    }
    const breather = new Breather();
    for (const [file, now] of found.files) {
      if (this.#closed) return;
      if (!isSame(this.#seen.get(file), now)) await this.#read(file);
      const breath = breather.breathe();
      if (breath === undefined) continue;
      this.#options.lastGood?.commit();
      await breath;
    }
  }

  async #read(file: string): Promise<void> {
    try {
      const { seen, text } = await readStable(file, YAML_LIMITS.fileBytes);
      if (text === undefined) {
        this.#setUnreadable(file, `the file is too large: found ${seen.size} bytes`);
        this.#unread.delete(file); // there is no waiting for it to become smaller
        this.#seen.set(file, seen);
      } else this.#take(file, seen, text);
    } catch (error) {
      if (isMissing(error)) this.#remove(file);
      else this.#setUnreadable(file, `cannot be read: ${describeError(error)}`);
    }
  }

  #take(file: string, seen: Seen, text: string): void {
    this.#restore(file, text);
    this.#unread.delete(file);
    const shrunk = this.#shrunk.get(file);
    const sameAsThen = shrunk !== undefined && isSame(shrunk.seen, seen);
    const nowMs = performance.now();
    const rested = sameAsThen && nowMs - shrunk.sinceMs >= SHRINK_QUIET_MS;
    const { sound, dropsSomething } = this.#set.setFile(file, text, { keepMissing: !rested });
    const waits = dropsSomething && !rested;
    if (!waits) this.#shrunk.delete(file);
    else if (!sameAsThen) this.#shrunk.set(file, { seen, sinceMs: nowMs });
    this.#seen.set(file, seen);
    if (waits) this.#seen.delete(file); // to be read again
    this.#options.lastGood?.keep(file, sound && !waits ? text : this.#set.textInForce(file));
  }

  /** Brings back what an earlier life had of a file, unless the file is as it was then, or known to this one. */
  #restore(file: string, text?: string): void {
    if (!this.#earlier.delete(file) || this.#set.has(file)) return;
    const kept = this.#options.lastGood?.textOf(file);
    if (kept !== undefined && kept !== text) this.#set.setFile(file, kept);
  }

  #setUnreadable(file: string, reason: string): void {
    this.#restore(file);
    if (!this.#set.has(file)) this.#unread.add(file);
    this.#seen.delete(file);
    this.#set.setUnreadable(file, reason);
  }

  #remove(file: string): void {
    this.#earlier.delete(file);
    this.#unread.delete(file);
    this.#seen.delete(file);
    this.#shrunk.delete(file);
    this.#set.removeFile(file);
    this.#options.lastGood?.forget(file);
  }

  #forgetEarlier(file: string): void {
    this.#earlier.delete(file);
    this.#options.lastGood?.forget(file);
  }

  #deliver(): void {
    const changes = this.#set.takeChanges();
    if (changes.upserts.length > 0 || changes.removals.length > 0)
      this.#listener?.onChange(changes);
    const problems = [...this.#unknownProblems(), ...this.#set.problems()];
    const text = JSON.stringify(problems);
    if (text !== this.#lastProblems) {
      this.#lastProblems = text;
      this.#listener?.onProblems(problems);
    }
    this.#options.lastGood?.commit();
    if (this.#complete || this.#closed || !this.#isWhole()) return;
    this.#complete = true;
    this.#listener?.onComplete();
  }

  /** Whether every folder and file has been read, now or, where that fails, in an earlier life. */
  #isWhole(): boolean {
    const files = [...this.#set.files()];
    const unknown = [...this.#unknown.keys()];
    return (
      this.#unread.size === 0 && unknown.every((path) => files.some((file) => isUnder(file, path)))
    );
  }

  #unknownProblems(): ConfigProblem[] {
    return [...this.#unknown].map(([file, reason]) => ({
      ...{ severity: 'error', file, line: 0, column: 0, object: '', field: '' },
      message: `cannot be looked at: ${reason}; what was read there before stays in force`,
      mend: '',
    }));
  }

  #watch(folder: string): void {
    if (this.#closed || this.#watchers.has(folder)) return;
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
    } catch (error) {
      if (!isMissing(error))
        this.#options.onTrouble?.(`Cannot watch ${folder}: ${describeError(error)}`);
    }
  }
}

/** Whether a path is the other or under it. */
function isUnder(path: string, scope: string): boolean {
  return path === scope || path.startsWith(`${scope}/`);
}
