import { MeshError } from '../../base/errors.ts';
import { BulkQueue } from '../bulk-queue.ts';
import { HEADROOM, type SharedBytes } from '../byte-stream.ts';
import { type Outbox, STAGE_BYTES } from '../outbox.ts';
import { runNextTurn, type TurnTask } from '../reactor.ts';
import type { AnswerProbe } from './answer-probe.ts';
import { FLOW_CONTROL_ERROR, Http2Violation } from './errors.ts';
import { addCredit } from './flow-control.ts';
import {
  CLIENT_PREFACE,
  CONTINUATION,
  DATA,
  encodeFrameHeader,
  encodeGoaway,
  encodePing,
  encodeRstStream,
  encodeSettings,
  encodeSettingsAck,
  encodeWindowUpdate,
  FLAG_END_HEADERS,
  FLAG_END_STREAM,
  FRAME_HEADER_BYTES,
  GOAWAY_BYTES,
  HEADERS,
  PING_BYTES,
  RST_STREAM_BYTES,
  SETTING_BYTES,
  type Settings,
  WINDOW_UPDATE_BYTES,
} from './frame.ts';
import { type HeaderList, isValidField } from './headers.ts';
import { HpackEncoder } from './hpack-encoder.ts';
import { INITIAL_WINDOW_BYTES, JOINED_WRITE_BYTES, SENT_FRAME_BYTES } from './limits.ts';
import type { PeerSettings } from './settings.ts';

/** A stream that has something to send and waits for the connection. */
export interface Waiter {
  /** The sender's: the waiter's place in the order of sending; 0 at first. */
  sendTag: number;
  onTurnToSend(): void;
}

/** One that may have nothing to send, and one that will have; more would find that the turn is spent. */
const SERVED_PER_TURN = 2;

type DataStream = Pick<Waiter, 'sendTag'> & Readonly<{ id: number }>;

/** Every frame that one connection sends: encoded into its outbox, DATA within the connection's window. */
export class Sender implements TurnTask {
  readonly peer: PeerSettings;
  readonly bulkQueue = new BulkQueue();
  readonly #outbox: Outbox;
  readonly #encoder: HpackEncoder;
  readonly #probe: AnswerProbe;
  #windowBytes = INITIAL_WINDOW_BYTES;
  /** By their tags, so that all get their share and who sends rarely goes first. */
  readonly #waiters: Waiter[] = [];
  #taskQueued = false;
  /** The tag of who sent last, before it did. */
  #servedTag = 0;
  /** DATA frames sent so far: what a peer's WINDOW_UPDATE frames should be for. */
  dataFrames = 0;
  /** The stream whose DATA header was staged last, and where its flags are; 0 when other bytes followed. */
  #lastDataStream = 0;
  #lastDataFlags = 0;

  constructor(outbox: Outbox, peer: PeerSettings, headerTableBytes: number, probe: AnswerProbe) {
    this.#outbox = outbox;
    this.#probe = probe;
    this.peer = peer;
    this.#encoder = new HpackEncoder(headerTableBytes);
  }

  /** How many payload bytes of DATA the connection takes now, beside the stream's own window. */
  capacity(): number {
    return this.#windowBytes <= 0 ? 0 : Math.min(this.#windowBytes, this.#outbox.capacity());
  }

