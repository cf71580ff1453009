import { createHash } from 'node:crypto';
import { describeError } from '../../base/errors.ts';
import { readRevocationLists, Revocations } from '../../certs/crl.ts';
import { RecentlyUsed } from './recently-used.ts';

/** So many sets of lists are in use at once; others are read again. */
const MAX_SETS = 64;

/** The revocation lists that policies name for their servers. A set is read once, however many connections it is asked for. */
export class ServerRevocations {
  /** By a digest of the file. */
  readonly #sets = new RecentlyUsed<Revocations>(MAX_SETS);

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
    return this.#sets.get(key, () => new Revocations(readRevocationLists(file)));
  }
}
