import { DerReader, Tag, contextTag, readBoolean, readOid, type DerValue } from '../base/der.ts';
import { der, derBoolean, derOid, derSequence } from '../base/der-write.ts';
import { MeshError } from '../base/errors.ts';
import { Oid } from './oids.ts';

/** The extensions of a certificate or of a request, by object identifier. */
export type Extensions = ReadonlyMap<string, Readonly<{ critical: boolean; value: Buffer }>>;

/** What a subjectAltName extension holds. Kinds other than these three are counted, never read. */
export type SubjectAltNames = Readonly<{
  uris: readonly string[];
  dnsNames: readonly string[];
  ips: readonly Buffer[];
  others: number;
}>;

export const NO_NAMES: SubjectAltNames = { uris: [], dnsNames: [], ips: [], others: 0 };

/** Bits of keyUsage, RFC 5280 section 4.2.1.3. */
export const KeyUsage = {
  digitalSignature: 0,
  keyEncipherment: 2,
  keyCertSign: 5,
  crlSign: 6,
} as const;

/** More is nothing that we or Istio issue; each costs a reader time. */
const MAX_EXTENSIONS = 32;
const MAX_NAMES = 64;

/**
 * Reads a SEQUENCE OF Extension.
 *
 * @throws {MeshError} ERR_DER, or ERR_CERTIFICATE where one stands twice: two readers could each believe another one.
 */
export function readExtensions(list: DerReader, what: string): Extensions {
  const extensions = new Map<string, { critical: boolean; value: Buffer }>();
  while (!list.done) {
    const entry = list.enter(Tag.sequence);
    const oid = readOid(entry.next(Tag.oid), what);
    const flag = entry.optional(Tag.boolean);
    const value = entry.next(Tag.octetString).content;
    entry.end();
    if (extensions.has(oid) || extensions.size === MAX_EXTENSIONS) {
      const found = extensions.has(oid) ? `the extension ${oid} twice` : 'too many extensions';
      throw new MeshError('ERR_CERTIFICATE', 'local', `Cannot read ${what}: found ${found}`);
    }
    extensions.set(oid, { critical: flag !== undefined && readBoolean(flag, what), value });
  }
  return extensions;
}

/**
 * Reads the names of a subjectAltName extension. URIs and host names must be printable ASCII: a NUL, which C code takes
 * for the end (CVE-2021-44533 and its kin), or a look-alike letter is refused here.
 *
 * @throws {MeshError} ERR_DER or ERR_CERTIFICATE
 */
export function readSubjectAltNames(extensions: Extensions, what: string): SubjectAltNames {
  const extension = extensions.get(Oid.subjectAltName);
  if (extension === undefined) return NO_NAMES;
  const outer = new DerReader(extension.value, what);
  const names = outer.enter(Tag.sequence);
  outer.end();
  const uris: string[] = [];
  const dnsNames: string[] = [];
  const ips: Buffer[] = [];
  let others = 0;
  for (let count = 0; !names.done; count++) {
    if (count === MAX_NAMES) throw badName(what, `more than ${MAX_NAMES} names`);
    const name = names.any();
    if (name.tag === URI) uris.push(readAscii(name, what));
    else if (name.tag === DNS) dnsNames.push(readAscii(name, what));
    else if (name.tag === IP) ips.push(name.content);
    else others++;
  }
  return { uris, dnsNames, ips, others };
}

const DNS = contextTag(2, false);
const URI = contextTag(6, false);
const IP = contextTag(7, false);

function readAscii(name: DerValue, what: string): string {
  if (name.content.length === 0 || name.content.some((byte) => byte < 0x21 || byte > 0x7e))
    throw badName(what, 'a name that is not printable ASCII');
  return name.content.toString('latin1');
}

function badName(what: string, found: string): MeshError {
  return new MeshError('ERR_CERTIFICATE', 'local', `Cannot read ${what}: found ${found}`);
}

/** One Extension. DER leaves `critical` out when it is false. */
export function makeExtension(oid: string, critical: boolean, value: Uint8Array): Buffer {
  const flag = critical ? [derBoolean(true)] : [];
  return derSequence(derOid(oid), ...flag, der(Tag.octetString, value));
}

/** The subjectAltName extension; critical where the subject is empty (RFC 5280 section 4.2.1.6). */
export function makeSubjectAltName(
  names: Readonly<{
    uris?: readonly string[];
    dnsNames?: readonly string[];
    ips?: readonly Uint8Array[];
  }>,
  critical: boolean,
): Buffer {
  const { uris = [], dnsNames = [], ips = [] } = names;
  const values = [
    ...uris.map((uri) => der(URI, Buffer.from(uri, 'latin1'))),
    ...dnsNames.map((name) => der(DNS, Buffer.from(name, 'latin1'))),
    ...ips.map((ip) => der(IP, ip)),
  ];
  return makeExtension(Oid.subjectAltName, critical, derSequence(...values));
}
