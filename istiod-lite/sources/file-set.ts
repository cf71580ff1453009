import { isDeepStrictEqual } from 'node:util';
import {
  formatObject,
  type ObjectKey,
  type ObjectReference,
} from '../../mesh/kubernetes/object.ts';
import type { ConfigProblem } from '../../mesh/kubernetes/problem.ts';
import { readObjects } from '../../mesh/kubernetes/read.ts';
import type { KubernetesObject } from '../../mesh/kubernetes/resources.ts';
import type { ChangeSet } from './source.ts';

/** Where an object in force stands. */
export type Origin = Readonly<{ file: string; line: number; column: number }>;

type Entry = Readonly<{
  ref: ObjectReference;
  origin: Origin;
  /** The last version of it that was good; absent for one that never was. */
  object: KubernetesObject | undefined;
}>;

type FileState = Readonly<{
  entries: ReadonlyMap<ObjectKey, Entry>;
  problems: readonly ConfigProblem[];
}>;

/** What a file's text was. */
export type Taken = Readonly<{
  /** All that it has is in force as it stands there. */
  sound: boolean;
  /** It lacks, on purpose as it seems, what the file had before. */
  dropsSomething: boolean;
}>;

/**
 * The objects of many files, without the files: who calls tells it what they hold. An object that is refused keeps its
 * last good version in force; where two files have an object of one name, the file that sorts first has it.
 */
export class FileSet {
  readonly #files = new Map<string, FileState>();
  /** The files that have an object of that name. */
  readonly #holders = new Map<ObjectKey, Set<string>>();
  readonly #inForce = new Map<ObjectKey, KubernetesObject>();
  readonly #compare: (a: string, b: string) => number;
  #dirty = new Set<ObjectKey>();

  /** @param compare which file wins: negative when `a` does. By name unless told otherwise. */
  constructor(compare: (a: string, b: string) => number = (a, b) => (a < b ? -1 : a > b ? 1 : 0)) {
    this.#compare = compare;
  }

  /**
   * Takes a file's whole text.
   *
   * @param options.keepMissing what it held and does not hold any more stays in force all the same.
   */
  setFile(file: string, text: string, options: Readonly<{ keepMissing?: boolean }> = {}): Taken {
    const before = this.#files.get(file)?.entries ?? new Map<ObjectKey, Entry>();
    const { objects, problems, complete } = readObjects(text, file);
    const entries = new Map<ObjectKey, Entry>();
    for (const { ref, key, place, object } of objects)
      entries.set(key, {
        ref,
        origin: { file, ...place },
        object: unlessSame(before.get(key)?.object, object),
      });
    const missing = [...before].filter(([key]) => !entries.has(key));
    // Something in the file has no readable name: it may be any of those that are missing now, so they stay.
    if (!complete || options.keepMissing === true)
      for (const [key, entry] of missing) entries.set(key, entry);
    this.#replace(file, { entries, problems });
    return {
      sound: complete && objects.every(({ object }) => object !== undefined),
      dropsSomething: complete && missing.length > 0,
    };
  }

  /** A text that brings what is in force from a file, as far as it is the file's. */
  textInForce(file: string): string {
    const entries = [...(this.#files.get(file)?.entries.values() ?? [])];
    return entries
      .flatMap(({ object }) => (object === undefined ? [] : [JSON.stringify(object.raw)]))
      .join('\n---\n');
  }

  /** Whether anything is known of a file. */
  has(file: string): boolean {
    return this.#files.has(file);
  }

  /** Forgets a file and what it held. */
  removeFile(file: string): void {
    this.#replace(file, undefined);
  }

  /** Says that a file cannot be read; its objects stay in force. */
  setUnreadable(file: string, message: string): void {
    const entries = this.#files.get(file)?.entries ?? new Map<ObjectKey, Entry>();
    const problem: ConfigProblem = {
      ...{ severity: 'error', file, line: 0, column: 0, object: '', field: '', mend: '' },
      message,
    };
    this.#replace(file, { entries, problems: [problem] });
  }

  files(): Iterable<string> {
    return this.#files.keys();
  }

  /** What changed since the last call. */
  takeChanges(): ChangeSet {
    const upserts: KubernetesObject[] = [];
    const removals: ObjectKey[] = [];
    for (const key of this.#dirty) {
      const now = this.#winner(key)?.object;
      const before = this.#inForce.get(key);
      if (now === before) continue;
      if (now === undefined) {
        this.#inForce.delete(key);
        removals.push(key);
      } else {
        this.#inForce.set(key, now);
        upserts.push(now);
      }
    }
    this.#dirty = new Set();
    return { upserts, removals };
  }

  /** Where the object in force stands. */
  originOf(key: ObjectKey): Origin | undefined {
    return this.#winner(key)?.origin;
  }

  /** Everything that is wrong in the files, with objects that several of them have. */
  problems(): ConfigProblem[] {
    const problems = [...this.#files.values()].flatMap((file) => file.problems);
    for (const [key, holders] of this.#holders) {
      if (holders.size < 2) continue;
      const winner = this.#winner(key);
      for (const file of holders) {
        const entry = this.#files.get(file)?.entries.get(key);
        if (entry === undefined || winner === undefined || entry === winner) continue;
        const { file: wins, line } = winner.origin;
        problems.push({
          ...{ severity: 'error', ...entry.origin, object: formatObject(entry.ref), field: '' },
          message: `stands in several files; the one of ${wins}:${line} is used`,
          mend: 'remove one of them',
        });
      }
    }
    return problems.sort(
      (a, b) => this.#compare(a.file, b.file) || a.line - b.line || a.column - b.column,
    );
  }

  #replace(file: string, state: FileState | undefined): void {
    const before = this.#files.get(file);
    if (state === undefined) this.#files.delete(file);
    else this.#files.set(file, state);
    for (const key of before?.entries.keys() ?? []) {
      if (state?.entries.has(key) === true) continue;
      this.#dirty.add(key);
      const holders = this.#holders.get(key);
      holders?.delete(file);
      if (holders?.size === 0) this.#holders.delete(key);
    }
    for (const key of state?.entries.keys() ?? []) {
      this.#dirty.add(key);
      const holders = this.#holders.get(key);
      if (holders === undefined) this.#holders.set(key, new Set([file]));
      else holders.add(file);
    }
  }

  #winner(key: ObjectKey): Entry | undefined {
    const holders = this.#holders.get(key);
    if (holders === undefined) return undefined;
    let first: string | undefined;
    for (const file of holders)
      if (first === undefined || this.#compare(file, first) < 0) first = file;
    return first === undefined ? undefined : this.#files.get(first)?.entries.get(key);
  }
}

/** What is in force from now on: the one before where the new one is refused, or no other. */
function unlessSame(
  before: KubernetesObject | undefined,
  now: KubernetesObject | undefined,
): KubernetesObject | undefined {
  if (before === undefined || now === undefined) return now ?? before;
  return isDeepStrictEqual(before.raw, now.raw) ? before : now;
}
