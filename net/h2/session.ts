import type { Side } from '../../base/errors.ts';
import type { ByteSink, ByteStream, SharedBytes } from '../byte-stream.ts';
import { Ending } from '../ending.ts';
import { Outbox, type OutboxOwner } from '../outbox.ts';
import { runNextTurn, type TurnTask } from '../reactor.ts';
import { AbuseCounter } from './abuse.ts';
import { AnswerProbe } from './answer-probe.ts';
import {
  connectionError,
  ENHANCE_YOUR_CALM,
  formatErrorCode,
  type Http2ConnectionError,
  Http2Violation,
  NO_ERROR,
  REFUSED_STREAM,
  SETTINGS_TIMEOUT,
  streamError,
} from './errors.ts';
import { ReceiveWindow, WindowBudget, type WindowGrowth } from './flow-control.ts';
import { FrameReader } from './frame-reader.ts';
import { findHeader, type HeaderList } from './headers.ts';
import { Keepalive, type KeepaliveOwner } from './keepalive.ts';
import {
  DRAINED_LINGER_MS,
  INITIAL_WINDOW_BYTES,
  LINGER_MS,
  MAX_31_BITS,
  RECEIVE_QUEUES_BYTES,
  SETTINGS_TIMEOUT_MS,
} from './limits.ts';
import { type Http2Parameters, makeSettings, startWindowBytes } from './options.ts';
import { Receiver, type ReceiverOwner } from './receiver.ts';
import { checkOutgoing, Sender } from './sender.ts';
import { PeerSettings } from './settings.ts';
import type { Http2ConnectionHandler } from './connection-handler.ts';
import type { Http2StreamHandler } from './stream-input.ts';
import { Http2Stream, type SendHeadersOptions, type StreamOwner } from './stream.ts';
import { StreamTable } from './stream-table.ts';

/** Payloads of our PINGs. */
const KEEPALIVE_PING = 1;
const DRAIN_PING = 2;
const PROBE_PING = 3;
const PING_MARK = 0x68616c6f;

