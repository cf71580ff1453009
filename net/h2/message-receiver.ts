import type { AbuseCounter } from './abuse.ts';
import {
  ENHANCE_YOUR_CALM,
  Http2Violation,
  PROTOCOL_ERROR,
  REFUSED_STREAM,
  STREAM_CLOSED,
} from './errors.ts';
import type { HeaderBlockReader } from './header-block.ts';
import {
  type HeaderList,
  type MessageHead,
  readRequestHead,
  readResponseHead,
  readTrailers,
} from './headers.ts';
import { INFORMATIONALS_PER_STREAM, OVERSIZED_LISTS_PER_CONNECTION } from './limits.ts';
import type { Http2Parameters } from './options.ts';
import type { Http2Stream } from './stream.ts';
import type { StreamTable } from './stream-table.ts';

/** What header lists do to the connection. */
export interface MessageOwner {
  readonly isServer: boolean;
  /** Server: whether a new stream of that id is one that our GOAWAY told the client not to send. */
  isBeyondGoaway(streamId: number): boolean;
  /** Server: makes the stream of a request that is in order. */
  makeStream(streamId: number): Http2Stream;
  /** Server: hands the request on. */
  onRequest(stream: Http2Stream, headers: HeaderList, endStream: boolean): void;
  /** Ends a stream that the peer broke: RST_STREAM to the peer, an error to the user. */
  resetStream(stream: Http2Stream, code: number, found: string): void;
  /** RST_STREAM for an id that has no stream here. */
  refuseStream(streamId: number, code: number): void;
  /** Client: a request is answered, or said to be. */
  onAnswer(streamId: number): void;
  /** The peer reset the stream. */
  onStreamReset(stream: Http2Stream, code: number): void;
}

/** Requests, responses and trailers: what a header list is, given its stream. RFC 9113 section 8.1. */
export class MessageReceiver {
  readonly #owner: MessageOwner;
  readonly #streams: StreamTable;
  readonly #abuse: AbuseCounter;
  readonly #block: HeaderBlockReader;
  readonly #maxStreams: number;
  readonly #extendedConnect: boolean;
  readonly #head: MessageHead = { contentLength: -1, method: '', status: 0, fault: '' };
  #oversized = 0;

  constructor(
    owner: MessageOwner,
    streams: StreamTable,
    abuse: AbuseCounter,
    block: HeaderBlockReader,
    parameters: Http2Parameters,
  ) {
    this.#owner = owner;
    this.#streams = streams;
    this.#abuse = abuse;
    this.#block = block;
    this.#maxStreams = parameters.maxStreams;
    this.#extendedConnect = parameters.extendedConnect;
  }

