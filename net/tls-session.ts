import { MeshError, type Side } from '../base/errors.ts';
import { type ByteSink, type ByteStream, HEADROOM, type SharedBytes } from './byte-stream.ts';
import type { CertificateFacts } from './native/openssl-certificate.ts';
import { CLOSED, outputLength, Ssl, WANT } from './native/openssl-session.ts';
import { type HandshakeStep, takeHandshakeTurn } from './handshake-turns.ts';
import { Outlet } from './outlet.ts';
import { runNextTurn, tellMoved, type TurnTask } from './reactor.ts';
import { sessionTally } from './session-tally.ts';
import { type Carrier, type CarrierUser } from './tls-carrier.ts';
import type { TlsContext } from './tls-context.ts';
import { incoming, READ_BYTES, TlsInput } from './tls-input.ts';
import { TlsOutput } from './tls-output.ts';

/** So that a session in bulk does not hold up the others, nor a message behind it: one large delivery in a turn, or two. */
const DELIVERIES_PER_TURN = 2;
const LARGE_DELIVERY_BYTES = READ_BYTES / 2;
/** More than this is not encrypted at once, so that what a slow socket leaves over stays small: the largest HTTP/2 frame. */
const WRITE_BYTES = 512 << 10;

/** Without it an attacker could cut a stream and have it taken for a short one. */
const TRUNCATED = 'the connection ended without a TLS end';
const RESET = 'the connection was reset';
/** Of a client: nobody would read what public-key cryptography would be done for. */
const GONE = 'the client was gone before it was answered';

/**
 * A TLS session as a stream of bytes.
 *
 *   handshaking -> open -> (peer ended | we ended) -> both ended: closed
 *        \------------------ broken: closed, with an error ----/
 */
export class TlsSession implements ByteStream, CarrierUser, TurnTask, HandshakeStep {
  readonly #carrier: Carrier;
  readonly #ssl: Ssl;
  readonly #context: TlsContext;
  readonly #onHandshake: (error?: MeshError) => void;
  readonly #outlet = new Outlet();
  #state: 'handshaking' | 'open' | 'closed' = 'handshaking';
  #readable = false;
  /** The connection is dead: told when nothing more will be read, for reading finds it else. */
  #wasReset = false;
  /** The stream below has ended; what it brought may still be unread. */
  #inputEnded = false;
  /** The peer's end has been read; the sink hears of it behind the bytes before it. */
  #peerEnded = false;
  #endTold = false;
  #ended = false;
  #endSent = false;
  #taskQueued = false;
  #handshakeQueued = false;
  #handshakeBegun = false;
  #broken: string | undefined;
  readonly #input: TlsInput;
  readonly #output: TlsOutput;
  #peerCertificate: CertificateFacts | undefined;
  readonly #side: Side;
  bytesRead = 0;
  bytesWritten = 0;

  /**
   * Begins the handshake at the carrier's first event.
   *
   * @param serverName that a client asks for; '' for none.
   * @param onHandshake called once: without an error when the peer is proved, with one when it failed.
   */
  constructor(
    carrier: Carrier,
    context: TlsContext,
    role: 'client' | 'server',
    onHandshake: (error?: MeshError) => void,
    serverName = '',
  ) {
    this.#carrier = carrier;
    this.#context = context;
    this.#onHandshake = onHandshake;
    this.#side = role === 'client' ? 'upstream' : 'downstream';
    this.#ssl = new Ssl(context.native, role, carrier.descriptor, serverName);
    this.#output = new TlsOutput(carrier);
    this.#input = new TlsInput(this.#ssl);
    try {
      carrier.begin(this);
    } catch (error) {
      this.#ssl.free();
      throw error;
    }
    sessionTally.begin();
    if (role === 'client') this.#queueTask();
  }

