import type { ByteSink, ByteStream, SharedBytes } from './byte-stream.ts';

/** How a relay ended: in order, or broken by one side (`downstream` is the first of the two streams). */
export type RelayEnd = Readonly<
  { kind: 'complete' } | { kind: 'broken'; by: 'downstream' | 'upstream' | 'local'; error: Error }
>;

/**
 * Moves bytes both ways until both directions have ended. An end goes on as an end, a break as a reset; a slow side
 * stops the other at its source. Nothing is allocated per chunk, and nothing is held here.
 */
export class Relay {
  readonly #downstream: ByteStream;
  readonly #upstream: ByteStream;
  readonly #onEnd: (end: RelayEnd) => void;
  #open = 2;
  #over = false;

  /** @param onEnd called once. Both streams are closed or reset by then; their counters stay readable. */
  constructor(downstream: ByteStream, upstream: ByteStream, onEnd: (end: RelayEnd) => void) {
    this.#downstream = downstream;
    this.#upstream = upstream;
    this.#onEnd = onEnd;
    downstream.setSink(new Direction(this, downstream, upstream));
    upstream.setSink(new Direction(this, upstream, downstream));
  }

  /** Cuts the relay from here: both sides see a reset. Idempotent. */
  cut(error: Error): void {
    this.#finish({ kind: 'broken', by: 'local', error });
  }

  /** One direction has ended in order. */
  directionEnded(): void {
    if (--this.#open === 0) this.#finish({ kind: 'complete' });
  }

  broken(stream: ByteStream, error: Error): void {
    const by = stream === this.#downstream ? 'downstream' : 'upstream';
    this.#finish({ kind: 'broken', by, error });
  }

  #finish(end: RelayEnd): void {
    if (this.#over) return;
    this.#over = true;
    if (end.kind === 'broken') {
      this.#downstream.reset();
      this.#upstream.reset();
    }
    this.#onEnd(end);
  }
}

class Direction implements ByteSink {
  readonly #relay: Relay;
  readonly #from: ByteStream;
  readonly target: ByteStream;

  constructor(relay: Relay, from: ByteStream, to: ByteStream) {
    this.#relay = relay;
    this.#from = from;
    this.target = to;
  }

  capacity(): number {
    return this.target.capacity();
  }

  onData(bytes: SharedBytes, offset: number, length: number): number {
    return this.target.write(bytes, offset, length);
  }

  onEnd(): void {
    this.target.end();
    this.#relay.directionEnded();
  }

  onError(error: Error): void {
    this.#relay.broken(this.#from, error);
  }

  onWritable(): void {
    this.target.resume();
  }
}
