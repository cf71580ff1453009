import { MeshError } from '../../base/errors.ts';
import { ECONNRESET, EAGAIN, lastErrno } from './errno.ts';
import { addressAt, allocateShared, checkRange, nativeText, type SharedBytes } from './memory.ts';
import { nativeLatin1 } from './native-text.ts';
import {
  certificateDer,
  type CertificateFacts,
  readCertificateFacts,
} from './openssl-certificate.ts';
import { READ_BUFFER_BYTES, type SslContext } from './openssl-context.ts';
import { checkPointer, takeErrorReason, verificationProblem } from './openssl-error.ts';
import { openssl } from './openssl-library.ts';

const BIO_NOCLOSE = 0;
const SSL_ERROR_WANT_READ = 2;
const SSL_ERROR_WANT_WRITE = 3;
const SSL_ERROR_SYSCALL = 5;
const SSL_ERROR_ZERO_RETURN = 6;
/** SSL_CTRL_SET_TLSEXT_HOSTNAME, and the kind of name. */
const SET_HOST_NAME = 55;
const HOST_NAME = 0;
/** What OpenSSL says of a chain that it refuses. */
const VERIFY_FAILED = 'certificate verify failed';

/** Answers of read() and handshake() below 1. */
export const CLOSED = 0;
export const WANT = -1;
export const FAILED = -2;

const slot = allocateShared(8);
const lengthSlot = allocateShared(8);

/**
 * For what begins a record OpenSSL asks the socket for more than this: so what brought less came short. For the rest of one whose
 * header it holds it asks for no more than that.
 */
const SHORT_READ_BYTES = READ_BUFFER_BYTES / 2n;
/** What SSL_rstate_string() says of a session that holds a record's header. */
const READING_BODY = 'RB';

/** The largest write() and its records, and some for alerts and key updates. */
const OUTPUT_BYTES = 1 << 20;

/**
 * What every session of this thread writes into: records gather here and go out in one system call, and an idle
 * session owns no write buffer. Whoever makes a session write takes the bytes (outputLength() and so on) before anyone
 * else writes. A pair of BIOs, not a memory BIO: that zeroes its memory, all of it, whenever it is emptied.
 */
const output = makePair();

function makePair(): { writer: bigint; reader: bigint } {
  if (openssl.BIO_new_bio_pair(slot.address, BigInt(OUTPUT_BYTES), lengthSlot.address, 1n) !== 1)
    throw new MeshError(
      'ERR_OPENSSL',
      'local',
      `Cannot make the output of TLS sessions: ${takeErrorReason()}`,
    );
  return {
    writer: slot.buffer.readBigUInt64LE(0),
    reader: lengthSlot.buffer.readBigUInt64LE(0),
  };
}

/** How many bytes wait to be sent by the session that wrote last. */
export function outputLength(): number {
  return Math.max(0, openssl.BIO_nread0(output.reader, slot.address));
}

/** Where they are, one behind the other; after outputLength(), and true until dropOutput(). */
export function outputAddress(): bigint {
  return slot.buffer.readBigUInt64LE(0);
}

/** @param length all of them: the next ones then begin where these did. */
export function dropOutput(length: number): void {
  openssl.BIO_nread(output.reader, slot.address, length);
}

/** Owns an SSL. Every call after free() fails; none crashes. */
export class Ssl {
  readonly #address: bigint;
  /** Belongs to the SSL once set; bytes for a session over a stream go in here. */
  readonly #input: bigint;
  readonly #readsItself: boolean;
  /** What BIO_number_read() said last. */
  #seenBytes = 0n;
  #freed = false;
  #done = false;
  /** What the last FAILED was. */
  failure = '';

