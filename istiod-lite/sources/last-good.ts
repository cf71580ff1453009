import { chmodSync, closeSync, openSync, renameSync, statSync } from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { pathToFileURL } from 'node:url';
import { describeError } from '../../base/errors.ts';

/** For each file a text that brings what was in force from it, so that a restart finds it when the file is broken by then. */
export interface LastGood {
  textOf(file: string): string | undefined;
  files(): string[];
  /** Takes note; written by commit(). */
  keep(file: string, text: string): void;
  forget(file: string): void;
  /** Writes what was noted. Never throws: the mesh goes on without. */
  commit(): void;
}

/** Ten times what 100,000 objects of 250 bytes take; what does not fit is named, and would not survive a restart. */
const MAX_BYTES = 256 * 1024 * 1024;
/** Result codes of SQLite: what the file holds is no database, or not a whole one. */
const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;
const CREATE =
  'CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT, WITHOUT ROWID';

/** Last good versions in a database of its own: one file, mode 0600, since configuration may hold secrets. */
export class LastGoodDatabase implements LastGood, Disposable {
  readonly #path: string;
  readonly #maxBytes: number;
  readonly #onTrouble: (message: string) => void;
  readonly #noted = new Map<string, string | undefined>();
  readonly #database: DatabaseSync;
  readonly #statements: Readonly<Record<'text' | 'files' | 'keep' | 'forget', StatementSync>>;
  #bytes: number;

  /**
   * A database that is none is put aside under another name. On a disk that is full or read-only, what is there is read,
   * and this life's versions are kept in memory alone. Either is said; the control plane starts in any case.
   */
  constructor(
    path: string,
    options: Readonly<{ onTrouble: (message: string) => void; maxBytes?: number }>,
  ) {
    this.#path = path;
    this.#onTrouble = options.onTrouble;
    this.#maxBytes = options.maxBytes ?? MAX_BYTES;
    this.#database = this.#open();
    this.#statements = {
      text: this.#database.prepare('SELECT text FROM files WHERE path = ?'),
      files: this.#database.prepare('SELECT path FROM files'),
      keep: this.#database.prepare(
        'INSERT INTO files VALUES (?, ?) ON CONFLICT DO UPDATE SET text = excluded.text',
      ),
      forget: this.#database.prepare('DELETE FROM files WHERE path = ?'),
    };
    const sum = this.#database
      .prepare('SELECT total(octet_length(text)) AS bytes FROM files')
      .get();
    this.#bytes = Number(sum?.['bytes'] ?? 0);
  }

  textOf(file: string): string | undefined {
    if (this.#noted.has(file)) return this.#noted.get(file);
    return this.#stored(file);
  }

  files(): string[] {
    return this.#statements.files.all().map(({ path }) => String(path));
  }

  keep(file: string, text: string): void {
    this.#noted.set(file, text);
  }

  forget(file: string): void {
    this.#noted.set(file, undefined);
  }

  commit(): void {
    if (this.#noted.size === 0) return;
    try {
      this.#database.exec('BEGIN');
      for (const [file, text] of this.#noted) this.#write(file, text);
      this.#database.exec('COMMIT');
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      this.#onTrouble(`Cannot write ${this.#path}: ${describeError(error)}`);
    }
    this.#noted.clear();
  }

  [Symbol.dispose](): void {
    this.commit();
    this.#database.close();
  }

  #write(file: string, text: string | undefined): void {
    const before = this.#stored(file);
    if (before === text) return;
    const bytes = this.#bytes - lengthOf(before) + lengthOf(text);
    if (text === undefined) this.#statements.forget.run(file);
    else if (bytes <= this.#maxBytes) this.#statements.keep.run(file, text);
    else {
      this.#onTrouble(
        `Cannot keep the last good version of ${file}: ${this.#maxBytes} bytes are in use; ` +
          'should it break, it is lost with the next restart',
      );
      return;
    }
    this.#bytes = bytes;
  }

  #stored(file: string): string | undefined {
    const text = this.#statements.text.get(file)?.['text'];
    return typeof text === 'string' ? text : undefined;
  }

  #open(): DatabaseSync {
    try {
      return openDatabase(this.#path);
    } catch (error) {
      if (!isBroken(error)) return this.#openInMemory(error);
      try {
        renameSync(this.#path, `${this.#path}.broken`);
        this.#onTrouble(
          `Cannot read ${this.#path}: ${describeError(error)}; last good versions of an earlier life are lost`,
        );
        return openDatabase(this.#path);
      } catch (failure) {
        return this.#openInMemory(failure);
      }
    }
  }

  #openInMemory(reason: unknown): DatabaseSync {
    const why = `Cannot write ${this.#path}: ${describeError(reason)}`;
    this.#onTrouble(`${why}; what becomes good from now on is lost with the next restart`);
    const database = new DatabaseSync(':memory:');
    database.exec(CREATE);
    try {
      using kept = openReadOnly(this.#path);
      if (kept === undefined) return database;
      const insert = database.prepare('INSERT INTO files VALUES (?, ?)');
      for (const { path = '', text = '' } of kept.prepare('SELECT path, text FROM files').iterate())
        insert.run(path, text);
    } catch (error) {
      const message = `Cannot read ${this.#path}: ${describeError(error)}`;
      this.#onTrouble(`${message}; last good versions of an earlier life are not used`);
    }
    return database;
  }
}

function openDatabase(path: string): DatabaseSync {
  // Made here, so that it is never readable to others; SQLite gives its other files the same mode.
  closeSync(openSync(path, 'a', 0o600));
  chmodSync(path, 0o600);
  const database = new DatabaseSync(path);
  try {
    // Without a sync for each change: after a loss of power the last few may be missing, but it is whole.
    database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL');
    database.exec(CREATE);
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

/**
 * Where nothing may be written, not even the index that readers of a write-ahead log share: the main file alone says
 * all when there is no log beside it.
 *
 * @returns undefined when there is no database.
 */
function openReadOnly(path: string): DatabaseSync | undefined {
  if (!(sizeOf(path) > 0)) return undefined;
  const url = pathToFileURL(path);
  if (!(sizeOf(`${path}-wal`) > 0)) url.searchParams.set('immutable', '1');
  return new DatabaseSync(url, { readOnly: true });
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

function isBroken(error: unknown): boolean {
  const code = error instanceof Error && 'errcode' in error ? error.errcode : undefined;
  return code === SQLITE_CORRUPT || code === SQLITE_NOTADB;
}

function lengthOf(text: string | undefined): number {
  return text === undefined ? 0 : Buffer.byteLength(text);
}
