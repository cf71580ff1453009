import { ipFromBytes, type IpAddress } from '../../base/address.ts';
import { MeshError } from '../../base/errors.ts';
import { allocateShared, shareBuffer, type SharedBytes } from './memory.ts';
import { nativeLatin1 } from './native-text.ts';
import { checkPointer, takeErrorReason } from './openssl-error.ts';
import { openssl } from './openssl-library.ts';

/** NID_subject_alt_name */
const SUBJECT_ALT_NAME = 85;
/** GEN_DNS, GEN_URI, GEN_IPADD */
const [DNS, URI, ADDRESS] = [2, 6, 7];
/** What X509_get_key_usage and its like answer when the certificate has no such extension. */
const ABSENT = 0xffffffff;

/** What OpenSSL reads from a certificate; nothing here goes through a text form that could be ambiguous. */
export type CertificateFacts = Readonly<{
  /** Every URI among the subject alternative names, byte for byte (latin1). */
  uris: readonly string[];
  /** Every DNS name, byte for byte (latin1), as it is written: a wildcard is one that begins with `*.`. */
  dnsNames: readonly string[];
  /** Every IP address that is one. */
  addresses: readonly IpAddress[];
  /** How many names there are that are no URIs. */
  otherNames: number;
  /** False when the extension occurs twice or cannot be read: such a certificate proves nothing. */
  namesReadable: boolean;
  /** Bits of KeyUsage (0x80 digital signature, 0x04 certificate signing); `undefined` without the extension. */
  keyUsage?: number;
  /** XKU bits: 1 server authentication, 2 client authentication; `undefined` without the extension. */
  extendedKeyUsage?: number;
  isAuthority: boolean;
  /** From its first second to its last; infinite when that cannot be read. */
  lifetimeMs: number;
  /** Only of an RSA key. An exponent beyond 64 bits is told as the largest of them. */
  rsa?: Readonly<{ bits: number; exponent: bigint }>;
}>;

const DAY_MS = 86_400_000;

/** EVP_PKEY_RSA and EVP_PKEY_RSA_PSS */
const RSA_KINDS: readonly number[] = [6, 912];
/** OSSL_PKEY_PARAM_RSA_E */
const EXPONENT = shareBuffer(Buffer.from('e\0'));

/** EXFLAG_CA */
const EXFLAG_CA = 0x10;

const slot = allocateShared(8);
const typeSlot = allocateShared(8);
const daysSlot = allocateShared(8);
const secondsSlot = allocateShared(8);

/**
 * @param x509 an X509 that lives during the call.
 * @throws {MeshError} ERR_OPENSSL for want of memory: half of the facts must not pass for all.
 */
export function readCertificateFacts(x509: bigint): CertificateFacts {
  const flags = openssl.X509_get_extension_flags(x509);
  const keyUsage = openssl.X509_get_key_usage(x509);
  const extendedKeyUsage = openssl.X509_get_extended_key_usage(x509);
  return {
    ...readNames(x509),
    ...(keyUsage === ABSENT ? {} : { keyUsage }),
    ...(extendedKeyUsage === ABSENT ? {} : { extendedKeyUsage }),
    isAuthority: (flags & EXFLAG_CA) !== 0,
    lifetimeMs: readLifetime(x509),
    ...readRsaKey(x509),
  };
}

function readRsaKey(x509: bigint): Pick<CertificateFacts, 'rsa'> {
  const action = 'read the key in a certificate';
  const key = checkPointer(openssl.X509_get0_pubkey(x509), action);
  if (!RSA_KINDS.includes(openssl.EVP_PKEY_get_base_id(key))) return {};
  slot.buffer.writeBigUInt64LE(0n, 0);
  openssl.EVP_PKEY_get_bn_param(key, EXPONENT.address, slot.address);
  const number = checkPointer(slot.buffer.readBigUInt64LE(0), action);
  const exponent = openssl.BN_get_word(number);
  openssl.BN_free(number);
  return { rsa: { bits: openssl.EVP_PKEY_get_bits(key), exponent } };
}

function readLifetime(x509: bigint): number {
  const [from, to] = [openssl.X509_get0_notBefore(x509), openssl.X509_get0_notAfter(x509)];
  if (openssl.ASN1_TIME_diff(daysSlot.address, secondsSlot.address, from, to) === 1)
    return daysSlot.buffer.readInt32LE(0) * DAY_MS + secondsSlot.buffer.readInt32LE(0) * 1000;
  takeErrorReason();
  return Number.POSITIVE_INFINITY;
}

/**
 * The DER bytes of an X509.
 *
 * @throws {MeshError} ERR_OPENSSL
 */
