import { type ByteStream, HEADROOM, type SharedBytes } from './byte-stream.ts';
import { allocateShared } from './native/memory.ts';
import { flushAtTurnEnd, type TurnTask } from './reactor.ts';

/** 16 KiB, the plaintext of one TLS record: what is joined in one turn before it is written. RFC 8446 section 5.1. */
export const STAGE_BYTES = 16 << 10;

/**
 * 1 MiB beyond what was being written when the transport stopped: control frames and headers that wait for a peer that
 * does not read. More ends the connection (CVE-2019-9512 and -9515: floods whose answers are left unread).
 */
const WAITING_BYTES = 1 << 20;

/**
 * 1 MiB, two of the largest HTTP/2 frames, that a connection sends in a turn; then whoever has had the least goes on in
 * the next one. So a small message waits for about what the peer reads in a turn, and not for all that the socket would
 * take: beside eight bulk streams of its session 1.5 MiB are moved meanwhile (99 of 100), where 24 to 31 MiB were without.
 * With room for one frame a message waits longer: whoever is told of room writes in the next turn, and finds a frame there.
 */
const BYTES_PER_TURN = 1 << 20;

/** Bytes on their way to the transport, from `start` to `end`. */
type Segment = { readonly bytes: SharedBytes; start: number; end: number };

/** Stages that a thread keeps; each is in use only from a connection's first small write of a turn to its end. */
const KEPT_STAGES = 32;

/**
 * A connection begins a turn with 2 KiB, which is enough for heads and small messages. More are kept than a turn handles
 * events: those that are not would be allocated, zeroed and collected anew in each turn.
 */
export const SMALL_STAGE_BYTES = 2 << 10;
const KEPT_SMALL_STAGES = 256;

/**
 * Stages for all connections of a thread whose protocol joins up to so much. With small ones beside them a connection begins
 * with one of these, and what it has staged moves when it needs more room.
 */
export class StagePool implements TurnTask {
  readonly bytes: number;
  readonly #maxKept: number;
  readonly #small: StagePool | undefined;
  readonly #kept: Segment[] = [];
  #takenInTurn = 0;

  constructor(bytes: number, maxKept: number, small?: StagePool) {
    this.bytes = bytes;
    this.#maxKept = maxKept;
    this.#small = small;
  }

