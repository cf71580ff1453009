import { createHash } from 'node:crypto';
import { describeError } from '../../base/errors.ts';
import { readRevocationLists, Revocations } from '../../certs/crl.ts';

/** So many sets of lists are in use at once; others are read again. */
const MAX_SETS = 64;

/** The revocation lists that policies name for their servers. A set is read once, however many connections it is asked for. */
export class ServerRevocations {
  /** By a digest of the file; the one that was used last is the last. */
  readonly #sets = new Map<string, Revocations>();

  /**
   * Why a server is not to be talked to, as far as these lists tell; `undefined` when it is. As in Envoy a chain is refused
   * too when one of its issuers has no list. Does not throw.
   *
   * @param chain DER: leaf, intermediates, root, as verified.
   * @param file PEM or DER, as readRevocationLists() takes it.
   */
  refusalOf(chain: readonly Buffer[], file: Buffer): string | undefined {
    try {
      if (chain.length === 0) throw new Error('there is none that was verified');
      const set = this.#setOf(file);
      const revoked = set.find(chain);
      if (revoked !== undefined) return `its certificate ${revoked} is revoked`;
      const unlisted = set.findUnlisted(chain);
      if (unlisted === undefined) return undefined;
      return `no revocation list is of the issuer of its certificate ${unlisted}`;
    } catch (error) {
      return `its certificates cannot be looked for in revocation lists: ${describeError(error)}`;
    }
  }

  #setOf(file: Buffer): Revocations {
    const key = createHash('sha256').update(file).digest('base64url');
    const set = this.#sets.get(key) ?? new Revocations(readRevocationLists(file));
    this.#sets.delete(key);
    this.#sets.set(key, set);
    const [oldest] = this.#sets.keys();
    if (this.#sets.size > MAX_SETS && oldest !== undefined) this.#sets.delete(oldest);
    return set;
  }
}
