import { readFileSync, statSync } from 'node:fs';
import { createLocalJWKSet, type JSONWebKeySet } from 'jose';
import { MeshError } from '../../base/errors.ts';

/** Some hundreds of keys; one is usual. */
const MAX_FILE_BYTES = 1024 * 1024;

type KeyResolver = ReturnType<typeof createLocalJWKSet>;

/** The keys that sign service account tokens: a JWKS file, read again when it changes. */
export class KeySetFile {
  readonly #path: string;
  readonly #onProblem: (problem: MeshError) => void;
  #keys: KeyResolver | undefined;
  #version = '';

  /** @param onProblem is told of a file that cannot be used, once for each state of it; the last good keys stay. */
  constructor(path: string, onProblem: (problem: MeshError) => void) {
    this.#path = path;
    this.#onProblem = onProblem;
  }

  /**
   * The keys of now. The same object as long as the file is the same.
   *
   * @throws {MeshError} ERR_KEY_SET where there never was a file that could be used.
   */
  current(): KeyResolver {
    const version = this.#stat();
    if (version !== this.#version) {
      this.#version = version;
      try {
        this.#keys = readKeys(this.#path);
      } catch (cause) {
        const message = `Cannot use the key set of ${this.#path}`;
        this.#onProblem(new MeshError('ERR_KEY_SET', 'local', message, { cause }));
      }
    }
    if (this.#keys !== undefined) return this.#keys;
    throw new MeshError('ERR_KEY_SET', 'local', `Cannot verify tokens: no keys in ${this.#path}`);
  }

  #stat(): string {
    const found = statSync(this.#path, { bigint: true, throwIfNoEntry: false });
    return found === undefined ? 'absent' : `${found.ino}:${found.size}:${found.mtimeNs}`;
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
