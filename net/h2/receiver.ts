import type { SharedBytes } from '../byte-stream.ts';
import type { AbuseCounter } from './abuse.ts';
import {
  ENHANCE_YOUR_CALM,
  FLOW_CONTROL_ERROR,
  Http2Violation,
  PROTOCOL_ERROR,
  STREAM_CLOSED,
} from './errors.ts';
import { ReceiveWindow } from './flow-control.ts';
import {
  CONTINUATION,
  FLAG_ACK,
  FLAG_END_STREAM,
  type FrameHeader,
  GOAWAY,
  GOAWAY_BYTES,
  HEADERS,
  PING,
  PRIORITY,
  RST_STREAM,
  SETTINGS,
  WINDOW_UPDATE,
} from './frame.ts';
import type { FrameReceiver } from './frame-reader.ts';
import { HeaderBlockReader } from './header-block.ts';
import {
  INITIAL_WINDOW_BYTES,
  RECEIVE_QUEUES_BYTES,
  WINDOW_UPDATES_WITHOUT_DATA,
} from './limits.ts';
import { type MessageOwner, MessageReceiver } from './message-receiver.ts';
import type { Http2Parameters } from './options.ts';
import type { Sender } from './sender.ts';
import type { Http2Stream } from './stream.ts';
import type { StreamTable } from './stream-table.ts';

/** What frames do to the connection as a whole. */
export interface ReceiverOwner extends MessageOwner {
  onSettings(): void;
  onSettingsAck(): void;
  onPong(high: number, low: number): void;
  onGoaway(lastStreamId: number, code: number, debug: string): void;
}

/** What each frame of the peer means, stream by stream. RFC 9113 section 6. */
export class Receiver implements FrameReceiver {
  readonly #owner: ReceiverOwner;
  readonly #streams: StreamTable;
  readonly #sender: Sender;
  readonly #abuse: AbuseCounter;
  readonly #blocks: HeaderBlockReader;
  readonly #messages: MessageReceiver;
  readonly #window: ReceiveWindow;
  /** Connection credit that is held back, because the queues are full. */
  #heldBack = 0;
  #queuedBytes = 0;
  /** The stream of the DATA frame at hand; undefined when its payload goes nowhere. */
  #dataStream: Http2Stream | undefined;
  #dataSeen = false;
  #windowUpdates = 0;
  #dataFramesAtUpdate = 0;

  constructor(
    owner: ReceiverOwner,
    streams: StreamTable,
    sender: Sender,
    abuse: AbuseCounter,
    parameters: Http2Parameters,
  ) {
    this.#owner = owner;
    this.#streams = streams;
    this.#sender = sender;
    this.#abuse = abuse;
    this.#blocks = new HeaderBlockReader(parameters);
    this.#messages = new MessageReceiver(owner, streams, abuse, this.#blocks, parameters);
    const { connectionWindowBytes } = parameters;
    this.#window = new ReceiveWindow(connectionWindowBytes, connectionWindowBytes);
    if (connectionWindowBytes > INITIAL_WINDOW_BYTES)
      sender.windowUpdate(0, connectionWindowBytes - INITIAL_WINDOW_BYTES);
  }

  get openBlockStream(): number {
    return this.#blocks.streamId;
  }

  /** The peer knows our SETTINGS now. */
  onSettingsAck(): void {
    this.#blocks.onSettingsAck();
  }