  /**
   * Sends payload in one DATA frame, within capacity() and the stream's window.
   *
   * Its tag grows by what a stream sends; one that comes after a while begins where the others are. That is start-time fair
   * queueing (Goyal, Vin and Cheng, 1996), with all streams alike.
   *
   * @returns how much was accepted, which may be less than `length`.
   */
  data(stream: DataStream, bytes: SharedBytes, offset: number, length: number): number {
    const streamId = stream.id;
    const most = Math.min(length, this.peer.maxFrameBytes, SENT_FRAME_BYTES);
    let sent = most;
    if (most > JOINED_WRITE_BYTES && offset >= HEADROOM) {
      const frame = offset - FRAME_HEADER_BYTES;
      encodeFrameHeader(bytes.buffer, frame, most, DATA, 0, streamId);
      if (!this.#outbox.writeThrough(bytes, frame, FRAME_HEADER_BYTES + most)) return 0;
      this.#lastDataStream = 0;
    } else {
      // Without room for the header the payload is copied, however large it is.
      sent = Math.min(most, STAGE_BYTES - FRAME_HEADER_BYTES);
      const at = this.#room(FRAME_HEADER_BYTES + sent);
      const { buffer } = this.#outbox;
      const payload = encodeFrameHeader(buffer, at, sent, DATA, 0, streamId);
      bytes.buffer.copy(buffer, payload, offset, offset + sent);
      this.#outbox.commit(payload + sent);
      this.#lastDataStream = streamId;
      this.#lastDataFlags = at + 4;
    }
    this.#windowBytes -= sent;
    this.dataFrames++;
    this.#probe.onSend();
    this.#servedTag = Math.max(stream.sendTag, this.#servedTag);
    stream.sendTag = this.#servedTag + sent;
    return sent;
  }

  /** Ends the stream: in its last DATA frame where that is still here, else in an empty one. */
  endStream(streamId: number): void {
    if (this.#lastDataStream === streamId && this.#lastDataFlags >= this.#outbox.unsentFrom) {
      this.#outbox.buffer[this.#lastDataFlags] = FLAG_END_STREAM;
      this.#lastDataStream = 0;
      return;
    }
    const at = this.#room(FRAME_HEADER_BYTES);
    const end = encodeFrameHeader(this.#outbox.buffer, at, 0, DATA, FLAG_END_STREAM, streamId);
    this.#outbox.commit(end);
  }

  /** Sends a header block whose fields have passed checkOutgoing(). */
  headers(
    streamId: number,
    headers: HeaderList,
    endStream: boolean,
    neverIndexed?: readonly string[],
  ): void {
    const most = this.#encoder.maxBlockBytes(headers);
    const endFlag = endStream ? FLAG_END_STREAM : 0;
    if (FRAME_HEADER_BYTES + most > STAGE_BYTES) {
      const block = Buffer.allocUnsafe(most);
      const length = this.#encoder.encode(block, 0, headers, neverIndexed);
      this.#longBlock(streamId, block.subarray(0, length), endFlag);
      return;
    }
    const at = this.#room(FRAME_HEADER_BYTES + most);
    const { buffer } = this.#outbox;
    const payload = at + FRAME_HEADER_BYTES;
    const end = this.#encoder.encode(buffer, payload, headers, neverIndexed);
    const flags = FLAG_END_HEADERS | endFlag;
    encodeFrameHeader(buffer, at, end - payload, HEADERS, flags, streamId);
    this.#outbox.commit(end);
  }

  /** HEADERS and CONTINUATION, none larger than a stage, nor than what any peer takes (16 KiB). */
  #longBlock(streamId: number, block: Buffer, endFlag: number): void {
    const most = STAGE_BYTES - FRAME_HEADER_BYTES;
    for (let from = 0; from === 0 || from < block.length; from += most) {
      const length = Math.min(most, block.length - from);
      const type = from === 0 ? HEADERS : CONTINUATION;
      const last = from + length === block.length ? FLAG_END_HEADERS : 0;
      const flags = last | (from === 0 ? endFlag : 0);
      const at = this.#room(FRAME_HEADER_BYTES + length);
      const { buffer } = this.#outbox;
      const payload = encodeFrameHeader(buffer, at, length, type, flags, streamId);
      block.copy(buffer, payload, from, from + length);
      this.#outbox.commit(payload + length);
    }
  }

  preface(): void {
    const at = this.#room(CLIENT_PREFACE.length);
    this.#outbox.commit(at + CLIENT_PREFACE.copy(this.#outbox.buffer, at));
  }

  settings(settings: Settings): void {
    const at = this.#room(FRAME_HEADER_BYTES + settings.size * SETTING_BYTES);
    this.#outbox.commit(encodeSettings(this.#outbox.buffer, at, settings));
  }

  settingsAck(): void {
    const at = this.#room(FRAME_HEADER_BYTES);
    this.#outbox.commit(encodeSettingsAck(this.#outbox.buffer, at));
  }

  ping(flags: number, high: number, low: number): void {
    const at = this.#room(FRAME_HEADER_BYTES + PING_BYTES);
    this.#outbox.commit(encodePing(this.#outbox.buffer, at, flags, high, low));
  }

  goaway(lastStreamId: number, code: number): void {
    const at = this.#room(FRAME_HEADER_BYTES + GOAWAY_BYTES);
    this.#outbox.commit(encodeGoaway(this.#outbox.buffer, at, lastStreamId, code));
  }

  rstStream(streamId: number, code: number): void {
    const at = this.#room(FRAME_HEADER_BYTES + RST_STREAM_BYTES);
    this.#outbox.commit(encodeRstStream(this.#outbox.buffer, at, streamId, code));
  }

  windowUpdate(streamId: number, increment: number): void {
    const at = this.#room(FRAME_HEADER_BYTES + WINDOW_UPDATE_BYTES);
    this.#outbox.commit(encodeWindowUpdate(this.#outbox.buffer, at, streamId, increment));
  }

  /** The peer's SETTINGS have changed; the header table follows, the streams' windows are the caller's. */
  applyPeerSettings(): void {
    const { headerTableBytes, lowestHeaderTableBytes } = this.peer;
    this.#encoder.setAllowedTableBytes(headerTableBytes, lowestHeaderTableBytes);
  }

  /** @throws {Http2Violation} when the connection's window would overflow. */
  addCredit(increment: number): void {
    const windowBytes = addCredit(this.#windowBytes, increment);
    if (windowBytes === -Infinity)
      throw new Http2Violation(FLOW_CONTROL_ERROR, 'a connection window beyond 2^31-1');
    this.#windowBytes = windowBytes;
    this.serve();
  }

  /** The waiter is told once, when the connection can take DATA and those with a lower tag have been told. */
  wait(waiter: Waiter): void {
    const { sendTag } = waiter;
    let at = this.#waiters.push(waiter) - 1;
    for (; at > 0; at--) {
      const before = this.#waiters[at - 1];
      if (before === undefined || before.sendTag <= sendTag) break;
      this.#waiters[at] = before;
    }
    this.#waiters[at] = waiter;
  }

  /** Lets those who wait send as long as there is room, a few in each turn; who is not done waits again. */
  serve(): void {
    for (let count = 0; count < SERVED_PER_TURN && this.capacity() > 0; count++)
      this.#waiters.shift()?.onTurnToSend();
    if (this.capacity() > 0) this.serveNextTurn();
  }

  /** In a turn of their own: this may be the end of one, after which no promise of theirs would go on. */
  serveNextTurn(): void {
    if (this.#taskQueued || this.#waiters.length === 0) return;
    this.#taskQueued = true;
    runNextTurn(this);
  }

  runTask(): void {
    this.#taskQueued = false;
    this.serve();
  }

  /** Nobody is told any more. */
  stop(): void {
    this.#waiters.length = 0;
  }

  #room(length: number): number {
    this.#lastDataStream = 0;
    return this.#outbox.room(length);
  }
}

/**
 * Checks what is about to be sent: a list that came from elsewhere must not carry what the peer would refuse, or worse,
 * take for something else (CR, LF, NUL, fields of HTTP/1.1).
 *
 * @throws {MeshError} ERR_HTTP2_HEADERS naming the field, never its value.
 */
export function checkOutgoing(headers: HeaderList): void {
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index] ?? '';
    if (isValidField(name, headers[index + 1] ?? '')) continue;
    const message = `Cannot send header ${JSON.stringify(name)}: its name or value is not valid in HTTP/2`;
    throw new MeshError('ERR_HTTP2_HEADERS', 'local', message);
  }
}