  /** What the peer proved to be; there always is one once the handshake is done. */
  get peerCertificate(): CertificateFacts {
    const facts = (this.#peerCertificate ??= this.#ssl.peerCertificate());
    if (facts === undefined) throw new Error('Cannot read the certificate of a peer without one');
    return facts;
  }

  /** DER each: leaf, intermediates, root, as they were verified. */
  peerChain(): Buffer[] {
    return this.#ssl.peerChain();
  }

  /** What the client asked for; '' when it did not. */
  get serverName(): string {
    return this.#ssl.serverName;
  }

  get group(): string {
    return this.#ssl.group;
  }

  get cipher(): string {
    return this.#ssl.cipher;
  }

  get alpn(): string {
    return this.#ssl.alpn;
  }

  get closed(): boolean {
    return this.#state === 'closed';
  }

  setSink(sink: ByteSink): void {
    this.#outlet.setSink(sink);
    this.#queueTask();
  }

  resume(): void {
    if (this.#outlet.resume() && (this.#readable || this.#outlet.holdsRest)) this.#queueTask();
  }

  capacity(): number {
    return this.#state === 'open' && !this.#ended && this.#output.isEmpty ? WRITE_BYTES : 0;
  }

  write(bytes: SharedBytes, offset: number, length: number): number {
    let taken = 0;
    while (taken < length && this.capacity() > 0) {
      const wrote = this.#ssl.write(bytes, offset + taken, Math.min(length - taken, WRITE_BYTES));
      this.#output.flush();
      if (wrote <= 0) {
        this.#breakLater(this.#ssl.failure);
        break;
      }
      taken += wrote;
    }
    this.bytesWritten += taken;
    return taken;
  }

  end(): void {
    if (this.#ended || this.#state === 'closed') return;
    this.#ended = true;
    if (this.#state === 'open') this.#finish();
  }

  reset(): void {
    this.#outlet.dropBreak();
    if (this.#state === 'closed') return;
    this.#carrier.reset();
    this.#release();
  }

  onReadable(ending: boolean, reset: boolean): void {
    if (this.#readable) this.#input.toldAgain();
    this.#readable = true;
    if (ending) this.#input.ending();
    if (reset) this.#wasReset = true;
    if (ending && this.#side === 'downstream' && !this.#handshakeBegun) this.#breakOff(GONE);
    else this.#advance();
  }

  onInput(bytes: SharedBytes, offset: number, length: number): number {
    this.#readable = true;
    this.#queueTask();
    return this.#ssl.feed(bytes, offset, length);
  }

  onInputEnd(): void {
    this.#inputEnded = true;
    this.#queueTask();
  }

  onWritable(): void {
    if (this.#output.isEmpty || !this.#output.sendUnsent()) return;
    if (this.#ended) this.#finish();
    else this.#outlet.sink?.onWritable();
  }

  onBroken(reason: string): void {
    this.#breakLater(reason);
  }

  runTask(): void {
    this.#taskQueued = false;
    if (this.#outlet.holdsBreak) this.#outlet.tellLate();
    else this.#advance();
  }

  /** A turn of its own among the handshakes that are served. */
  shakeHands(): void {
    this.#handshakeQueued = false;
    if (this.#state === 'handshaking') this.#shakeHands();
    this.#continue();
  }

  #advance(): void {
    if (this.#state !== 'handshaking') this.#continue();
    else if (this.#side === 'upstream') {
      // Handshakes as a client are as many as we dial, and whoever dials waits for them.
      this.#shakeHands();
      this.#continue();
    } else if (!this.#handshakeQueued) {
      this.#handshakeQueued = true;
      takeHandshakeTurn(this);
    }
  }

  #continue(): void {
    if (this.#state === 'open') this.#pump();
    if (this.#inputEnded && !this.#readable && !this.#peerEnded && this.#isOpen())
      this.#onDrained();
    // What a sink has not taken is lost to a reset; after the peer's end nothing is read, and so nothing else would tell.
    if (this.#wasReset && (this.#outlet.paused || this.#endTold)) this.#broken ??= RESET;
    // What came before the break is delivered first; then the break is told, unless reading found it by itself.
    if (this.#broken !== undefined && this.#state !== 'closed') this.#breakOff(this.#broken);
  }

  #shakeHands(): void {
    this.#handshakeBegun = true;
    const result = this.#ssl.handshake();
    this.#output.flush();
    if (result === WANT) {
      if (this.#inputEnded) this.#breakOff(TRUNCATED);
      return;
    }
    if (result !== 1) {
      this.#breakOff(this.#ssl.failure);
      return;
    }
    if (!this.#context.speaks(this.#ssl.alpn)) {
      this.#breakOff(`the peer did not agree to speak ${this.#context.alpn.join(' or ')}`);
      return;
    }
    this.#state = 'open';
    this.#onHandshake();
    if (this.#ended && this.#isOpen()) this.#finish();
  }

  #isOpen(): boolean {
    return this.#state === 'open';
  }

  #pump(): void {
    const outlet = this.#outlet;
    if (outlet.holdsRest && !this.#deliverRest()) return;
    if (this.#peerEnded) {
      this.#tellEnd();
      return;
    }
    const enough = this.bytesRead + LARGE_DELIVERY_BYTES;
    for (let deliveries = 0; this.#readable && !this.#peerEnded; deliveries++) {
      const { sink } = outlet;
      if (sink === undefined || outlet.paused) return;
      if (deliveries === DELIVERIES_PER_TURN || this.bytesRead > enough) {
        this.#queueTask();
        return;
      }
      const room = Math.min(sink.capacity(), READ_BYTES);
      if (room <= 0) {
        outlet.paused = true;
        return;
      }
      const outcome = this.#input.read(room);
      const { length } = this.#input;
      // Reading can write: an answer to a key update, an alert.
      if (outputLength() > 0) this.#output.flush();
      if (length > 0) {
        this.bytesRead += length;
        tellMoved(length);
        outlet.deliver(sink, incoming, HEADROOM, length);
        if (outlet.holdsRest) this.#pause();
        if (this.#isClosed()) return;
      }
      if (outcome === WANT) this.#onDrained();
      else if (outcome === CLOSED) this.#peerEnded = true;
      else if (outcome < 0) {
        this.#breakOff(this.#ssl.failure);
        return;
      }
      if (outlet.holdsRest) return;
      if (this.#peerEnded) this.#tellEnd();
    }
  }

  /** Everything that came has been read. */
  #onDrained(): void {
    this.#readable = false;
    this.#input.drained();
    if (this.#inputEnded && !this.#peerEnded) this.#breakOff(TRUNCATED);
  }

  #isClosed(): boolean {
    return this.#state === 'closed';
  }

  /** The sink took less than it was given. Whoever asked meanwhile gets the rest in the next turn. */
  #pause(): void {
    if (!this.#outlet.pause()) this.#queueTask();
  }

  #deliverRest(): boolean {
    const { sink, paused } = this.#outlet;
    if (sink === undefined || paused) return false;
    if (this.#outlet.deliverRest(sink)) return !this.#isClosed();
    this.#pause();
    return false;
  }

  #tellEnd(): void {
    if (this.#endTold) return;
    this.#endTold = true;
    this.#outlet.sink?.onEnd();
    this.#closeWhenDone();
  }

  #finish(): void {
    if (!this.#endSent) {
      this.#endSent = true;
      this.#ssl.shutdown();
      this.#output.flush(true);
    }
    if (!this.#output.isEmpty) return; // onWritable() comes back here
    if (!this.#endTold) this.#carrier.end();
    this.#closeWhenDone();
  }

  #closeWhenDone(): void {
    if (!this.#endTold || !this.#endSent || !this.#output.isEmpty) return;
    this.#carrier.close();
    this.#release();
  }

  #breakLater(reason: string): void {
    this.#broken ??= reason;
    this.#queueTask();
  }

  #breakOff(reason: string): void {
    const failedHandshake = this.#state === 'handshaking';
    const action = failedHandshake ? 'agree on TLS with the peer' : 'go on with a TLS session';
    const code = failedHandshake ? 'ERR_TLS_HANDSHAKE' : 'ERR_TLS';
    const error = new MeshError(code, this.#side, `Cannot ${action}: ${reason}`);
    // An alert that was just written must get out, so a failed handshake ends in order.
    if (failedHandshake) this.#carrier.close();
    else this.#carrier.reset();
    this.#release();
    if (failedHandshake) this.#onHandshake(error);
    else this.#outlet.tellBroken(error);
  }

  #release(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    sessionTally.end();
    this.#outlet.dropRest();
    this.#output.drop();
    this.#ssl.free();
  }

  #queueTask(): void {
    if (this.#taskQueued) return;
    this.#taskQueued = true;
    runNextTurn(this);
  }
}
