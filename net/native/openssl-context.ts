import { readAlpnList, writeAlpnSelection } from './openssl-alpn.ts';
import { allocateShared, cString, nativeText, type SharedBytes } from './memory.ts';
import { certificateError, withCertificates, withPrivateKey } from './openssl-certificate.ts';
import { checkPointer, takeErrorReason } from './openssl-error.ts';
import { library, openssl } from './openssl-library.ts';

/** Macros of ssl.h are calls of SSL_CTX_ctrl with these. */
const SSL_CTRL_MODE = 33;
const SSL_CTRL_SET_SESS_CACHE_MODE = 44;
const SSL_CTRL_SET_MAX_CERT_LIST = 51;
const SSL_CTRL_CHAIN_CERT = 89;
const SSL_CTRL_SET_GROUPS_LIST = 92;
const SSL_CTRL_SET_MIN_PROTO_VERSION = 123;
const SSL_CTRL_SET_MAX_PROTO_VERSION = 124;
const VERSIONS = { 'TLS 1.2': 0x303n, 'TLS 1.3': 0x304n } as const;
/** What is left of TLS 1.2: a key of its own for each session, and authenticated encryption. RFC 9325 section 4.2. */
const OLD_CIPHERS =
  'ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:' +
  'ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:' +
  'ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305';
/**
 * Moving write buffer (2); no completion of the chain, which would send the root too (8); buffers given back while a
 * session is idle (0x10).
 */
const MODES = 2n | 8n | 0x10n;
/**
 * No tickets; no certificate compression either way, whose Brotli costs more than the whole handshake; the server's
 * order of ciphers; no renegotiation.
 */
const OPTIONS = (1n << 14n) | (1n << 32n) | (1n << 33n) | (1n << 22n) | (1n << 30n);
const VERIFY_NONE = 0;
const VERIFY_PEER = 1;
const VERIFY_FAIL_IF_NO_PEER_CERT = 2;
/** X509_V_FLAG_PARTIAL_CHAIN */
const PARTIAL_CHAIN = 0x8_0000n;
/** A leaf and its intermediates; nobody's mesh has more. */
const MAX_CHAIN_DEPTH = 10;
const MAX_CERTIFICATE_LIST_BYTES = 64n << 10n;
/** RFC 8446 sections 5.1 and 5.2, with AES-GCM: header, the largest plaintext, its type, the tag. */
const FULL_RECORD_BYTES = 5n + (16n << 10n) + 1n + 16n;
/**
 * Several records a system call, with read-ahead: exactly so many full ones, and where OpenSSL aligns the first. With
 * room for a part of one more, each read would be followed by another for a few bytes.
 */
export const READ_BUFFER_BYTES = 16n * FULL_RECORD_BYTES + 8n;
const ALPN_OK = 0;
const ALPN_ALERT_FATAL = 2;

export type TlsVersion = keyof typeof VERSIONS;

export type SslContextOptions = Readonly<{
  /** PEM each: leaf, then intermediates. Empty for a client without an identity. */
  chainPem: readonly string[];
  privateKeyPem: string;
  rootsPem: readonly string[];
  /** In order of preference; empty: not negotiated. */
  alpn: readonly string[];
  /** OpenSSL's list of groups, see TlsContext. */
  groups: string;
  cipherSuites: string;
  /** The lowest that is spoken; the highest is TLS 1.3. Default: that alone. */
  minimumVersion?: TlsVersion;
  /** Peers have to show a certificate that one of the roots vouches for. Default true. */
  verifiesPeers?: boolean;
  /** Each of the roots ends a chain, whether it is one or not. Default false. */
  acceptsPartialChains?: boolean;
  /** One line in the format of NSS key logs; called inside the handshake. */
  onKeyLog?: (line: string) => void;
}>;

/** Owns an SSL_CTX. Sessions hold a reference of their own, so it can be freed while they live. */
export class SslContext {
  readonly #address: bigint;
  #freed = false;

