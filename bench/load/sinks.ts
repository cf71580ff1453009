import {
  HEADROOM,
  type ByteSink,
  type ByteStream,
  type SharedBytes,
} from '../../net/byte-stream.ts';
import { allocateShared } from '../../net/native/memory.ts';

const OPEN_CAPACITY = 1 << 20;
/** One write of a source; as large as what the engine reads at once. */
const CHUNK_BYTES = 256 << 10;
const chunk = allocateShared(HEADROOM + CHUNK_BYTES);

/** Sends back what comes, as fast as the other side takes it; ends when it ends. */
export class Echo implements ByteSink {
  readonly #stream: ByteStream;

  constructor(stream: ByteStream) {
    this.#stream = stream;
    stream.setSink(this);
  }

  capacity(): number {
    return this.#stream.capacity();
  }

  onData(bytes: SharedBytes, offset: number, length: number): number {
    return this.#stream.write(bytes, offset, length);
  }

  onEnd(): void {
    this.#stream.end();
  }

  onError(): void {
    // The client has gone, as clients do.
  }

  onWritable(): void {
    this.#stream.resume();
  }
}

/** Takes what comes, or nothing at all when it is to stall. */
export class Drain implements ByteSink {
  readonly #stream: ByteStream;
  readonly #stalled: boolean;
  error: Error | undefined;

  constructor(stream: ByteStream, stalled = false) {
    this.#stream = stream;
    this.#stalled = stalled;
    stream.setSink(this);
  }

  capacity(): number {
    return this.#stalled ? 0 : OPEN_CAPACITY;
  }

  onData(_bytes: SharedBytes, _offset: number, length: number): number {
    return length;
  }

  onEnd(): void {
    this.#stream.end();
  }

  onError(error: Error): void {
    this.error = error;
  }

  onWritable(): void {
    // Nothing is sent.
  }
}

/** Sends without end, as fast as the other side takes it. */
export class Source implements ByteSink {
  readonly #stream: ByteStream;
  error: Error | undefined;

  constructor(stream: ByteStream) {
    this.#stream = stream;
    stream.setSink(this);
    this.onWritable();
  }

  capacity(): number {
    return OPEN_CAPACITY;
  }

  onData(_bytes: SharedBytes, _offset: number, length: number): number {
    return length;
  }

  onEnd(): void {
    this.#stream.reset();
  }

  onError(error: Error): void {
    this.error = error;
  }

  onWritable(): void {
    // The kernel's buffer ends this: it takes less than it is offered as soon as it is full.
    while (this.#stream.write(chunk, HEADROOM, CHUNK_BYTES) === CHUNK_BYTES);
  }
}