  /** A header block is whole. */
  onBlock(): void {
    const { blockStreamId: streamId, headers, endStream } = this.#block;
    const { oversized, malformed } = this.#block.decoder;
    if (oversized && ++this.#oversized > OVERSIZED_LISTS_PER_CONNECTION)
      throw new Http2Violation(ENHANCE_YOUR_CALM, 'header lists beyond the limit');
    const stream = this.#streams.get(streamId);
    if (stream === undefined) {
      this.#onNoStream(streamId, headers, endStream);
      return;
    }
    if (stream.input.ended)
      this.#owner.resetStream(stream, STREAM_CLOSED, 'HEADERS after END_STREAM');
    else if (oversized)
      this.#owner.resetStream(stream, ENHANCE_YOUR_CALM, 'a header list beyond the limit');
    else if (malformed) this.#owner.resetStream(stream, PROTOCOL_ERROR, 'an invalid header field');
    else if (this.#owner.isServer || stream.answered) this.#onTrailers(stream, headers, endStream);
    else this.#onResponse(stream, headers, endStream);
  }

  /** The peer has ended its direction; `content-length` must be what came. */
  end(stream: Http2Stream, trailers: HeaderList | undefined): void {
    if (stream.expectedBytes > 0)
      this.#owner.resetStream(stream, PROTOCOL_ERROR, 'less DATA than content-length');
    else stream.receiveEnd(trailers);
  }

  #onNoStream(streamId: number, headers: string[], endStream: boolean): void {
    const absence = this.#streams.absence(streamId);
    if (this.#owner.isServer && absence === 'idle') this.#onRequest(streamId, headers, endStream);
    else if (absence === 'ended')
      throw new Http2Violation(STREAM_CLOSED, 'HEADERS on a stream that the peer had ended');
    else if (absence !== 'gone')
      throw new Http2Violation(PROTOCOL_ERROR, 'HEADERS on a stream that is not to be opened');
    else this.#abuse.count('frames of no use');
  }

  #onRequest(streamId: number, headers: string[], endStream: boolean): void {
    this.#streams.usePeerId(streamId);
    if (this.#owner.isBeyondGoaway(streamId)) return; // RFC 9113 section 6.8: ignored
    const head = this.#head;
    const { oversized, malformed, neverIndexed } = this.#block.decoder;
    if (this.#streams.size >= this.#maxStreams) {
      this.#refuse(streamId, REFUSED_STREAM);
      return;
    }
    if (oversized) {
      this.#refuse(streamId, ENHANCE_YOUR_CALM);
      return;
    }
    readRequestHead(headers, this.#extendedConnect, head);
    if (malformed || head.fault !== '' || (endStream && head.contentLength > 0)) {
      this.#refuse(streamId, PROTOCOL_ERROR);
      return;
    }
    const stream = this.#owner.makeStream(streamId);
    stream.method = head.method;
    stream.tunnel = head.method === 'CONNECT';
    // A tunnel has no length. RFC 9110 section 9.3.6.
    stream.expectedBytes = stream.tunnel ? -1 : head.contentLength;
    stream.neverIndexed = neverIndexed;
    this.#owner.onRequest(stream, headers, endStream);
    if (endStream && !stream.closed) this.end(stream, undefined);
  }

  #refuse(streamId: number, code: number): void {
    this.#owner.refuseStream(streamId, code);
    this.#abuse.count('streams reset before an answer');
  }

  #onResponse(stream: Http2Stream, headers: HeaderList, endStream: boolean): void {
    this.#owner.onAnswer(stream.id);
    const head = this.#head;
    readResponseHead(headers, head);
    const { status } = head;
    if (head.fault !== '' || (status < 200 && endStream)) {
      this.#owner.resetStream(stream, PROTOCOL_ERROR, head.fault || 'a 1xx response with an end');
      return;
    }
    stream.neverIndexed = this.#block.decoder.neverIndexed;
    if (status < 200) {
      if (++stream.informationals > INFORMATIONALS_PER_STREAM)
        this.#owner.resetStream(stream, ENHANCE_YOUR_CALM, 'too many 1xx responses');
      else stream.input.handler?.onInformational?.(headers);
      return;
    }
    stream.tunnel = stream.method === 'CONNECT' && status < 300;
    stream.expectedBytes = expectedBody(stream, status, head.contentLength);
    if (endStream && stream.expectedBytes > 0) {
      this.#owner.resetStream(stream, PROTOCOL_ERROR, 'no DATA, but a content-length');
      return;
    }
    stream.receiveResponse(headers, endStream);
    if (endStream && !stream.closed) this.end(stream, undefined);
  }

  #onTrailers(stream: Http2Stream, headers: HeaderList, endStream: boolean): void {
    if (stream.tunnel) {
      this.#owner.resetStream(stream, PROTOCOL_ERROR, 'HEADERS on a tunnel');
      return;
    }
    const head = this.#head;
    readTrailers(headers, head);
    if (!endStream || head.fault !== '')
      this.#owner.resetStream(stream, PROTOCOL_ERROR, head.fault || 'HEADERS amid a message');
    else this.end(stream, headers);
  }
}

/** How many body bytes a response must have; -1 when that is open. RFC 9110 sections 6.4.1 and 9.3.6. */
function expectedBody(
  { method, tunnel }: Http2Stream,
  status: number,
  contentLength: number,
): number {
  if (tunnel) return -1;
  if (method === 'HEAD' || status === 204 || status === 304) return 0;
  return contentLength;
}