  /** @throws {MeshError} ERR_CERTIFICATE for what cannot be read or does not belong together, ERR_OPENSSL for want of memory. */
  constructor(options: SslContextOptions) {
    openssl.ERR_clear_error();
    const action = 'make a TLS context';
    const method = checkPointer(openssl.TLS_method(), action);
    this.#address = checkPointer(openssl.SSL_CTX_new(method), action);
    try {
      this.#configure(options);
      this.#loadIdentity(options);
      this.#loadRoots(options);
    } catch (error) {
      this.free();
      throw error;
    }
  }

  get address(): bigint {
    if (this.#freed) throw new Error('Cannot use a TLS context that was freed');
    return this.#address;
  }

  /** Idempotent; live sessions go on. */
  free(): void {
    if (this.#freed) return;
    this.#freed = true;
    openssl.SSL_CTX_free(this.#address);
  }

  #configure(options: SslContextOptions): void {
    const ctx = this.#address;
    const require = (
      what: string,
      name: number,
      value: bigint,
      pointer: bigint | string = 0n,
    ): void => {
      if (openssl.SSL_CTX_ctrl(ctx, name, value, pointer) <= 0n)
        throw certificateError(what, takeErrorReason());
    };
    require('the TLS modes', SSL_CTRL_MODE, MODES);
    const { minimumVersion = 'TLS 1.3', verifiesPeers = true } = options;
    require(minimumVersion, SSL_CTRL_SET_MIN_PROTO_VERSION, VERSIONS[minimumVersion]);
    require('TLS 1.3', SSL_CTRL_SET_MAX_PROTO_VERSION, VERSIONS['TLS 1.3']);
    require('the list of groups', SSL_CTRL_SET_GROUPS_LIST, 0n, options.groups);
    // These two answer with the value before.
    openssl.SSL_CTX_ctrl(ctx, SSL_CTRL_SET_SESS_CACHE_MODE, 0n, 0n);
    openssl.SSL_CTX_ctrl(ctx, SSL_CTRL_SET_MAX_CERT_LIST, MAX_CERTIFICATE_LIST_BYTES, 0n);
    openssl.SSL_CTX_set_options(ctx, OPTIONS);
    if (openssl.SSL_CTX_set_num_tickets(ctx, 0n) !== 1)
      throw certificateError('sessions without tickets', takeErrorReason());
    openssl.SSL_CTX_set_default_read_buffer_len(ctx, READ_BUFFER_BYTES);
    if (openssl.SSL_CTX_set_ciphersuites(ctx, options.cipherSuites) !== 1)
      throw certificateError('the list of cipher suites', takeErrorReason());
    if (openssl.SSL_CTX_set_cipher_list(ctx, OLD_CIPHERS) !== 1)
      throw certificateError('the list of ciphers', takeErrorReason());
    const verify = verifiesPeers ? VERIFY_PEER | VERIFY_FAIL_IF_NO_PEER_CERT : VERIFY_NONE;
    openssl.SSL_CTX_set_verify(ctx, verify, 0n);
    openssl.SSL_CTX_set_verify_depth(ctx, MAX_CHAIN_DEPTH);
    if (options.alpn.length > 0) this.#setAlpn(options.alpn);
    if (options.onKeyLog !== undefined) this.#setKeyLog(options.onKeyLog);
  }

  #setAlpn(protocols: readonly string[]): void {
    const list = encodeAlpn(protocols);
    // Of all calls this one answers 0 when it is done.
    if (openssl.SSL_CTX_set_alpn_protos(this.#address, list.address, list.buffer.length) !== 0)
      throw certificateError('the list of protocols', takeErrorReason());
    openssl.SSL_CTX_set_alpn_select_cb(this.#address, alpnSelector(protocols), 0n);
  }

  #setKeyLog(onKeyLog: (line: string) => void): void {
    openssl.SSL_CTX_set_keylog_callback(this.#address, keyLogger(onKeyLog));
  }

  #loadIdentity({ chainPem, privateKeyPem }: SslContextOptions): void {
    const ctx = this.#address;
    const [leaf, ...intermediates] = chainPem;
    if (leaf === undefined) return;
    withCertificates(leaf, 'the certificate', (x509, index) => {
      if (index > 0) throw certificateError('the certificate', 'more than one in its text');
      if (openssl.SSL_CTX_use_certificate(ctx, x509) !== 1)
        throw certificateError('the certificate', takeErrorReason());
    });
    withPrivateKey(privateKeyPem, (key) => {
      if (openssl.SSL_CTX_use_PrivateKey(ctx, key) !== 1)
        throw certificateError('the private key', takeErrorReason());
    });
    if (openssl.SSL_CTX_check_private_key(ctx) !== 1)
      throw certificateError('the private key', takeErrorReason());
    for (const pem of intermediates)
      withCertificates(pem, 'an intermediate certificate', (x509) => {
        if (openssl.SSL_CTX_ctrl(ctx, SSL_CTRL_CHAIN_CERT, 1n, x509) !== 1n)
          throw certificateError('an intermediate certificate', takeErrorReason());
      });
  }

  #loadRoots({ rootsPem, acceptsPartialChains = false }: SslContextOptions): void {
    const store = checkPointer(openssl.SSL_CTX_get_cert_store(this.#address), 'keep the roots');
    if (acceptsPartialChains && openssl.X509_STORE_set_flags(store, PARTIAL_CHAIN) !== 1)
      throw certificateError('the roots', takeErrorReason());
    for (const pem of rootsPem)
      withCertificates(pem, 'a root certificate', (x509) => {
        if (openssl.X509_STORE_add_cert(store, x509) !== 1)
          throw certificateError('a root certificate', takeErrorReason());
      });
  }
}

/** By what it calls: renewed contexts share one. They are never given back, because sessions outlive their contexts. */
const keyLoggers = new Map<(line: string) => void, bigint>();

function keyLogger(onKeyLog: (line: string) => void): bigint {
  const known = keyLoggers.get(onKeyLog);
  if (known !== undefined) return known;
  const pointer = library.lib.registerCallback(
    { return: 'void', arguments: ['pointer', 'pointer'] },
    (_ssl, line) => {
      try {
        if (typeof line === 'bigint') onKeyLog(nativeText(line));
      } catch {
        // Nothing may leave a native callback; a key log that cannot be written breaks no connection.
      }
    },
  );
  keyLoggers.set(onKeyLog, pointer);
  return pointer;
}

function encodeAlpn(protocols: readonly string[]): SharedBytes {
  const parts = protocols.map((name) => Buffer.from(`${String.fromCharCode(name.length)}${name}`));
  const joined = Buffer.concat(parts);
  const list = allocateShared(joined.length);
  list.buffer.set(joined);
  return list;
}

/** By the list of protocols: one callback for all contexts that want the same. */
const selectors = new Map<string, { pointer: bigint; names: readonly SharedBytes[] }>();

function alpnSelector(protocols: readonly string[]): bigint {
  const id = protocols.join(',');
  const known = selectors.get(id);
  if (known !== undefined) return known.pointer;
  const names = protocols.map((name) => cString(name));
  const pointer = library.lib.registerCallback(
    { return: 'i32', arguments: ['pointer', 'pointer', 'pointer', 'pointer', 'u32', 'pointer'] },
    (_ssl, out, outLength, offered, offeredLength) => {
      try {
        const addresses =
          typeof out === 'bigint' && typeof outLength === 'bigint' && typeof offered === 'bigint';
        return addresses
          ? selectAlpn(protocols, names, out, outLength, offered, offeredLength)
          : ALPN_ALERT_FATAL;
      } catch {
        return ALPN_ALERT_FATAL;
      }
    },
  );
  selectors.set(id, { pointer, names });
  return pointer;
}

function selectAlpn(
  protocols: readonly string[],
  names: readonly SharedBytes[],
  out: bigint,
  outLength: bigint,
  offered: bigint,
  offeredLength: number,
): number {
  const wire = readAlpnList(offered, offeredLength);
  for (const [index, protocol] of protocols.entries()) {
    const name = names[index];
    if (name === undefined || !wire.includes(protocol)) continue;
    writeAlpnSelection(out, outLength, name.address, protocol.length);
    return ALPN_OK;
  }
  return ALPN_ALERT_FATAL;
}