export function certificateDer(x509: bigint): Buffer {
  const action = 'encode a certificate';
  const length = openssl.i2d_X509(checkPointer(x509, action), 0n);
  if (length <= 0) checkPointer(0n, action);
  const der = shareBuffer(Buffer.alloc(length));
  slot.buffer.writeBigUInt64LE(der.address, 0);
  openssl.i2d_X509(x509, slot.address);
  return der.buffer;
}

type Names = Pick<
  CertificateFacts,
  'uris' | 'dnsNames' | 'addresses' | 'otherNames' | 'namesReadable'
>;

function readNames(x509: bigint): Names {
  slot.buffer.writeInt32LE(0, 0);
  const names = openssl.X509_get_ext_d2i(x509, SUBJECT_ALT_NAME, slot.address, 0n);
  if (names === 0n) {
    takeErrorReason();
    // -1: there is none; -2: more than one; otherwise it could not be decoded.
    return {
      ...{ uris: [], dnsNames: [], addresses: [], otherNames: 0 },
      namesReadable: slot.buffer.readInt32LE(0) === -1,
    };
  }
  try {
    const uris: string[] = [];
    const dnsNames: string[] = [];
    const addresses: IpAddress[] = [];
    const count = openssl.OPENSSL_sk_num(names);
    for (let index = 0; index < count; index++) {
      const { kind, value } = readName(openssl.OPENSSL_sk_value(names, index));
      if (kind === URI) uris.push(value);
      else if (kind === DNS) dnsNames.push(value);
      else if (kind === ADDRESS && [4, 16].includes(value.length))
        addresses.push(ipFromBytes(Buffer.from(value, 'latin1')));
    }
    return { uris, dnsNames, addresses, otherNames: count - uris.length, namesReadable: true };
  } finally {
    openssl.GENERAL_NAMES_free(names);
  }
}

/** Its bytes in latin1; empty for a name of a kind that is not read. */
function readName(name: bigint): { kind: number; value: string } {
  const action = 'read a name in a certificate';
  const value = openssl.GENERAL_NAME_get0_value(checkPointer(name, action), typeSlot.address);
  const kind = typeSlot.buffer.readInt32LE(0);
  if (kind !== URI && kind !== DNS && kind !== ADDRESS) return { kind, value: '' };
  const length = openssl.ASN1_STRING_length(checkPointer(value, action));
  const data = openssl.ASN1_STRING_get0_data(value);
  return {
    kind,
    value: length === 0 ? '' : nativeLatin1(checkPointer(data, action), length),
  };
}

/**
 * Reads every certificate of a PEM text and hands each to `use`, which may keep a reference of its own; they are freed
 * afterwards.
 *
 * @throws {MeshError} ERR_CERTIFICATE when there is none or one cannot be read.
 */
export function withCertificates(
  pem: string,
  what: string,
  use: (x509: bigint, index: number) => void,
): void {
  const text = shareBuffer(Buffer.from(pem));
  openssl.ERR_clear_error();
  const bio = openMemory(text, what);
  try {
    let count = 0;
    for (;;) {
      const x509 = openssl.PEM_read_bio_X509(bio, 0n, 0n, 0n);
      if (x509 === 0n) break;
      try {
        use(x509, count++);
      } finally {
        openssl.X509_free(x509);
      }
    }
    // The end of the text is an error to OpenSSL ("no start line"); any other means a broken certificate.
    const reason = takeErrorReason();
    if (count === 0 || reason !== 'no start line')
      throw certificateError(what, reason === '' ? 'no certificate in the text' : reason);
  } finally {
    openssl.BIO_free(bio);
    text.buffer.fill(0); // a use, so that the memory lives until here: the BIO read from it
  }
}

/** @throws {MeshError} ERR_CERTIFICATE when it cannot be read; the message holds nothing of the key. */
export function withPrivateKey(pem: string, use: (key: bigint) => void): void {
  const text = shareBuffer(Buffer.from(pem));
  openssl.ERR_clear_error();
  const bio = openMemory(text, 'the private key');
  try {
    const key = openssl.PEM_read_bio_PrivateKey(bio, 0n, 0n, 0n);
    if (key === 0n) throw certificateError('the private key', takeErrorReason());
    try {
      use(key);
    } finally {
      openssl.EVP_PKEY_free(key);
    }
  } finally {
    openssl.BIO_free(bio);
    text.buffer.fill(0);
  }
}

/** A BIO over a text, which the caller keeps alive until it frees it. */
function openMemory(text: SharedBytes, what: string): bigint {
  const bio = openssl.BIO_new_mem_buf(text.address, text.buffer.length);
  return checkPointer(bio, `read ${what}`);
}

export function certificateError(what: string, found: string): MeshError {
  return new MeshError('ERR_CERTIFICATE', 'local', `Cannot use ${what}: ${found}`);
}