  /**
   * @param descriptor to read from, or `undefined`: then input comes by feed(). The descriptor stays the caller's.
   * @param serverName that a client asks for; '' for none.
   * @throws {MeshError} ERR_OPENSSL for want of memory, or for a name that cannot be sent.
   */
  constructor(
    context: SslContext,
    role: 'client' | 'server',
    descriptor: number | undefined,
    serverName = '',
  ) {
    this.#readsItself = descriptor !== undefined;
    this.#input = checkPointer(
      descriptor === undefined
        ? openssl.BIO_new(openssl.BIO_s_mem())
        : openssl.BIO_new_socket(descriptor, BIO_NOCLOSE),
      'make a buffer for a TLS session',
    );
    try {
      this.#address = checkPointer(openssl.SSL_new(context.address), 'make a TLS session');
    } catch (error) {
      openssl.BIO_free(this.#input);
      throw error;
    }
    // An empty memory BIO means "later", not "the end".
    if (descriptor === undefined) openssl.BIO_ctrl(this.#input, 130, -1n, 0n);
    openssl.SSL_set0_rbio(this.#address, this.#input);
    openssl.BIO_up_ref(output.writer);
    openssl.SSL_set0_wbio(this.#address, output.writer);
    openssl.SSL_set_read_ahead(this.#address, 1);
    if (role === 'client') openssl.SSL_set_connect_state(this.#address);
    else openssl.SSL_set_accept_state(this.#address);
    if (serverName !== '') this.#askFor(serverName);
  }

  #askFor(serverName: string): void {
    if (openssl.SSL_ctrl(this.#address, SET_HOST_NAME, BigInt(HOST_NAME), serverName) === 1n)
      return;
    const reason = takeErrorReason();
    this.free();
    const message = `Cannot ask for the server ${JSON.stringify(serverName)}: ${reason}`;
    throw new MeshError('ERR_OPENSSL', 'local', message);
  }

  /**
   * Gives input to a session over a stream; how many bytes were taken (all, but for want of memory).
   *
   * @throws {RangeError} unless the range lies within `bytes`, as read() and write() do.
   */
  feed(bytes: SharedBytes, offset: number, length: number): number {
    checkRange(bytes, offset, length);
    if (this.#freed || length === 0) return 0;
    return Math.max(0, openssl.BIO_write(this.#input, addressAt(bytes, offset), length));
  }

  /** 1 when done, WANT, or FAILED. */
  handshake(): number {
    if (this.#freed) return FAILED;
    openssl.ERR_clear_error();
    const result = openssl.SSL_do_handshake(this.#address);
    if (result === 1) this.#done = true;
    return result === 1 ? 1 : this.#judge(result, lastErrno()) === WANT ? WANT : FAILED;
  }

  /** Decrypts at most one record into `bytes[offset .. offset+length)`: its bytes, CLOSED (in order), WANT or FAILED. */
  read(bytes: SharedBytes, offset: number, length: number): number {
    checkRange(bytes, offset, length);
    if (this.#freed) return FAILED;
    openssl.ERR_clear_error();
    const got = openssl.SSL_read(this.#address, addressAt(bytes, offset), length);
    return got > 0 ? got : this.#judge(got, lastErrno());
  }

  /** After WANT: a record's header has come, and its rest is all that the next system call asks for. */
  get isAmidRecord(): boolean {
    return !this.#freed && nativeText(openssl.SSL_rstate_string(this.#address)) === READING_BODY;
  }

  /**
   * After a read(): whether the last system call that OpenSSL made emptied the socket. It did when it brought less than
   * it asked for and nothing of it waits here. When that call was made, and whether it was for the rest of a record, only
   * the caller can know: see TlsInput.
   */
  get cameShort(): boolean {
    if (!this.#readsItself || this.#freed || openssl.SSL_has_pending(this.#address) !== 0)
      return false;
    const total = openssl.BIO_number_read(this.#input);
    const came = total - this.#seenBytes;
    this.#seenBytes = total;
    return came > 0n && came < SHORT_READ_BYTES;
  }

  /** Encrypts into the thread's output; all of it, or FAILED. */
  write(bytes: SharedBytes, offset: number, length: number): number {
    checkRange(bytes, offset, length);
    if (this.#freed) return FAILED;
    openssl.ERR_clear_error();
    const wrote = openssl.SSL_write(this.#address, addressAt(bytes, offset), length);
    return wrote > 0 ? wrote : this.#judge(wrote, lastErrno());
  }

  /** Writes close_notify into the thread's output. */
  shutdown(): void {
    if (this.#freed) return;
    openssl.ERR_clear_error();
    openssl.SSL_shutdown(this.#address);
    openssl.ERR_clear_error();
  }

  get alpn(): string {
    openssl.SSL_get0_alpn_selected(this.#live(), slot.address, lengthSlot.address);
    const length = lengthSlot.buffer.readUInt32LE(0);
    return nativeLatin1(slot.buffer.readBigUInt64LE(0), length);
  }

  /** What the client asked for; '' when it did not. */
  get serverName(): string {
    const name = openssl.SSL_get_servername(this.#live(), HOST_NAME);
    return name === 0n ? '' : nativeText(name);
  }

  get cipher(): string {
    return nativeText(openssl.SSL_CIPHER_get_name(openssl.SSL_get_current_cipher(this.#live())));
  }

  /** The key exchange, such as `X25519MLKEM768` or `x25519`; '' before the handshake is done. */
  get group(): string {
    const ssl = this.#live();
    return this.#done ? nativeText(openssl.SSL_get0_group_name(ssl)) : ''; // before, OpenSSL follows a NULL
  }

  peerCertificate(): CertificateFacts | undefined {
    const x509 = openssl.SSL_get1_peer_certificate(this.#live());
    if (x509 === 0n) return undefined;
    try {
      return readCertificateFacts(x509);
    } finally {
      openssl.X509_free(x509);
    }
  }

  /**
   * DER each: leaf, intermediates, root, as verified.
   *
   * @throws {MeshError} ERR_OPENSSL without a verified peer: nobody may take that for a chain in which nothing is revoked.
   */
  peerChain(): Buffer[] {
    const chain = checkPointer(
      openssl.SSL_get0_verified_chain(this.#live()),
      "read the peer's verified chain",
    );
    const count = openssl.OPENSSL_sk_num(chain);
    return Array.from({ length: count }, (_, index) =>
      certificateDer(openssl.OPENSSL_sk_value(chain, index)),
    );
  }

  free(): void {
    if (this.#freed) return;
    this.#freed = true;
    openssl.SSL_free(this.#address);
  }

  #live(): bigint {
    if (this.#freed) throw new Error('Cannot ask a TLS session that was freed');
    return this.#address;
  }

  #judge(result: number, errno: number): number {
    const code = openssl.SSL_get_error(this.#address, result);
    if (code === SSL_ERROR_WANT_READ || code === SSL_ERROR_WANT_WRITE) return WANT;
    if (code === SSL_ERROR_ZERO_RETURN) return CLOSED;
    const reason = takeErrorReason();
    const refused = verificationProblem(this.#address);
    if (refused !== undefined && reason === VERIFY_FAILED)
      this.failure = `the peer's certificate is refused: ${refused}`;
    else if (reason !== '') this.failure = reason;
    else if (code === SSL_ERROR_SYSCALL && errno !== 0 && errno !== EAGAIN)
      this.failure = errno === ECONNRESET ? 'the connection was reset' : `system error ${errno}`;
    else this.failure = 'the connection ended without a TLS end';
    return FAILED;
  }
}
