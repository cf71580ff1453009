import type { SocketAddress } from '../base/address.ts';
import { MeshError } from '../base/errors.ts';
import { BulkQueue } from './bulk-queue.ts';
import { type ByteSink, type ByteStream, HEADROOM, type SharedBytes } from './byte-stream.ts';
import { EARLY_BYTES, giveBack, takePlace } from './early-input.ts';
import { EAGAIN, errnoName } from './native/errno.ts';
import {
  closeDescriptor,
  readInto,
  setAbortiveClose,
  shutdownWrite,
  writeFrom,
} from './native/libc.ts';
import { allocateShared } from './native/memory.ts';
import { Outlet } from './outlet.ts';
import { originalDestination, socketPeer, socketLocal } from './socket-address.ts';
import type { SplicePipe } from './splice-pipe.ts';
import { type PipeTarget, SplicedInput } from './spliced-input.ts';
import {
  BROKEN,
  type EventHandler,
  forget,
  handOver,
  HUNG_UP,
  PEER_ENDED,
  READABLE,
  runAfterEvents,
  runInBulk,
  runNextTurn,
  SOCKET_EVENTS,
  tellMoved,
  type TurnTask,
  unwatch,
  watch,
  WRITABLE,
} from './reactor.ts';

/**
 * One read at the most; large reads are what makes bulk cheap, and one buffer serves the whole thread. With the headroom
 * it is one HTTP/2 frame that fills 32 TLS records: a few bytes more would cost a frame and a record of their own. See
 * docs/decisions/large-steps.md.
 */
export const READ_BYTES = (512 << 10) - HEADROOM;
/** One read of what goes on to another socket; whoever fills it moves bulk, which goes on inside the kernel. */
const SOCKET_BYTES = (256 << 10) - HEADROOM;
/** From a last read of so much on, a socket moves bulk: it waits in a queue for that, and not before those who have little. */
const BULK_BYTES = 32 << 10;
/** Reads of one connection in one turn, and what they bring before the next turn, so that a bulk flow does not starve the others. */
const READS_PER_TURN = 4;
const TURN_BYTES = SOCKET_BYTES;
/** What an unhindered socket says it takes: more than any source offers at once. */
const OPEN_CAPACITY = 1 << 20;

const incoming = { ...allocateShared(HEADROOM + READ_BYTES), free: true };

/**
 * A connected TCP socket.
 *
 * Nothing is read until a sink is set, so a socket can be handed on (detach()) before.
 */
export class TcpStream implements ByteStream, EventHandler, TurnTask, PipeTarget {
  readonly #fd: number;
  readonly #outlet = new Outlet();
  #watched = false;
  #closed = false;
  #readable = false;
  #writable = true;
  /** FIN or worse has come: the kernel tells no further edge, so reading goes on until it says so itself. */
  #hungUp = false;
  /** Reset, or dead: told even to a sink that takes nothing. */
  #broken = false;
  #peerEnded = false;
  #ended = false;
  #taskQueued = false;
  #ownQueue: BulkQueue | undefined;
  #failure: Error | undefined;
  /** Holds what was read while events were told, until they all have been. */
  #early: SharedBytes | undefined;
  #earlyLength = 0;
  /** How many bytes; of the next one as many are expected. */
  #lastRead = 0;
  /** Since a read filled the buffer and the sink's target was another socket. */
  #spliced: SplicedInput | undefined;
  #peer: SocketAddress | undefined;
  /** A close of the descriptor is a reset. */
  #abortive: boolean;
  bytesRead = 0;
  bytesWritten = 0;

  /**
   * @param fd connected, non-blocking; the stream owns it from here on.
   * @param abortive whether a close of the descriptor is a reset already.
   */
  constructor(fd: number, peer?: SocketAddress, abortive = false) {
    this.#fd = fd;
    this.#peer = peer;
    this.#abortive = abortive;
  }

