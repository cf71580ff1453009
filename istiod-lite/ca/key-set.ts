import { readFileSync, statSync } from 'node:fs';
import { createLocalJWKSet, type JSONWebKeySet } from 'jose';
import { describeError, MeshError } from '../../base/errors.ts';

/** Some hundreds of keys; one is usual. */
const MAX_FILE_BYTES = 1024 * 1024;

type KeyResolver = ReturnType<typeof createLocalJWKSet>;

/** A file that cannot be used is tried again after this long, though nothing about it has changed. */
const RETRY_MS = 1000;

/** The keys that sign service account tokens: a JWKS file, read again when it changes. */
export class KeySetFile {
  readonly #path: string;
  readonly #onProblem: (problem: MeshError) => void;
  readonly #now: () => number;
  #keys: KeyResolver | undefined;
  /** The state of the file that `#keys` are of, or of the last attempt. */
  #version = '';
  #retryMs = Infinity;

  /** @param onProblem is told of a file that cannot be used, once for each state of it; the last good keys stay. */
  constructor(
    path: string,
    onProblem: (problem: MeshError) => void,
    now: () => number = () => performance.now(),
  ) {
    this.#path = path;
    this.#onProblem = onProblem;
    this.#now = now;
  }

  /**
   * The keys of now. The same object as long as the file is the same.
   *
   * @throws {MeshError} ERR_KEY_SET where there never was a file that could be used.
   */
  current(): KeyResolver {
    const version = this.#stat();
    const changed = version !== this.#version;
    if (changed || this.#now() >= this.#retryMs) this.#read(version, changed);
    if (this.#keys !== undefined) return this.#keys;
    throw new MeshError('ERR_KEY_SET', 'local', `Cannot verify tokens: no keys in ${this.#path}`);
  }

  #read(version: string, changed: boolean): void {
    this.#version = version;
    try {
      this.#keys = readKeys(this.#path);
      this.#retryMs = Infinity;
    } catch (cause) {
      this.#retryMs = this.#now() + RETRY_MS;
      const message = `Cannot use the key set of ${this.#path}`;
      if (changed) this.#onProblem(new MeshError('ERR_KEY_SET', 'local', message, { cause }));
    }
  }

  #stat(): string {
    try {
      const { ino, size, mtimeNs } = statSync(this.#path, { bigint: true });
      return `${ino}:${size}:${mtimeNs}`;
    } catch (error) {
      return describeError(error); // what is wrong is told by reading it
    }
  }
}

function readKeys(path: string): KeyResolver {
  const text = readFileSync(path, 'utf8');
  if (text.length > MAX_FILE_BYTES)
    throw new MeshError('ERR_KEY_SET', 'local', `Cannot read ${text.length} bytes of keys`);
  const parsed: unknown = JSON.parse(text);
  if (!isKeySet(parsed)) throw new MeshError('ERR_KEY_SET', 'local', 'Cannot find an array "keys"');
  return createLocalJWKSet(parsed);
}

/** Only public keys: a secret one ("oct") would let whoever reads the file sign tokens. */
function isKeySet(value: unknown): value is JSONWebKeySet {
  if (typeof value !== 'object' || value === null || !('keys' in value)) return false;
  const { keys } = value;
  return (
    Array.isArray(keys) &&
    keys.every((key: unknown) => {
      if (typeof key !== 'object' || key === null || !('kty' in key)) return false;
      return key.kty === 'EC' || key.kty === 'RSA';
    })
  );
}
