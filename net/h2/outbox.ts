import { type ByteStream, HEADROOM, type SharedBytes } from '../byte-stream.ts';
import { allocateShared } from '../native/memory.ts';
import { flushAtTurnEnd, type TurnTask } from '../reactor.ts';
import { FRAME_HEADER_BYTES } from './frame.ts';
import { BYTES_PER_TURN, STAGE_BYTES, WAITING_BYTES } from './limits.ts';

/** Bytes on their way to the transport, from `start` to `end`. */
type Segment = { readonly bytes: SharedBytes; start: number; end: number };

/** Stages that a thread keeps; each is in use only from a connection's first small write of a turn to its end. */
const KEPT_STAGES = 32;
const keptStages: Segment[] = [];

export interface OutboxOwner {
  /** The transport took all that was staged, or can take more again. */
  onOutboxReady(): void;
  /** The peer reads nothing, while more and more is to be told to it. */
  onOutboxOverflow(): void;
}

/**
 * What goes out on one connection, in order. Small frames of one turn are joined and written at its end; large ones go
 * straight from their caller's memory. What the transport does not take waits here, bounded, and then nothing more is
 * asked of the transport until it says that it can.
 */
export class Outbox implements TurnTask {
  readonly #transport: ByteStream;
  readonly #owner: OutboxOwner;
  /** The end of what waits; frames are added to it until it is full. */
  #stage: Segment | undefined;
  /** Full ones before it; only while the transport is blocked. */
  readonly #waiting: Segment[] = [];
  #blocked = false;
  /** What was accepted in this turn. */
  #turnBytes = 0;
  #flushQueued = false;
  #ending = false;
  #dropped = false;

  constructor(transport: ByteStream, owner: OutboxOwner) {
    this.#transport = transport;
    this.#owner = owner;
  }

  /** How many payload bytes of DATA can be accepted now. */
  capacity(): number {
    if (this.#blocked || this.#ending || this.#dropped || this.#turnBytes >= BYTES_PER_TURN)
      return 0;
    const open = this.#transport.capacity();
    if (open <= 0) return 0;
    const staged = this.#stage === undefined ? 0 : this.#stage.end - this.#stage.start;
    const left = open - staged - FRAME_HEADER_BYTES;
    // With a little room and nothing staged, one byte gets its chance: a write that comes up short brings onWritable().
    return left > 0 ? left : staged > 0 ? 0 : 1;
  }

  /** Everything was written. */
  get isEmpty(): boolean {
    return this.#stage === undefined && this.#waiting.length === 0;
  }

  /** Makes room for a frame of `length` bytes in all; returns where in `buffer` it goes. Then commit(). */
  room(length: number): number {
    const stage = this.#stage;
    if (stage !== undefined) {
      if (stage.end + length <= stage.bytes.buffer.length) return stage.end;
      if (!this.#blocked) this.flush();
      if (this.#stage !== undefined) {
        this.#waiting.push(this.#stage);
        this.#stage = undefined;
        this.#checkWaiting();
      }
    }
    const taken = length <= STAGE_BYTES ? keptStages.pop() : undefined;
    this.#stage = taken ?? makeSegment(Math.max(length, STAGE_BYTES));
    return this.#stage.end;
  }

  /** Where room() is. */
  get buffer(): Buffer {
    return this.#stage?.bytes.buffer ?? nowhere;
  }

  /** Where in `buffer` the bytes begin that are still here. */
  get unsentFrom(): number {
    return this.#stage?.start ?? Infinity;
  }

  /** The frame that was written into room() ends at `end`. */
  commit(end: number): void {
    const stage = this.#stage;
    if (stage === undefined) return;
    if (this.#dropped) {
      this.#stage = undefined;
      return;
    }
    this.#turnBytes += end - stage.end;
    stage.end = end;
    if (!this.#blocked) this.#queueFlush();
  }

  /**
   * Writes a frame from where it is, behind all that is staged.
   *
   * @returns false when nothing of it was accepted; otherwise all of it was, and the rest waits here in a copy.
   */
  writeThrough(bytes: SharedBytes, offset: number, length: number): boolean {
    if (this.#blocked || !this.flush()) return false;
    const wrote = this.#transport.write(bytes, offset, length);
    this.#turnBytes += wrote;
    if (wrote > 0) this.#queueFlush();
    if (wrote === length) return true;
    this.#blocked = true;
    if (wrote === 0) return false;
    const rest = makeSegment(length - wrote);
    rest.end += bytes.buffer.copy(rest.bytes.buffer, rest.end, offset + wrote, offset + length);
    this.#waiting.push(rest);
    return true;
  }

  /** Writes what is staged; false when the transport left some of it. */
  flush(): boolean {
    if (this.#dropped) return false;
    for (let head = this.#waiting[0]; head !== undefined; head = this.#waiting[0]) {
      if (!this.#write(head)) return false;
      this.#waiting.shift();
      keepStage(head);
    }
    const stage = this.#stage;
    if (stage === undefined) return true;
    if (!this.#write(stage)) return false;
    this.#stage = undefined;
    keepStage(stage);
    return true;
  }

  /** The transport can take more. */
  unblock(): void {
    this.#blocked = false;
    this.runTask();
  }

  runTask(): void {
    this.#flushQueued = false;
    this.#turnBytes = 0;
    if (this.#blocked || !this.flush()) return;
    if (this.#ending) this.#transport.end();
    else this.#owner.onOutboxReady();
  }

  /** Ends the transport once everything is written. */
  end(): void {
    this.#ending = true;
    if (!this.#blocked && this.flush()) this.#transport.end();
  }

  /** Forgets what waits; nothing is written any more. */
  drop(): void {
    this.#dropped = true;
    this.#waiting.length = 0;
    this.#stage = undefined;
  }

  #queueFlush(): void {
    if (this.#flushQueued) return;
    this.#flushQueued = true;
    flushAtTurnEnd(this);
  }

  #write(segment: Segment): boolean {
    const length = segment.end - segment.start;
    segment.start += this.#transport.write(segment.bytes, segment.start, length);
    if (segment.start === segment.end) return true;
    this.#blocked = true;
    return false;
  }

  #checkWaiting(): void {
    let bytes = 0;
    // The first one may be the rest of a large DATA frame, accepted before the transport stopped.
    for (let index = 1; index < this.#waiting.length; index++) {
      const segment = this.#waiting[index];
      if (segment !== undefined) bytes += segment.end - segment.start;
    }
    if (bytes > WAITING_BYTES) this.#owner.onOutboxOverflow();
  }
}

/** Never written to: room() comes before `buffer`. */
const nowhere = Buffer.alloc(0);

function makeSegment(length: number): Segment {
  return { bytes: allocateShared(HEADROOM + length), start: HEADROOM, end: HEADROOM };
}

function keepStage(stage: Segment): void {
  if (stage.bytes.buffer.length !== HEADROOM + STAGE_BYTES || keptStages.length >= KEPT_STAGES)
    return;
  stage.start = HEADROOM;
  stage.end = HEADROOM;
  keptStages.push(stage);
}