  /** Bytes that streams' queues took (negative: gave). */
  onQueued(bytes: number): void {
    this.#queuedBytes += bytes;
    if (this.#heldBack > 0 && bytes < 0) this.#giveBack(0);
  }

  onDataBegin(frame: FrameHeader): void {
    const { length, streamId } = frame;
    this.#dataStream = undefined;
    this.#dataSeen = false;
    if (streamId === 0) throw forbidden('DATA on stream 0');
    if (!this.#window.receive(length))
      throw new Http2Violation(FLOW_CONTROL_ERROR, 'DATA beyond the connection window');
    this.#giveBack(length);
    const stream = this.#streams.get(streamId);
    if (stream === undefined) this.#onStray(streamId, 'DATA');
    else if (stream.input.ended)
      this.#owner.resetStream(stream, STREAM_CLOSED, 'DATA after END_STREAM');
    else if (!this.#owner.isServer && !stream.answered)
      this.#owner.resetStream(stream, PROTOCOL_ERROR, 'DATA before a response');
    else if (!stream.input.countData(length))
      this.#owner.resetStream(stream, FLOW_CONTROL_ERROR, 'DATA beyond the stream window');
    else this.#dataStream = stream;
  }

  onDataPadding(length: number): void {
    this.#dataStream?.input.release(length);
  }

  onDataPayload(bytes: SharedBytes, offset: number, length: number): void {
    const stream = this.#dataStream;
    this.#dataSeen = true;
    if (stream === undefined || stream.closed) return;
    if (stream.expectedBytes >= 0) {
      if (length > stream.expectedBytes) {
        this.#owner.resetStream(stream, PROTOCOL_ERROR, 'more DATA than content-length');
        return;
      }
      stream.expectedBytes -= length;
    }
    stream.input.receive(bytes, offset, length);
  }

  onDataEnd(frame: FrameHeader): void {
    const stream = this.#dataStream;
    this.#dataStream = undefined;
    if ((frame.flags & FLAG_END_STREAM) === 0) {
      if (!this.#dataSeen) this.#abuse.count('empty frames');
    } else if (stream !== undefined && !stream.closed) this.#messages.end(stream, undefined);
  }

  onUnknownFrame(): void {
    this.#abuse.count('frames of no use');
  }

  onFrame(frame: FrameHeader, buffer: Buffer, at: number, length: number): void {
    switch (frame.type) {
      case HEADERS:
        this.#windowUpdates = 0;
        this.#onHeaders(frame, buffer, at);
        return;
      case CONTINUATION:
        if (this.#blocks.append(frame, buffer, at)) this.#messages.onBlock();
        return;
      case PRIORITY:
        // Ignored as RFC 9113 section 5.3.2 allows; what is wrong about it is not.
        this.#abuse.count('priority frames');
        if (frame.streamId === 0) throw forbidden('PRIORITY on stream 0');
        if (dependency(buffer, at) === frame.streamId) throw forbidden('a priority on itself');
        return;
      case RST_STREAM:
        this.#onRstStream(frame.streamId, buffer.readUInt32BE(at));
        return;
      case SETTINGS:
        if (frame.streamId !== 0) throw forbidden('SETTINGS on a stream');
        this.#onSettings(frame.flags, buffer, at, length);
        return;
      case PING:
        if (frame.streamId !== 0) throw forbidden('PING on a stream');
        this.#onPing(frame.flags, buffer.readUInt32BE(at), buffer.readUInt32BE(at + 4));
        return;
      case GOAWAY:
        if (frame.streamId !== 0) throw forbidden('GOAWAY on a stream');
        this.#owner.onGoaway(
          buffer.readUInt32BE(at) & 0x7fff_ffff,
          buffer.readUInt32BE(at + 4),
          buffer.toString('latin1', at + GOAWAY_BYTES, at + length),
        );
        return;
      case WINDOW_UPDATE:
        this.#onWindowUpdate(frame.streamId, buffer.readUInt32BE(at) & 0x7fff_ffff);
        return;
      default:
    }
  }

  #onHeaders(frame: FrameHeader, buffer: Buffer, at: number): void {
    if (frame.streamId === 0) throw forbidden('HEADERS on stream 0');
    if (frame.streamId % 2 === 0) throw forbidden('HEADERS on an even stream');
    if (this.#blocks.begin(frame, buffer, at)) this.#messages.onBlock();
  }

  #onRstStream(streamId: number, code: number): void {
    if (streamId === 0) throw forbidden('RST_STREAM on stream 0');
    const stream = this.#streams.get(streamId);
    if (stream !== undefined) {
      this.#owner.onStreamReset(stream, code);
      return;
    }
    if (this.#streams.absence(streamId) === 'idle') throw forbidden('RST_STREAM on an idle stream');
    this.#abuse.count('frames of no use');
  }

  #onSettings(flags: number, buffer: Buffer, at: number, length: number): void {
    if ((flags & FLAG_ACK) !== 0) {
      this.#owner.onSettingsAck();
      return;
    }
    this.#abuse.count('settings frames');
    const { peer } = this.#sender;
    const before = peer.initialWindowBytes;
    peer.apply(buffer, at, length, !this.#owner.isServer);
    this.#sender.applyPeerSettings();
    const change = peer.initialWindowBytes - before;
    if (change !== 0) {
      for (const stream of this.#streams.all())
        if (!stream.addCredit(change))
          throw new Http2Violation(FLOW_CONTROL_ERROR, 'SETTINGS overflow a stream window');
    }
    this.#sender.settingsAck();
    this.#sender.serve();
    this.#owner.onSettings();
  }

  #onPing(flags: number, high: number, low: number): void {
    if ((flags & FLAG_ACK) !== 0) {
      this.#owner.onPong(high, low);
      return;
    }
    this.#abuse.count('pings');
    this.#sender.ping(FLAG_ACK, high, low);
  }

  #onWindowUpdate(streamId: number, increment: number): void {
    this.#countWindowUpdate();
    if (streamId === 0) {
      if (increment === 0) throw forbidden('a WINDOW_UPDATE of 0');
      this.#sender.addCredit(increment);
      return;
    }
    const stream = this.#streams.get(streamId);
    if (stream === undefined) {
      if (this.#streams.absence(streamId) === 'idle')
        throw forbidden('WINDOW_UPDATE on an idle stream');
    } else if (increment === 0)
      this.#owner.resetStream(stream, PROTOCOL_ERROR, 'a WINDOW_UPDATE of 0');
    else if (!stream.addCredit(increment))
      this.#owner.resetStream(stream, FLOW_CONTROL_ERROR, 'a stream window beyond 2^31-1');
    else this.#sender.serve();
  }

  #countWindowUpdate(): void {
    const { dataFrames } = this.#sender;
    if (dataFrames !== this.#dataFramesAtUpdate) {
      this.#dataFramesAtUpdate = dataFrames;
      this.#windowUpdates = 0;
    }
    if (++this.#windowUpdates > WINDOW_UPDATES_WITHOUT_DATA)
      throw new Http2Violation(ENHANCE_YOUR_CALM, 'window updates without end');
  }

  /** DATA for a stream that is not open. */
  #onStray(streamId: number, what: string): void {
    const absence = this.#streams.absence(streamId);
    if (absence === 'idle') throw forbidden(`${what} on an idle stream`);
    if (absence !== 'gone')
      throw new Http2Violation(STREAM_CLOSED, `${what} on a stream that the peer had ended`);
    this.#abuse.count('frames of no use');
  }

  #giveBack(bytes: number): void {
    this.#heldBack += bytes;
    // Beyond this the streams that are stalled stop the others too: better than memory without end.
    if (this.#queuedBytes > RECEIVE_QUEUES_BYTES) return;
    const increment = this.#window.release(this.#heldBack);
    this.#heldBack = 0;
    if (increment > 0) this.#sender.windowUpdate(0, increment);
  }
}

function dependency(buffer: Buffer, at: number): number {
  return buffer.readUInt32BE(at) & 0x7fff_ffff;
}

function forbidden(found: string): Http2Violation {
  return new Http2Violation(PROTOCOL_ERROR, found);
}
