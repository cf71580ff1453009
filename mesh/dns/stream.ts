import type { ByteSink, ByteStream, SharedBytes } from '../../net/byte-stream.ts';
import { HEADROOM } from '../../net/byte-stream.ts';
import { allocateShared } from '../../net/shared-bytes.ts';
import { frameMessage } from './encode.ts';

export type MessageStreamHandler = Readonly<{
  onMessage(message: Buffer): void;
  /** The peer has ended or the stream broke; nothing follows. */
  onClose(): void;
}>;

const LENGTH_BYTES = 2;
const MAX_FRAME_BYTES = LENGTH_BYTES + 65_535;
/** Answers that a client does not read; beyond it the stream is reset. */
const MAX_UNSENT_BYTES = 4 * MAX_FRAME_BYTES;

/** One for the thread: write() keeps no reference to it. */
let outgoing: SharedBytes | undefined;

/** DNS messages over a stream (RFC 1035 section 4.2.2, RFC 7766). */
export class MessageStream implements ByteSink {
  readonly #stream: ByteStream;
  readonly #handler: MessageStreamHandler;
  #received = Buffer.alloc(0);
  #unsent: Buffer[] = [];
  #unsentBytes = 0;
  #closed = false;

  constructor(stream: ByteStream, handler: MessageStreamHandler) {
    this.#stream = stream;
    this.#handler = handler;
    stream.setSink(this);
  }

  send(message: Buffer): void {
    if (this.#closed) return;
    const framed = frameMessage(message);
    this.#unsentBytes += framed.length;
    if (this.#unsentBytes > MAX_UNSENT_BYTES) {
      this.abort();
      return;
    }
    this.#unsent.push(framed);
    this.#flush();
  }

  /** Ends our direction once everything is sent; for a peer that has ended its own. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#unsent.length === 0) this.#stream.end();
  }

  /** Ends both directions at once; the handler hears nothing more. Idempotent. */
  abort(): void {
    this.#closed = true;
    this.#unsent = [];
    this.#stream.reset();
  }

  capacity(): number {
    return this.#closed ? MAX_FRAME_BYTES : MAX_FRAME_BYTES - this.#received.length;
  }

  onData(bytes: SharedBytes, offset: number, length: number): number {
    const taken = Math.min(length, this.capacity());
    if (this.#closed) return taken;
    const piece = bytes.buffer.subarray(offset, offset + taken);
    this.#received = Buffer.concat([this.#received, piece]);
    for (;;) {
      if (this.#received.length < LENGTH_BYTES) break;
      const end = LENGTH_BYTES + this.#received.readUInt16BE(0);
      if (this.#received.length < end) break;
      const message = this.#received.subarray(LENGTH_BYTES, end);
      this.#received = this.#received.subarray(end);
      this.#handler.onMessage(message);
    }
    if (taken < length) this.#stream.resume();
    return taken;
  }

  onEnd(): void {
    this.#end();
  }

  onError(): void {
    this.#end();
  }

  onWritable(): void {
    this.#flush();
  }

  #flush(): void {
    outgoing ??= allocateShared(HEADROOM + MAX_FRAME_BYTES);
    for (let next = this.#unsent[0]; next !== undefined; next = this.#unsent[0]) {
      next.copy(outgoing.buffer, HEADROOM);
      const written = this.#stream.write(outgoing, HEADROOM, next.length);
      this.#unsentBytes -= written;
      if (written < next.length) {
        this.#unsent[0] = next.subarray(written);
        return;
      }
      this.#unsent.shift();
    }
    if (this.#closed) this.#stream.end();
  }

  #end(): void {
    if (this.#closed) return;
    this.#handler.onClose();
  }
}
