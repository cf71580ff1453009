import { verify, X509Certificate, type KeyObject } from 'node:crypto';
import {
  contextTag,
  DerReader,
  readBitStringBytes,
  readOid,
  readUnsigned,
  Tag,
} from '../base/der.ts';
import { MeshError } from '../base/errors.ts';
import { readExtensions } from './extensions.ts';
import { Oid } from './oids.ts';
import { readCertificate } from './x509.ts';

/** What an issuer has revoked. RFC 5280 section 5. */
export type RevocationList = Readonly<{
  /** DER of the Name. */
  issuer: Buffer;
  /** Serial numbers in lower-case hexadecimal. */
  serials: ReadonlySet<string>;
  /** The part that is signed. */
  signed: Buffer;
  digest: string;
  signature: Buffer;
}>;

const WHAT = 'a revocation list';
/** Some 200,000 entries; a file of more is no list of workload certificates, which live for a day. */
const MAX_CRL_FILE_BYTES = 8 << 20;
const MAX_LISTS = 64;
const BLOCK = /-----BEGIN X509 CRL-----([A-Za-z0-9+/=\s]+)-----END X509 CRL-----/g;

const DIGESTS: ReadonlyMap<string, string> = new Map([
  [Oid.ecdsaWithSha256, 'sha256'],
  [Oid.ecdsaWithSha384, 'sha384'],
  [Oid.ecdsaWithSha512, 'sha512'],
  [Oid.rsaWithSha256, 'sha256'],
  [Oid.rsaWithSha384, 'sha384'],
  [Oid.rsaWithSha512, 'sha512'],
]);

/**
 * Reads a file of revocation lists: PEM, as many as there are, or one in DER. Their dates are not looked at: what was
 * revoked stays revoked, also when the next list is late.
 *
 * @throws {MeshError} ERR_CRL or ERR_DER for what is no list, or one that is not complete by itself.
 */
export function readRevocationLists(file: Buffer): RevocationList[] {
  if (file.length > MAX_CRL_FILE_BYTES) throw crlError(`more than ${MAX_CRL_FILE_BYTES} bytes`);
  if (file[0] === Tag.sequence) return [readList(file)];
  const blocks = [...file.toString('latin1').matchAll(BLOCK)];
  if (blocks.length === 0) throw crlError('neither DER nor a block of PEM');
  if (blocks.length > MAX_LISTS) throw crlError(`more than ${MAX_LISTS} lists`);
  return blocks.map(([, text = '']) => readList(Buffer.from(text, 'base64')));
}

function readList(bytes: Buffer): RevocationList {
  const file = new DerReader(bytes, WHAT);
  const outer = file.enter(Tag.sequence);
  file.end();
  const signed = outer.next(Tag.sequence);
  const algorithm = outer.enter(Tag.sequence);
  const oid = readOid(algorithm.next(Tag.oid), WHAT);
  const signature = readBitStringBytes(outer.next(Tag.bitString), WHAT);
  outer.end();
  const digest = DIGESTS.get(oid);
  if (digest === undefined) throw crlError(`the signature algorithm ${oid}`);

  const body = new DerReader(signed.content, WHAT);
  body.optional(Tag.integer); // the version
  body.next(Tag.sequence); // the algorithm once more
  const issuer = body.next(Tag.sequence).bytes;
  body.any(); // thisUpdate
  if (body.peek() !== Tag.sequence && body.peek() !== EXTENSIONS && !body.done) body.any(); // nextUpdate
  const serials = new Set<string>();
  if (body.peek() === Tag.sequence) {
    const entries = body.enter(Tag.sequence);
    while (!entries.done) {
      const entry = entries.enter(Tag.sequence);
      serials.add(readUnsigned(entry.next(Tag.integer), WHAT).toString('hex'));
    }
  }
  if (body.peek() === EXTENSIONS) refuseCritical(body.enter(EXTENSIONS).enter(Tag.sequence));
  body.end();
  return { issuer, serials, signed: signed.bytes, digest, signature };
}

const EXTENSIONS = contextTag(0, true);

/** A critical extension says that this is not the whole list of one issuer (a delta, a part, somebody else's). */
function refuseCritical(list: DerReader): void {
  for (const [oid, { critical }] of readExtensions(list, WHAT))
    if (critical) throw crlError(`the critical extension ${oid}`);
}

/** The lists in force, and who is on them. */
export class Revocations {
  #lists: readonly RevocationList[];
  /** Whether a list is signed by a certificate: dear to find out, and asked for each peer. */
  readonly #signed = new WeakMap<RevocationList, Map<string, boolean>>();

  constructor(lists: readonly RevocationList[] = []) {
    this.#lists = lists;
  }

  replace(lists: readonly RevocationList[]): void {
    this.#lists = lists;
  }

  /**
   * Looks for a revoked certificate. Lists count where the issuer in the chain has signed them; of an issuer without a
   * list nothing is known, and that revokes nothing.
   *
   * @param chain DER: leaf, intermediates, root, as verified.
   * @returns the serial number of the first that is revoked.
   */
  find(chain: readonly Buffer[]): string | undefined {
    if (this.#lists.length === 0) return undefined;
    for (const [index, der] of chain.entries()) {
      const { serialNumber, issuer } = readCertificate(der);
      const issuerDer = chain[index + 1] ?? der; // a root has signed itself
      const revoked = this.#lists.some(
        (list) =>
          list.serials.has(serialNumber) &&
          list.issuer.equals(issuer) &&
          this.#isSignedBy(list, issuerDer),
      );
      if (revoked) return serialNumber;
    }
    return undefined;
  }

  /**
   * Looks for a certificate of which nobody here says whether it is revoked: its issuer has no list.
   *
   * @param chain as in find(); the last one is trusted by itself.
   * @returns the serial number of the first one.
   */
  findUnlisted(chain: readonly Buffer[]): string | undefined {
    for (const [index, issuerDer] of chain.slice(1).entries()) {
      const { serialNumber, issuer } = readCertificate(chain[index] ?? issuerDer);
      const isListed = this.#lists.some(
        (list) => list.issuer.equals(issuer) && this.#isSignedBy(list, issuerDer),
      );
      if (!isListed) return serialNumber;
    }
    return undefined;
  }

  #isSignedBy(list: RevocationList, issuerDer: Buffer): boolean {
    const known = this.#signed.get(list) ?? new Map<string, boolean>();
    this.#signed.set(list, known);
    const key = issuerDer.toString('base64');
    const before = known.get(key);
    if (before !== undefined) return before;
    const holds = verifyList(list, new X509Certificate(issuerDer).publicKey);
    known.set(key, holds);
    return holds;
  }
}

function verifyList({ digest, signed, signature }: RevocationList, key: KeyObject): boolean {
  try {
    return verify(digest, signed, key, signature);
  } catch {
    return false; // a key of another kind
  }
}

function crlError(found: string): MeshError {
  return new MeshError('ERR_CRL', 'local', `Cannot read a revocation list: found ${found}`);
}
