import { hash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describeError, MeshError } from '../base/errors.ts';
import { ownProperty, publicKeysOf } from './jwks-source.ts';
import { writeWhole } from './status-files.ts';
import { formatKeySource, type KeySource } from './translate/request-authentication.ts';

/** Four times the longest answer of an issuer: numbers grow where they are written anew. */
const MAX_FILE_BYTES = 1024 * 1024;

/** A key set, and when its issuer last gave it, in milliseconds since 1970. */
export type KeptKeySet = Readonly<{ keys: string; fetchedMs: number }>;

/**
 * The last good key set of every source, a file for each, so that tokens are judged through a restart while an issuer is
 * away. What cannot be read or written is told and never thrown: the mesh goes on without.
 */
export class KeySetFiles {
  readonly #folder: string | undefined;
  readonly #onProblem: (message: string) => void;

  /** @param folder absent: nothing is kept. */
  constructor(folder: string | undefined, onProblem: (message: string) => void) {
    this.#folder = folder;
    this.#onProblem = onProblem;
  }

  /** What was kept last; `undefined` when that is nothing, or cannot be used. */
  read(source: KeySource): KeptKeySet | undefined {
    if (this.#folder === undefined) return undefined;
    const path = join(this.#folder, fileOf(source));
    try {
      return readKeySet(path, source);
    } catch (error) {
      this.#tell(`Cannot use ${path}, which keeps the keys of ${formatKeySource(source)}`, error);
      return undefined;
    }
  }

  keep(source: KeySource, { keys, fetchedMs }: KeptKeySet): void {
    if (this.#folder === undefined) return;
    const path = join(this.#folder, fileOf(source));
    // The source stands beside its keys: a file under a wrong name must not lend them to another issuer.
    const head = JSON.stringify({ source: formatKeySource(source), fetchedMs });
    try {
      mkdirSync(this.#folder, { recursive: true });
      writeWhole(path, `${head.slice(0, -1)},"keySet":${keys}}\n`);
    } catch (error) {
      const what = `Cannot keep the keys of ${formatKeySource(source)} for the next restart`;
      this.#tell(what, error);
      // Keys that the issuer withdrew must not come back with it.
      if (this.read(source)?.keys !== keys) this.forget(source);
    }
  }

  forget(source: KeySource): void {
    this.#remove(fileOf(source));
  }

  /** Removes what was kept of all other sources. */
  retain(sources: Iterable<KeySource>): void {
    if (this.#folder === undefined || !existsSync(this.#folder)) return;
    const wanted = new Set([...sources].map(fileOf));
    try {
      for (const name of readdirSync(this.#folder)) if (!wanted.has(name)) this.#remove(name);
    } catch (error) {
      this.#tell(`Cannot tidy ${this.#folder}`, error);
    }
  }

  #remove(name: string): void {
    if (this.#folder === undefined) return;
    const path = join(this.#folder, name);
    try {
      rmSync(path, { force: true });
    } catch (error) {
      this.#tell(`Cannot remove ${path}`, error);
    }
  }

  #tell(what: string, error: unknown): void {
    this.#onProblem(`${what}: ${describeError(error)}`);
  }
}

/** An address may be longer than a name of a file, and has slashes. */
function fileOf(source: KeySource): string {
  return `${hash('sha256', formatKeySource(source), 'hex')}.json`;
}

/** @throws where there is a file that cannot be used. */
function readKeySet(path: string, source: KeySource): KeptKeySet | undefined {
  const size = statSync(path, { throwIfNoEntry: false })?.size;
  if (size === undefined) return undefined;
  if (size > MAX_FILE_BYTES) throw keptError(`it has ${size} bytes`);
  const kept: unknown = JSON.parse(readFileSync(path, 'utf8'));
  if (ownProperty(kept, 'source') !== formatKeySource(source))
    throw keptError('it is of another source');
  const fetchedMs = ownProperty(kept, 'fetchedMs');
  if (typeof fetchedMs !== 'number' || !Number.isFinite(fetchedMs))
    throw keptError('it does not say when they were fetched');
  return { keys: publicKeysOf(ownProperty(kept, 'keySet'), path), fetchedMs };
}

function keptError(why: string): MeshError {
  return new MeshError('ERR_KEPT_KEYS', 'local', `Cannot read a kept key set: ${why}`);
}
