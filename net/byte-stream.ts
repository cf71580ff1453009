import type { BulkQueue } from './bulk-queue.ts';
import type { SharedBytes } from './native/memory.ts';

export type { SharedBytes };

/**
 * What a TCP socket, a TLS session and an HTTP/2 stream have in common.
 *
 * Bytes move without a promise and without an allocation per chunk. Input is pushed: the stream reads into a buffer
 * that it shares with its thread and hands it to the sink, which takes what it can *now* and says how much that was.
 * What the sink does not take stays at the source, and the stream stops reading until resume() is called. So a slow
 * writer stops the reader at its origin, and no queue grows.
 *
 * Life: data* -> (end | error). The end of one direction does not end the other (half-close). When both have ended
 * the stream closes itself; reset() ends both at once and tells the peer so.
 */
export interface ByteStream {
  /**
   * Sets who takes the input. Input that was waiting is delivered from the reactor's next turn on, never inside this
   * call. Setting another sink moves the rest of the input to it.
   */
  setSink(sink: ByteSink): void;

  /**
   * Asks for input again after the sink took less than it was given, or had no capacity; also while it takes, ahead of that.
   * Delivery comes from the reactor, never inside this call.
   */
  resume(): void;

  /** How many bytes write() would take now; 0 until onWritable(). A large number when nothing limits it. */
  capacity(): number;

  /**
   * Sends `bytes[offset .. offset+length)`; no reference is kept after the call.
   * The memory from `offset - HEADROOM` to the end of what was accepted becomes the stream's to overwrite (it puts
   * frame headers there), so `offset` is at least HEADROOM and nothing of value stands before it.
   *
   * @returns how many bytes were accepted, from 0 to `length`. With less than `length` the caller keeps the rest and
   *   offers it again after onWritable(). Nothing is accepted before the stream is connected, nor after end().
   */
  write(bytes: SharedBytes, offset: number, length: number): number;

  /** Half-close: what was accepted is sent, then the end. Further writes accept nothing. Idempotent. */
  end(): void;

  /**
   * Ends both directions at once and tells the peer (RST, RST_STREAM), who must not mistake this for an end.
   * What was accepted but not sent is dropped. The sink hears nothing more. Idempotent.
   */
  reset(): void;

  /** Nothing comes and nothing goes any more: both ends were told and sent, or it broke. */
  readonly closed: boolean;

  /** Where a source waits that moves bulk into this stream; all streams of a session have one queue. */
  readonly bulkQueue?: BulkQueue;

  /** Bytes delivered to sinks so far. */
  readonly bytesRead: number;
  /** Bytes accepted by write() so far. */
  readonly bytesWritten: number;
}

/** Who takes a stream's input. Every call comes from the reactor; none may throw. */
export interface ByteSink {
  /**
   * Where the sink hands everything on to, as it is. Between two sockets bulk may then move inside the kernel, without
   * onData(); whatever else is told stays the same.
   */
  readonly target?: ByteStream;

  /** How many bytes onData() would take now; a source reads no more than this, and nothing at 0. */
  capacity(): number;

  /**
   * Takes input: `bytes[offset .. offset+length)` is valid during the call only. `offset` is at least HEADROOM, and
   * the memory before `offset` and of what is taken is the sink's to overwrite: it can be handed on to write() as it is.
   *
   * @returns how many bytes were taken, from 0 to `length`. Less than `length` pauses the stream until resume().
   */
  onData(bytes: SharedBytes, offset: number, length: number): number;

  /** The peer has ended its direction in order; all its bytes have been delivered. */
  onEnd(): void;

  /** The stream broke (reset by the peer, TLS failure, dead connection); nothing follows, and nothing can be sent. */
  onError(error: Error): void;

  /** After capacity() was 0 or a write() accepted less than offered: more can be accepted now. */
  onWritable(): void;
}

/** Bytes that a writer may overwrite before its payload: an HTTP/2 frame header. RFC 9113 section 4.1. */
export const HEADROOM = 9;
