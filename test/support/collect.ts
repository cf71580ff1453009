import { once } from 'node:events';
import { EventEmitter } from 'node:events';
import {
  type ByteSink,
  type ByteStream,
  HEADROOM,
  type SharedBytes,
} from '../../net/byte-stream.ts';
import { allocateShared } from '../../net/native/memory.ts';

/** Bytes as a stream's write() wants them: with headroom, in memory of their own. */
export function shared(content: string | Uint8Array): { bytes: SharedBytes; length: number } {
  const data = Buffer.from(content);
  const bytes = allocateShared(HEADROOM + data.length);
  bytes.buffer.set(data, HEADROOM);
  return { bytes, length: data.length };
}

/** A sink that remembers everything, with promises for what is to come; and a writer that waits for room. */
export class Collector implements ByteSink {
  readonly #events = new EventEmitter();
  readonly chunks: Buffer[] = [];
  received = 0;
  ended = false;
  error: Error | undefined;
  /** Bytes that it takes before it stops, until release(). */
  allowance = Number.POSITIVE_INFINITY;
  readonly stream: ByteStream;

  constructor(stream: ByteStream) {
    this.stream = stream;
    this.#events.setMaxListeners(0);
    stream.setSink(this);
  }

  capacity(): number {
    return Math.max(0, Math.min(1 << 20, this.allowance - this.received));
  }

  onData(bytes: SharedBytes, offset: number, length: number): number {
    const taken = Math.min(length, this.allowance - this.received);
    this.chunks.push(Buffer.from(bytes.buffer.subarray(offset, offset + taken)));
    this.received += taken;
    this.#events.emit('change');
    return taken;
  }

  onEnd(): void {
    this.ended = true;
    this.#events.emit('change');
  }

  onError(error: Error): void {
    this.error = error;
    this.#events.emit('change');
  }

  onWritable(): void {
    this.#events.emit('writable');
  }

  release(): void {
    this.allowance = Number.POSITIVE_INFINITY;
    this.stream.resume();
  }

  get data(): Buffer {
    return Buffer.concat(this.chunks);
  }

  get text(): string {
    return this.data.toString('latin1');
  }

  /** Resolves when `condition` holds; checked at every event of this sink. */
  async until(condition: (collector: this) => boolean): Promise<void> {
    while (!condition(this)) await once(this.#events, 'change');
  }

  /** Writes everything, waiting for room. */
  async write(content: string | Uint8Array): Promise<void> {
    const { bytes, length } = shared(content);
    for (let done = 0; done < length; ) {
      const wrote = this.stream.write(bytes, HEADROOM + done, length - done);
      done += wrote;
      if (done < length) {
        if (this.error !== undefined) throw this.error;
        await Promise.race([once(this.#events, 'writable'), once(this.#events, 'change')]);
      }
    }
  }
}