  /** Takes over a descriptor that is watched for SOCKET_EVENTS, of which `told` came so far. */
  static watched(fd: number, peer: SocketAddress, told: number): TcpStream {
    const stream = new TcpStream(fd, peer);
    stream.#watched = true;
    handOver(fd, stream);
    stream.onEvent(told);
    return stream;
  }

  get peer(): SocketAddress {
    return (this.#peer ??= socketPeer(this.#fd));
  }

  get local(): SocketAddress {
    return socketLocal(this.#fd);
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Where the connection was going before a redirection; its own local address when there was none. */
  originalDestination(): SocketAddress {
    return originalDestination(this.#fd);
  }

  /**
   * Gives the descriptor away, unread, and its close no reset; this object is then closed without ending the connection.
   *
   * @throws {Error} once a sink was set or the stream was closed.
   */
  detach(): number {
    if (this.#outlet.sink !== undefined || this.#closed)
      throw new Error('Cannot detach a socket that is in use');
    this.#peer ??= socketPeer(this.#fd);
    if (this.#watched) unwatch(this.#fd);
    this.#setAbortive(false);
    this.#closed = true;
    return this.#fd;
  }

  /** @throws {Error} while bytes for the target of the sink before are on their way inside the kernel. */
  setSink(sink: ByteSink): void {
    if (this.#spliced?.waits === true) throw new Error('Cannot take the input of a relay from it');
    this.#outlet.setSink(sink);
    if (this.#outlet.holdsBreak) this.#queueTask();
    if (this.#closed) return;
    // From here on whatever ends this process is a reset to the peer, who must not take it for an end.
    this.#setAbortive(true);
    if (this.#watched) {
      if (this.#hasInput()) this.#queueTask();
      return;
    }
    this.#watched = true;
    // Registering tells at once what is already there.
    watch(this.#fd, SOCKET_EVENTS, this);
  }

  resume(): void {
    if (!this.#outlet.resume()) return;
    if (this.#hasInput()) this.#queueTask();
  }

  capacity(): number {
    return this.#writable && !this.#ended && !this.#closed ? OPEN_CAPACITY : 0;
  }

  write(bytes: SharedBytes, offset: number, length: number): number {
    if (!this.#writable || this.#ended || this.#closed || length === 0) return 0;
    const wrote = writeFrom(this.#fd, bytes, offset, length);
    if (wrote < 0) {
      this.#writable = false;
      // The kernel tells an error once: kept, so that a later read cannot take it for an end.
      if (wrote !== -EAGAIN) this.#fail(-wrote);
      return 0;
    }
    if (wrote < length) this.#writable = false;
    this.bytesWritten += wrote;
    return wrote;
  }

  /** As write(), of what a pipe holds. */
  drain(pipe: SplicePipe): boolean {
    if (!this.#writable || this.#ended || this.#closed) return false;
    const before = pipe.length;
    const result = pipe.drain(this.#fd);
    this.bytesWritten += before - pipe.length;
    if (result === 0) return true;
    this.#writable = false;
    if (result !== -EAGAIN) this.#fail(-result);
    return false;
  }

  end(): void {
    if (this.#ended || this.#closed) return;
    this.#ended = true;
    if (this.#peerEnded) {
      this.#close('in order'); // which sends the end too
      return;
    }
    const result = shutdownWrite(this.#fd);
    if (result < 0) this.#fail(-result);
  }

  reset(): void {
    this.#outlet.dropBreak();
    if (this.#closed) return;
    this.#close('abort');
  }

  onEvent(mask: number): void {
    if ((mask & (PEER_ENDED | HUNG_UP | BROKEN)) !== 0) this.#hungUp = true;
    if ((mask & READABLE) !== 0) this.#readable = true;
    if ((mask & BROKEN) !== 0) this.#broken = true;
    if ((mask & WRITABLE) !== 0 && !this.#writable && (mask & BROKEN) === 0) {
      this.#writable = true;
      if (!this.#ended) this.#outlet.sink?.onWritable();
    }
    if (this.#isClosed()) return;
    // A reset is passed on at once, even when the sink takes nothing: what it has not taken is lost to the reset. After
    // the peer's end nothing more is read, and so nothing else would tell.
    if (this.#broken && (this.#outlet.paused || this.#peerEnded))
      this.#breakOff(errnoError('ECONNRESET'));
    else if (!this.#readable && !this.#hungUp) return;
    else if (this.#movesBulk()) this.#queueTask();
    else this.#read();
  }

  runTask(): void {
    if (this.#early !== undefined) {
      this.#deliverEarly(this.#early);
      return;
    }
    this.#taskQueued = false;
    if (this.#closed) this.#outlet.tellLate();
    else if (this.#failure !== undefined) this.#breakOff(this.#failure);
    else this.#pump();
  }

  #pump(): void {
    const outlet = this.#outlet;
    if (outlet.sink === undefined || outlet.paused) return;
    if (!this.#deliverRest(outlet.sink)) return;
    if (!this.#deliverSpliced(outlet.sink)) return;
    const enough = this.bytesRead + TURN_BYTES;
    for (let reads = 0; (this.#readable || this.#hungUp) && !this.#peerEnded; reads++) {
      const { sink } = outlet; // onData() may have set another one
      if (reads === READS_PER_TURN || this.bytesRead >= enough) {
        this.#queueTask();
        return;
      }
      const toSocket = this.#lastRead >= EARLY_BYTES && sink.target instanceof TcpStream;
      const room = Math.min(sink.capacity(), toSocket ? SOCKET_BYTES : READ_BYTES);
      if (room <= 0) {
        outlet.paused = true;
        if (this.#broken) this.#breakOff(errnoError('ECONNRESET'));
        return;
      }
      const got =
        toSocket && this.#spliced?.active === true
          ? this.#splice(this.#spliced, sink, room)
          : this.#readOnce(sink, room);
      if (this.#stopped()) return;
      if (got > 0) continue;
      this.#onNothingRead(got);
      return;
    }
  }

  /** @param answer of read(), below 1. */
  #onNothingRead(answer: number): void {
    if (answer === 0) this.#onPeerEnd();
    else if (answer !== -EAGAIN) this.#breakOff(this.#failure ?? errnoError(errnoName(-answer)));
    // The kernel has told of an error, and tells it once: whoever heard it did not keep it.
    else if (this.#broken) this.#breakOff(this.#failure ?? errnoError('ECONNRESET'));
    else this.#readable = false; // with FIN on its way the kernel will tell the next edge
  }

  #canReadEarly(): boolean {
    const { sink, paused } = this.#outlet;
    if (!this.#readable || this.#lastRead >= EARLY_BYTES || paused || this.#peerEnded) return false;
    return !this.#hasUndelivered() && (sink?.capacity() ?? 0) >= EARLY_BYTES;
  }

  /** Of an event: early, if it may be so and there is a place. */
  #read(): void {
    const place = this.#canReadEarly() ? takePlace() : undefined;
    if (place === undefined) {
      this.#pump();
      return;
    }
    const got = readInto(this.#fd, place, HEADROOM, EARLY_BYTES);
    if (got <= 0) {
      giveBack(place);
      this.#onNothingRead(got);
      return;
    }
    this.#count(got, EARLY_BYTES);
    this.#early = place;
    this.#earlyLength = got;
    runAfterEvents(this);
  }

  #deliverEarly(place: SharedBytes): void {
    this.#early = undefined;
    const { sink } = this.#outlet;
    if (!this.#closed && sink !== undefined) this.#deliver(sink, place, this.#earlyLength);
    giveBack(place);
    if (!this.#stopped() && (this.#readable || this.#hungUp)) this.#pump();
  }

  /** So much has been read where there was that room. */
  #count(got: number, room: number): void {
    this.bytesRead += got;
    tellMoved(got);
    this.#lastRead = got;
    if (got < room) this.#readable = false;
  }

  /** Hands on what was read, and keeps what is not taken. */
  #deliver(sink: ByteSink, bytes: SharedBytes, length: number): void {
    this.#outlet.deliver(sink, bytes, HEADROOM, length);
    if (this.#outlet.holdsRest) this.#pause();
  }

  /** Bytes read and handed to the sink, or what read() answered. */
  #readOnce(sink: ByteSink, room: number): number {
    const got = readInto(this.#fd, incoming, HEADROOM, room);
    if (got <= 0) return got;
    this.#count(got, room);
    if (got >= SOCKET_BYTES && sink.target instanceof TcpStream)
      (this.#spliced ??= new SplicedInput()).active = true;
    this.#deliver(sink, incoming, got);
    return got;
  }

  /** As #readOnce(), inside the kernel from socket to socket; where no pipe can be had, as before. */
  #splice(spliced: SplicedInput, sink: ByteSink, room: number): number {
    const moved = spliced.fill(this.#fd);
    if (moved === undefined) return this.#readOnce(sink, room);
    if (moved > 0) {
      this.bytesRead += moved;
      tellMoved(moved);
    }
    this.#deliverSpliced(sink);
    return moved;
  }

  #onPeerEnd(): void {
    this.#peerEnded = true;
    if (this.#failure !== undefined) this.#breakOff(this.#failure);
    else this.#outlet.sink?.onEnd();
    if (this.#ended) this.#close('in order');
    else if (this.#broken) this.#breakOff(errnoError('ECONNRESET')); // it came together with the end
  }

  /** Behind a call, because the sink may have changed it: the compiler would think it knows. */
  #stopped(): boolean {
    return this.#outlet.paused || this.#outlet.holdsRest || this.#closed;
  }

  #isClosed(): boolean {
    return this.#closed;
  }

  /** The sink took less than it was given. Whoever asked meanwhile gets the rest in the next turn. */
  #pause(): void {
    if (!this.#outlet.pause()) this.#queueTask();
  }

  /** True when all that was spliced is with the target; else the input pauses. */
  #deliverSpliced({ target }: ByteSink): boolean {
    if (this.#spliced?.deliver(target instanceof TcpStream ? target : undefined) !== false)
      return true;
    this.#outlet.paused = true;
    return false;
  }

  #hasInput(): boolean {
    return this.#readable || this.#hungUp || this.#hasUndelivered();
  }

  #hasUndelivered(): boolean {
    return this.#outlet.holdsRest || this.#spliced?.waits === true;
  }

  #deliverRest(sink: ByteSink): boolean {
    if (this.#outlet.deliverRest(sink)) return !this.#closed;
    this.#pause();
    return false;
  }

  #movesBulk(): boolean {
    return this.#lastRead >= BULK_BYTES;
  }

  /** That of the session that the input goes into, so that its sockets have one turn together; else one of its own. */
  #bulkQueue(): BulkQueue {
    return this.#outlet.sink?.target?.bulkQueue ?? (this.#ownQueue ??= new BulkQueue());
  }

  #queueTask(): void {
    if (this.#taskQueued) return;
    this.#taskQueued = true;
    if (this.#movesBulk()) runInBulk(this.#bulkQueue(), this);
    else runNextTurn(this);
  }

  #fail(errno: number): void {
    this.#failure ??= errnoError(errnoName(errno));
    this.#queueTask();
  }

  #breakOff(error: Error): void {
    this.#close('abort');
    this.#outlet.tellBroken(error);
  }

  #close(how: 'abort' | 'in order'): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#setAbortive(how === 'abort');
    this.#outlet.dropRest();
    this.#spliced?.drop();
    if (this.#watched) forget(this.#fd);
    closeDescriptor(this.#fd);
  }

  #setAbortive(on: boolean): void {
    if (on === this.#abortive) return;
    this.#abortive = on;
    setAbortiveClose(this.#fd, on);
  }
}

function errnoError(name: string): MeshError {
  return new MeshError(
    name === 'ECONNRESET' || name === 'EPIPE' ? 'ERR_STREAM_RESET' : `ERR_SYSTEM_${name}`,
    'upstream',
    `Cannot go on with a TCP connection: ${name}`,
  );
}
