import { HEADROOM, type ByteSink, type ByteStream, type SharedBytes } from '../net/byte-stream.ts';
import { runNextTurn, type TurnTask } from '../net/reactor.ts';

/** A stream of which the first bytes have been read: they come once more, then the rest. */
export class ReplayedStream implements ByteStream, TurnTask {
  readonly #stream: ByteStream;
  readonly #bytes: SharedBytes;
  readonly #end: number;
  #start = HEADROOM;
  #sink: ByteSink | undefined;
  #ended: boolean;
  #error: Error | undefined;
  #paused = false;
  /** While the sink was given something, it asked for more. */
  #asked = false;
  #queued = false;
  /** The stream itself serves the sink. */
  #handedOver = false;

  /** @param bytes from HEADROOM to `read.end`; `read.ended`: the end has been read too. */
  constructor(
    stream: ByteStream,
    bytes: SharedBytes,
    read: Readonly<{ end: number; ended: boolean }>,
  ) {
    this.#stream = stream;
    this.#bytes = bytes;
    this.#end = read.end;
    this.#ended = read.ended;
    stream.setSink(this.#meanwhile());
  }

  get closed(): boolean {
    return this.#handedOver && this.#stream.closed;
  }

  get bytesRead(): number {
    return this.#stream.bytesRead - (this.#end - this.#start);
  }

  get bytesWritten(): number {
    return this.#stream.bytesWritten;
  }

  setSink(sink: ByteSink): void {
    this.#sink = sink;
    this.#paused = false;
    if (this.#handedOver) this.#stream.setSink(sink);
    else this.#queue();
  }

  resume(): void {
    this.#asked = true;
    if (this.#handedOver) this.#stream.resume();
    else if (this.#paused) {
      this.#paused = false;
      this.#queue();
    }
  }

  capacity(): number {
    return this.#stream.capacity();
  }

  write(bytes: SharedBytes, offset: number, length: number): number {
    return this.#stream.write(bytes, offset, length);
  }

  end(): void {
    this.#stream.end();
  }

  reset(): void {
    this.#handedOver = true; // nothing more is told
    this.#sink = undefined;
    this.#stream.reset();
  }

  runTask(): void {
    this.#queued = false;
    const sink = this.#sink;
    if (sink === undefined || this.#handedOver) return;
    if (this.#error !== undefined) {
      this.#handedOver = true;
      sink.onError(this.#error);
      return;
    }
    if (this.#start < this.#end) {
      const length = this.#end - this.#start;
      this.#asked = false;
      const taken = sink.onData(this.#bytes, this.#start, length);
      this.#start += taken;
      if (this.#sink !== sink) return; // reset, or somebody else's, who has been queued
      if (taken < length) {
        if (this.#wasAsked()) this.#queue();
        else this.#paused = true;
        return;
      }
    }
    this.#handedOver = true;
    if (this.#ended) sink.onEnd();
    else this.#stream.setSink(sink);
  }

  /** What the stream is told while the first bytes are still here. */
  #meanwhile(): ByteSink {
    return {
      capacity: () => 0,
      onData: () => 0,
      onEnd: () => {
        this.#ended = true;
      },
      onError: (error) => {
        this.#error = error;
        this.#queue();
      },
      onWritable: () => {
        this.#sink?.onWritable();
      },
    };
  }

  /** Behind a call, because the sink may have changed it: the compiler would think it knows. */
  #wasAsked(): boolean {
    return this.#asked;
  }

  #queue(): void {
    if (this.#queued) return;
    this.#queued = true;
    runNextTurn(this);
  }
}