  /** An empty one with room for `length` bytes. */
  take(length: number): Segment {
    if (this.#small !== undefined) {
      if (length <= this.#small.bytes) return this.#small.take(length);
      if (this.#takenInTurn++ === 0) flushAtTurnEnd(this);
    }
    const kept = length <= this.bytes ? this.#kept.pop() : undefined;
    return kept ?? makeSegment(Math.max(length, this.bytes));
  }

  /** A larger one with the same content in the place of a small one; undefined where that would not be enough. */
  grow(stage: Segment, length: number): Segment | undefined {
    const staged = stage.end - stage.start;
    if (this.#small?.owns(stage) !== true || staged + length > this.bytes) return undefined;
    const larger = this.take(this.bytes);
    larger.end += stage.bytes.buffer.copy(larger.bytes.buffer, HEADROOM, stage.start, stage.end);
    this.keep(stage);
    return larger;
  }

  /** It is one of the large ones, of which this turn has taken more than are kept. */
  isShortOf(stage: Segment): boolean {
    return this.#takenInTurn > this.#maxKept && this.#small?.owns(stage) === false;
  }

  owns(stage: Segment): boolean {
    return stage.bytes.buffer.length === HEADROOM + this.bytes;
  }

  /** Nobody may use it any more. */
  keep(stage: Segment): void {
    if (!this.owns(stage)) {
      this.#small?.keep(stage);
      return;
    }
    if (this.#kept.length >= this.#maxKept) return;
    stage.start = HEADROOM;
    stage.end = HEADROOM;
    this.#kept.push(stage);
  }

  runTask(): void {
    this.#takenInTurn = 0;
  }
}

/** Small stages of a thread, for all protocols. */
export const smallStages = new StagePool(SMALL_STAGE_BYTES, KEPT_SMALL_STAGES);

const recordStages = new StagePool(STAGE_BYTES, KEPT_STAGES, smallStages);

export interface OutboxOwner {
  /** The transport took all that was staged, or can take more again. */
  onOutboxReady(): void;
  /** The transport takes nothing for now; onOutboxReady() follows when it took what waited. */
  onOutboxBlocked?(): void;
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
  readonly #stages: StagePool;
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

  constructor(transport: ByteStream, owner: OutboxOwner, stages = recordStages) {
    this.#transport = transport;
    this.#owner = owner;
    this.#stages = stages;
  }

  /** How many payload bytes of DATA can be accepted now. */
  capacity(): number {
    if (this.#blocked || this.#ending || this.#dropped || this.#turnBytes >= BYTES_PER_TURN)
      return 0;
    const open = this.#transport.capacity();
    if (open <= 0) return 0;
    const staged = this.#stage === undefined ? 0 : this.#stage.end - this.#stage.start;
    const left = open - staged - HEADROOM;
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
      const larger = this.#stages.grow(stage, length);
      if (larger !== undefined) {
        this.#stage = larger;
        return larger.end;
      }
      if (!this.#blocked) this.flush();
      if (this.#stage !== undefined) {
        this.#waiting.push(this.#stage);
        this.#stage = undefined;
        this.#checkWaiting();
      }
    }
    this.#stage = this.#stages.take(length);
    return this.#stage.end;
  }

  /** Where room() is. */
  get bytes(): SharedBytes {
    return this.#stage?.bytes ?? nowhere;
  }

  get buffer(): Buffer {
    return this.bytes.buffer;
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
    if (this.#blocked) return;
    this.#queueFlush();
    // Held until the turn's end, it would be one stage more that has to be allocated in each turn.
    if (this.#stages.isShortOf(stage)) this.flush();
  }

  /**
   * Writes a frame from where it is, behind all that is staged.
   *
   * @returns false when nothing of it was accepted; otherwise all of it was, and the rest waits here in a copy.
   */
  writeThrough(bytes: SharedBytes, offset: number, length: number): boolean {
    const wrote = this.writePart(bytes, offset, length);
    if (wrote === length) return true;
    if (wrote === 0) return false;
    const rest = makeSegment(length - wrote);
    rest.end += bytes.buffer.copy(rest.bytes.buffer, rest.end, offset + wrote, offset + length);
    this.#waiting.push(rest);
    return true;
  }

  /** As writeThrough(), for bytes that may be cut anywhere; returns how many were accepted, and keeps none. */
  writePart(bytes: SharedBytes, offset: number, length: number): number {
    if (this.#blocked || !this.flush()) return 0;
    const wrote = this.#transport.write(bytes, offset, length);
    this.#turnBytes += wrote;
    if (wrote > 0) this.#queueFlush();
    if (wrote < length) this.#block();
    return wrote;
  }

  /**
   * As writePart(), for bytes with free memory before them: what is staged is put there, and goes out in the same write.
   */
  writeBehindStage(bytes: SharedBytes, offset: number, length: number): number {
    const stage = this.#stage;
    const staged = stage === undefined ? 0 : stage.end - stage.start;
    const start = offset - staged;
    if (stage === undefined || this.#waiting.length > 0 || start < HEADROOM)
      return this.writePart(bytes, offset, length);
    if (this.#blocked || this.#dropped) return 0;
    stage.bytes.buffer.copy(bytes.buffer, start, stage.start, stage.end);
    const wrote = this.#transport.write(bytes, start, staged + length);
    if (wrote < staged) {
      stage.start += wrote;
      this.#block();
      return 0;
    }
    this.#stage = undefined;
    this.#stages.keep(stage);
    this.#turnBytes += wrote - staged;
    this.#queueFlush();
    if (wrote < staged + length) this.#block();
    return wrote - staged;
  }

  /** Writes what is staged; false when the transport left some of it. */
  flush(): boolean {
    if (this.#dropped || this.#blocked) return false;
    for (let head = this.#waiting[0]; head !== undefined; head = this.#waiting[0]) {
      if (!this.#write(head)) return false;
      this.#waiting.shift();
      this.#stages.keep(head);
    }
    const stage = this.#stage;
    if (stage === undefined) return true;
    if (!this.#write(stage)) return false;
    this.#stage = undefined;
    this.#stages.keep(stage);
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
    this.#block();
    return false;
  }

  #block(): void {
    this.#blocked = true;
    this.#owner.onOutboxBlocked?.();
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

/** Never written to: room() comes before it. */
const nowhere = allocateShared(0);

function makeSegment(length: number): Segment {
  return { bytes: allocateShared(HEADROOM + length), start: HEADROOM, end: HEADROOM };
}
