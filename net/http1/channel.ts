import type { ByteSink, ByteStream, SharedBytes } from '../byte-stream.ts';
import { Deadline } from '../deadline.ts';
import { Ending } from '../ending.ts';
import { Outbox, type OutboxOwner, smallStages, StagePool } from '../outbox.ts';
import { BodyReader } from './body.ts';
import { Http1Violation } from './errors.ts';
import { DRAIN_MS, KEPT_STAGES, LINGER_BYTES, STAGE_BYTES } from './limits.ts';
import { MessageWriter } from './message-writer.ts';
import type { Http1Parameters } from './options.ts';

/** What a channel's bytes mean. Every call comes from the reactor; none may throw but read(). */
export interface ChannelOwner {
  /** How many bytes read() would take now; after 0 the owner calls readMore(). */
  capacity(): number;
  /**
   * Takes some of `bytes[at .. end)`: the next part of what it is made of.
   *
   * @returns how many bytes were taken; 0 for none until readMore().
   * @throws {Http1Violation} when they break the protocol.
   */
  read(bytes: SharedBytes, at: number, end: number): number;
  /** A piece of input has been read, as far as it is wanted. */
  onRead(): void;
  /** The peer broke the protocol: no further byte of it can be understood. */
  onViolation(violation: Http1Violation): void;
  /** The peer has ended its side in order. */
  onPeerEnd(): void;
  /** The transport is gone. */
  onBroken(cause: Error): void;
  /** The peer reads nothing. */
  onStalled(): void;
  /** More can be written. */
  onRoom(): void;
}

const stages = new StagePool(STAGE_BYTES, KEPT_STAGES, smallStages);

/** One connection's bytes, both ways, until its owner has enough of them; then the steps of its end. */
export class Channel implements ByteSink, OutboxOwner {
  readonly writer: MessageWriter;
  readonly body: BodyReader;
  readonly #transport: ByteStream;
  readonly #owner: ChannelOwner;
  readonly #outbox: Outbox;
  readonly #ending: Ending;
  readonly #writeDeadline: Deadline;
  readonly #writeTimeoutMs: number;
  #over = false;
  #droppedBytes = 0;

  constructor(transport: ByteStream, parameters: Http1Parameters, owner: ChannelOwner) {
    this.#transport = transport;
    this.#owner = owner;
    this.#outbox = new Outbox(transport, this, stages);
    this.#ending = new Ending(transport, this.#outbox, parameters.clock);
    this.writer = new MessageWriter(this.#outbox);
    this.body = new BodyReader(parameters.limits);
    this.#writeTimeoutMs = parameters.writeTimeoutMs;
    this.#writeDeadline = new Deadline(parameters.clock, () => {
      if (!this.#over) this.#owner.onStalled();
    });
  }

  /** Bytes that the transport took so far. */
  get bytesWritten(): number {
    return this.#transport.bytesWritten;
  }

  get peerEnded(): boolean {
    return this.#ending.peerEnded;
  }

  begin(): void {
    this.#transport.setSink(this);
  }

  /** What was not taken before may be taken now. */
  readMore(): void {
    this.#transport.resume();
  }

  /** Half-close, behind what was written. */
  endOutput(): void {
    this.#outbox.end();
  }

  /** Ends in order, behind what was written; the peer has `lingerMs` to read it, and what it sends is dropped. */
  end(lingerMs: number = DRAIN_MS): void {
    this.#stop();
    this.#ending.end(lingerMs);
    if (!this.peerEnded) this.readMore();
  }

  /** At once, so that the peer does not take it for an end. */
  reset(): void {
    this.#stop();
    this.#ending.reset();
  }

  // The transport's sink.

  capacity(): number {
    if (this.#over) return Math.max(0, LINGER_BYTES - this.#droppedBytes);
    return this.#owner.capacity();
  }

  onData(bytes: SharedBytes, offset: number, length: number): number {
    const end = offset + length;
    let at = offset;
    try {
      while (at < end && !this.#over) {
        const taken = this.#owner.read(bytes, at, end);
        if (taken === 0) break;
        at += taken;
      }
      if (!this.#isOver()) this.#owner.onRead();
    } catch (error) {
      if (!(error instanceof Http1Violation)) throw error;
      this.#owner.onViolation(error);
    }
    if (this.#isOver()) return at - offset + this.#drop(end - at);
    return at - offset;
  }

  onEnd(): void {
    this.#ending.onPeerEnd();
    if (!this.#over) this.#owner.onPeerEnd();
  }

  onError(cause: Error): void {
    this.#ending.onBroken();
    if (this.#over) return;
    this.#stop();
    this.#owner.onBroken(cause);
  }

  onWritable(): void {
    this.#outbox.unblock();
  }

  // The outbox's owner.

  onOutboxReady(): void {
    this.#writeDeadline.clear();
    if (!this.#over) this.#owner.onRoom();
  }

  onOutboxBlocked(): void {
    if (!this.#over) this.#writeDeadline.set(this.#writeTimeoutMs);
  }

  onOutboxOverflow(): void {
    if (!this.#over) this.#owner.onStalled();
  }

  #stop(): void {
    this.#over = true;
    this.#writeDeadline.stop();
  }

  #drop(length: number): number {
    const dropped = Math.min(length, Math.max(0, LINGER_BYTES - this.#droppedBytes));
    this.#droppedBytes += dropped;
    return dropped;
  }

  /** Behind a call, so that the compiler does not think it knows. */
  #isOver(): boolean {
    return this.#over;
  }
}