/** The inside of Http2Connection: its parts, and what holds them together. */
export class Session
  implements ByteSink, TurnTask, StreamOwner, OutboxOwner, ReceiverOwner, KeepaliveOwner
{
  readonly isServer: boolean;
  readonly streams: StreamTable;
  readonly #handler: Http2ConnectionHandler;
  readonly #parameters: Http2Parameters;
  readonly #outbox: Outbox;
  readonly #sender: Sender;
  readonly #abuse: AbuseCounter;
  readonly #receiver: Receiver;
  readonly #reader: FrameReader;
  readonly #keepalive: Keepalive;
  readonly #probe: AnswerProbe;
  readonly #ending: Ending;
  readonly #peerSide: Side;
  readonly #windowGrowth: WindowGrowth;
  /** The peer has until then to acknowledge our SETTINGS; undefined once it has. */
  #cancelSettingsTimeout: (() => void) | undefined;
  #settingsAcknowledged = false;
  /** No new streams: drain() was called, or the peer sent GOAWAY. */
  #goingAway = false;
  /** The last stream of the peer that our GOAWAY allows. */
  #lastAllowed = MAX_31_BITS;
  #goawaySent = false;
  #over = false;

  constructor(
    transport: ByteStream,
    isServer: boolean,
    parameters: Http2Parameters,
    handler: Http2ConnectionHandler,
  ) {
    this.isServer = isServer;
    this.#peerSide = isServer ? 'downstream' : 'upstream';
    this.#handler = handler;
    this.#parameters = parameters;
    this.streams = new StreamTable(isServer);
    const reservedBytes = parameters.maxStreams * startWindowBytes(parameters);
    this.#windowGrowth = {
      maxBytes: parameters.streamWindowBytes,
      budget: new WindowBudget(Math.max(0, RECEIVE_QUEUES_BYTES - reservedBytes)),
    };
    this.#outbox = new Outbox(transport, this);
    this.#ending = new Ending(transport, this.#outbox, parameters.clock);
    this.#probe = new AnswerProbe(
      () => {
        this.#sender.ping(0, PING_MARK, PROBE_PING);
      },
      parameters.clock,
      parameters.answerPatienceMs,
    );
    const peer = new PeerSettings();
    this.#sender = new Sender(this.#outbox, peer, parameters.headerTableBytes, this.#probe);
    this.#abuse = new AbuseCounter(parameters.clock);
    if (!isServer) this.#sender.preface();
    this.#sender.settings(makeSettings(parameters, isServer));
    this.#receiver = new Receiver(this, this.streams, this.#sender, this.#abuse, parameters);
    this.#reader = new FrameReader(this.#receiver, parameters.maxFrameBytes, isServer);
    this.#keepalive = new Keepalive(
      this,
      parameters.clock,
      parameters.keepaliveIdleMs,
      parameters.keepaliveTimeoutMs,
    );
    this.#cancelSettingsTimeout = parameters.clock.after(SETTINGS_TIMEOUT_MS, () => {
      this.#fail(SETTINGS_TIMEOUT, 'no answer to SETTINGS');
    });
    transport.setSink(this);
  }

  get closed(): boolean {
    return this.#over;
  }

  /** How many more streams this side may open now. */
  get availableStreams(): number {
    if (this.isServer || this.#over || this.#goingAway || !this.streams.hasId) return 0;
    const most = Math.min(this.#parameters.maxStreams, this.#sender.peer.maxConcurrentStreams);
    return Math.max(0, most - this.streams.size);
  }

  /** See AnswerProbe. */
  isUnresponsive(): boolean {
    return this.#probe.isUnresponsive();
  }

  openStream(
    headers: HeaderList,
    handler: Http2StreamHandler,
    options: SendHeadersOptions,
  ): Http2Stream | undefined {
    checkOutgoing(headers);
    if (this.availableStreams === 0) return undefined;
    const stream = this.makeStream(this.streams.takeId(), handler);
    this.#probe.onAsk(stream.id);
    stream.method = findHeader(headers, ':method') ?? '';
    const ends = options.endStream === true;
    this.#sender.headers(stream.id, headers, ends, options.neverIndexed);
    if (ends) stream.endWithHeaders();
    return stream;
  }

  drain(): void {
    if (this.#over || this.#goawaySent) return;
    this.#goawaySent = true;
    this.#goingAway = true;
    if (this.isServer) {
      // RFC 9113 section 6.8: requests that are on their way are still served; a PING there and back, and none is.
      this.#sender.goaway(MAX_31_BITS, NO_ERROR);
      this.#sender.ping(0, PING_MARK, DRAIN_PING);
    } else {
      this.#sender.goaway(0, NO_ERROR);
      this.#endWhenIdle();
    }
  }

  close(code: number): void {
    const error =
      code === NO_ERROR ? undefined : connectionError(code, 'local', 'closed by this side');
    this.#shutDown(code, error);
  }

  // The transport's sink.

  capacity(): number {
    // All is always taken: frames are passed on, or their streams' queues have room by flow control.
    return MAX_31_BITS;
  }

  onData(bytes: SharedBytes, offset: number, length: number): number {
    if (this.#over) return length;
    this.#keepalive.onInput();
    this.#probe.onInput();
    try {
      this.#reader.read(bytes, offset, length);
    } catch (error) {
      if (!(error instanceof Http2Violation)) throw error;
      this.#fail(error.h2Code, error.message);
    }
    return length;
  }

  onEnd(): void {
    this.#ending.onPeerEnd();
    if (this.#over) return;
    const cut = this.streams.size > 0 || !this.#settingsAcknowledged;
    const found = 'the peer ended its side';
    this.#settle(cut ? connectionError(NO_ERROR, this.#peerSide, found) : undefined);
    this.#ending.end(LINGER_MS);
  }

  onError(cause: Error): void {
    this.#ending.onBroken();
    if (this.#over) return;
    this.#settle(connectionError(NO_ERROR, this.#peerSide, 'the transport broke', { cause }));
  }

  onWritable(): void {
    this.#outbox.unblock();
  }

  // The outbox's owner.

  onOutboxReady(): void {
    this.#sender.serveNextTurn();
  }

  onOutboxOverflow(): void {
    if (this.#over) return;
    const error = connectionError(
      ENHANCE_YOUR_CALM,
      this.#peerSide,
      'it reads none of our answers',
    );
    this.#breakOff(error);
  }

  // The streams' owner.

  onStreamClosed(stream: Http2Stream): void {
    this.streams.remove(stream.id, stream.input.ended);
    if (this.#over) return;
    if (stream.answered) {
      if (stream.input.ended) this.#abuse.excuseReset();
      else this.#abuse.excuseStream();
    }
    if (this.#goingAway && this.streams.size === 0) runNextTurn(this);
    if (!this.isServer) this.#handler.onAvailable?.();
  }

  onQueued(bytes: number): void {
    this.#receiver.onQueued(bytes);
  }

  runTask(): void {
    this.#endWhenIdle();
  }

  // The receiver's owner.

  makeStream(id: number, handler?: Http2StreamHandler): Http2Stream {
    const size = startWindowBytes(this.#parameters);
    // Until it knows our SETTINGS, the peer may presume the initial window. RFC 9113 section 6.9.2.
    const left = this.#settingsAcknowledged ? size : Math.max(size, INITIAL_WINDOW_BYTES);
    const window = new ReceiveWindow(size, left, this.#windowGrowth);
    const stream = new Http2Stream(id, this, this.#sender, window, handler);
    this.streams.add(stream);
    return stream;
  }

  isBeyondGoaway(streamId: number): boolean {
    return streamId > this.#lastAllowed;
  }

  onRequest(stream: Http2Stream, headers: HeaderList, endStream: boolean): void {
    if (this.#handler.onRequest === undefined) stream.reset(REFUSED_STREAM);
    else this.#handler.onRequest(stream, headers, endStream);
  }

  resetStream(stream: Http2Stream, code: number, found: string): void {
    this.#sender.rstStream(stream.id, code);
    stream.fail(streamError(stream.id, code, true, this.#peerSide, `it sent ${found}`));
    if (this.isServer && !stream.answered) this.#abuse.count('streams reset before an answer');
  }

  refuseStream(streamId: number, code: number): void {
    this.#sender.rstStream(streamId, code);
  }

  onAnswer(streamId: number): void {
    this.#probe.onAnswer(streamId);
  }

  onStreamReset(stream: Http2Stream, code: number): void {
    this.#probe.onAnswer(stream.id);
    const processed = code !== REFUSED_STREAM;
    this.streams.remove(stream.id, true);
    const found = 'reset by the peer';
    stream.fail(
      streamError(stream.id, code, processed, this.#peerSide, found, { resetByPeer: true }),
    );
    if (this.isServer && !stream.answered) this.#abuse.count('streams reset before an answer');
  }

  onSettings(): void {
    if (!this.isServer) this.#handler.onAvailable?.();
  }

  onSettingsAck(): void {
    if (this.#settingsAcknowledged) return;
    this.#settingsAcknowledged = true;
    this.#cancelSettingsTimeout?.();
    this.#cancelSettingsTimeout = undefined;
    this.#receiver.onSettingsAck();
  }

  onPong(high: number, low: number): void {
    if (high !== PING_MARK) return;
    if (low === PROBE_PING) this.#probe.onPong();
    if (low !== DRAIN_PING || this.#lastAllowed !== MAX_31_BITS) return;
    this.#lastAllowed = this.streams.lastPeerId;
    this.#sender.goaway(this.#lastAllowed, NO_ERROR);
    this.#endWhenIdle();
  }

  onGoaway(lastStreamId: number, code: number, debug: string): void {
    this.#goingAway = true;
    if (!this.isServer) {
      const found = `the peer went away (${formatErrorCode(code)}) without it`;
      for (const stream of this.streams.all())
        if (stream.id > lastStreamId)
          stream.fail(streamError(stream.id, code, false, this.#peerSide, found));
    }
    this.#handler.onGoaway?.(code, lastStreamId, debug);
    if (this.streams.size === 0) runNextTurn(this);
  }

  // The keepalive's owner.

  sendKeepalivePing(): void {
    this.#sender.ping(0, PING_MARK, KEEPALIVE_PING);
  }

  onDead(): void {
    const ms = this.#parameters.keepaliveTimeoutMs;
    const error = connectionError(NO_ERROR, this.#peerSide, `no answer to a PING within ${ms} ms`);
    if (this.isServer) this.#shutDown(NO_ERROR, error);
    else this.#breakOff(error);
  }

  /** In order: all that was going on has ended, and nothing new will begin. */
  #endWhenIdle(): void {
    if (this.#over || !this.#goingAway || this.streams.size > 0) return;
    // A server that has just announced it waits for what is on its way.
    if (this.isServer && this.#goawaySent && this.#lastAllowed === MAX_31_BITS) return;
    this.#shutDown(NO_ERROR, undefined, DRAINED_LINGER_MS);
  }

  #fail(code: number, found: string): void {
    this.#shutDown(code, connectionError(code, this.#peerSide, found));
  }

  /** GOAWAY, then the end; the peer gets a moment to read it. */
  #shutDown(
    code: number,
    error: Http2ConnectionError | undefined,
    lingerMs: number = LINGER_MS,
  ): void {
    if (this.#over) return;
    this.#sender.goaway(this.streams.lastPeerId, code);
    this.#settle(error);
    this.#ending.end(lingerMs);
  }

  /** At once: the peer does not read, or is not there. */
  #breakOff(error: Http2ConnectionError): void {
    if (this.#over) return;
    this.#ending.reset();
    this.#settle(error);
  }

  /** The state after which nothing happens any more; streams and owner are told. */
  #settle(error: Http2ConnectionError | undefined): void {
    this.#over = true;
    this.#reader.stop();
    this.#keepalive.stop();
    this.#probe.stop();
    this.#cancelSettingsTimeout?.();
    this.#cancelSettingsTimeout = undefined;
    this.#sender.stop();
    const code = error?.h2Code ?? NO_ERROR;
    const side = error?.side ?? 'local';
    for (const stream of this.streams.all())
      stream.fail(
        streamError(stream.id, code, true, side, 'its connection ended', { cause: error }),
      );
    this.#handler.onClose?.(error);
  }
}
