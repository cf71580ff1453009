import { REMEMBERED_ENDS } from './limits.ts';
import { OpenStreams } from './open-streams.ts';
import type { Http2Stream } from './stream.ts';

/** Ranges of ids that the peer left out and thereby closed; a well-behaved peer leaves out none. RFC 9113 section 5.1.1. */
const REMEMBERED_GAPS = 8;

/** What is known of a stream that is not open. */
export type Absence =
  /** It was never opened; only HEADERS may come. */
  | 'idle'
  /** The peer opened a later one instead of it. */
  | 'skipped'
  /** The peer ended or reset it itself: it has no more to say. */
  | 'ended'
  /** We reset it, or it was long ago: what was on its way is to be ignored. */
  | 'gone';

/** The open streams of one connection, and enough of the closed ones to judge what still comes for them. */
export class StreamTable {
  readonly #open = new OpenStreams<Http2Stream>();
  readonly #isServer: boolean;
  /** The next id of ours: odd at the client; a server opens none. */
  #nextId = 1;
  /** The highest id that the peer has used: odd at the server; a client gets none. */
  #lastPeerId = 0;
  /** Ids that the peer ended, the oldest overwritten first. */
  readonly #ended: number[] = [];
  #endedAt = 0;
  /** Pairs of the first and the last id of a gap. */
  readonly #gaps: number[] = [];

  constructor(isServer: boolean) {
    this.#isServer = isServer;
  }

  get size(): number {
    return this.#open.size;
  }

  get lastPeerId(): number {
    return this.#lastPeerId;
  }

  get(id: number): Http2Stream | undefined {
    return this.#open.get(id);
  }

  all(): Http2Stream[] {
    return this.#open.all();
  }

  add(stream: Http2Stream): void {
    this.#open.add(stream);
  }

  /** @param endedByPeer by END_STREAM or RST_STREAM. */
  remove(id: number, endedByPeer: boolean): void {
    this.#open.delete(id);
    if (!endedByPeer) return;
    this.#ended[this.#endedAt] = id;
    this.#endedAt = (this.#endedAt + 1) % REMEMBERED_ENDS;
  }

  /** The id for a stream of ours. */
  takeId(): number {
    const id = this.#nextId;
    this.#nextId += 2;
    return id;
  }

  /** The next id is not beyond 2^31-1. */
  get hasId(): boolean {
    return this.#nextId <= 0x7fff_ffff;
  }

  /** The peer has used a new id; those below it that it did not use are closed. */
  usePeerId(id: number): void {
    const expected = this.#lastPeerId === 0 ? 1 : this.#lastPeerId + 2;
    this.#lastPeerId = id;
    if (id === expected) return;
    this.#gaps.push(expected, id - 2);
    if (this.#gaps.length > REMEMBERED_GAPS * 2) this.#gaps.splice(0, 2);
  }

  /** Why get() has no such stream. */
  absence(id: number): Absence {
    const isClients = id % 2 === 1;
    if (!isClients) return 'idle'; // a server opens none, and nobody may push
    if (this.#isServer ? id > this.#lastPeerId : id >= this.#nextId) return 'idle';
    if (this.#ended.includes(id)) return 'ended';
    for (let gap = 0; gap < this.#gaps.length; gap += 2)
      if (id >= (this.#gaps[gap] ?? 0) && id <= (this.#gaps[gap + 1] ?? 0)) return 'skipped';
    return 'gone';
  }
}
