import { SslContext, type TlsVersion } from './native/openssl-context.ts';

/**
 * What two ends that know it choose: X25519MLKEM768, safe against recording now and decrypting with a quantum computer
 * later. `*` sends a key share with the first message; `/` separates ranks. A peer without it gets X25519 without
 * another round trip.
 */
const GROUPS = '*X25519MLKEM768/*X25519:P-256/P-384';
/** For those who accept nothing that a quantum computer could open one day. */
export const POST_QUANTUM_GROUPS = 'X25519MLKEM768';
/** As istio/ztunnel; the smaller key first, which is faster and beyond any attack. */
const CIPHER_SUITES = 'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384';

export type TlsContextOptions = Readonly<{
  /** PEM each: leaf, then intermediates, without the root. Empty: no identity of its own (clients only). */
  chainPem: readonly string[];
  /** PKCS #8. */
  privateKeyPem: string;
  /** PEM: what peers may chain to. */
  rootsPem: readonly string[];
  /** In order of preference, checked after the handshake on both sides. Default `h2`; empty: none is negotiated. */
  alpn?: readonly string[];
  /** Peers that negotiate no protocol are spoken to all the same. Default false. */
  alpnOptional?: boolean;
  /** The lowest that is spoken. Default TLS 1.3. */
  minimumVersion?: TlsVersion;
  /** Peers have to show a certificate that one of the roots vouches for. Default true. */
  verifiesPeers?: boolean;
  /** Each of the roots ends a chain, be it a leaf or an intermediate one. Default false. */
  acceptsPartialChains?: boolean;
  /** Another list of key exchanges, in OpenSSL's form. */
  groups?: string;
  /** Only by an explicit setting of the operator: one line per secret, in NSS key log format. */
  onKeyLog?: (line: string) => void;
}>;

/**
 * An identity and the roots that its peers are checked against; serves and dials. Unless told otherwise TLS 1.3 only, and
 * peers must show a certificate. No tickets. Making one costs 0.3 ms: keep one per certificate. To renew, make another one
 * and free this.
 */
export class TlsContext implements Disposable {
  readonly native: SslContext;
  readonly alpn: readonly string[];
  readonly #alpnOptional: boolean;

  /** @throws {MeshError} ERR_CERTIFICATE for what cannot be read, or a key that is not the certificate's. */
  constructor(options: TlsContextOptions) {
    this.alpn = options.alpn ?? ['h2'];
    this.#alpnOptional = options.alpnOptional ?? false;
    this.native = new SslContext({
      chainPem: options.chainPem,
      privateKeyPem: options.privateKeyPem,
      rootsPem: options.rootsPem,
      alpn: this.alpn,
      groups: options.groups ?? GROUPS,
      cipherSuites: CIPHER_SUITES,
      minimumVersion: options.minimumVersion ?? 'TLS 1.3',
      verifiesPeers: options.verifiesPeers ?? true,
      acceptsPartialChains: options.acceptsPartialChains ?? false,
      ...(options.onKeyLog === undefined ? {} : { onKeyLog: options.onKeyLog }),
    });
  }

  /** Whether this is a protocol to go on with; '' where none was agreed on. */
  speaks(protocol: string): boolean {
    const without = this.alpn.length === 0 || (protocol === '' && this.#alpnOptional);
    return without || this.alpn.includes(protocol);
  }

  /** Sessions made before live on. Idempotent. */
  free(): void {
    this.native.free();
  }

  [Symbol.dispose](): void {
    this.free();
  }
}
