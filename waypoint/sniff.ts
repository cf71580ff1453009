import { HEADROOM, type ByteSink, type ByteStream, type SharedBytes } from '../net/byte-stream.ts';
import { allocateShared } from '../net/shared-bytes.ts';
import { ReplayedStream } from './replayed-stream.ts';

/** What a client speaks on a port that nobody has declared. */
export type SniffedProtocol = 'HTTP11' | 'HTTP2' | 'TCP';

/** Where the server speaks first, the client waits: so long, then it is TCP. */
const SNIFF_TIMEOUT_MS = 1_000;
/** A request line may be as long as this and not be told from TCP by its end. */
const MAX_SNIFFED_BYTES = 8_192;
/** RFC 9113 section 3.4. */
const HTTP2_PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const LINE_FEED = 0x0a;
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH'];
/** Beyond the longest method and these, nothing but the end of a line can tell more. */
const DECIDED_BY_LINE_AFTER = 64;
/** Some servers take empty lines before a request; whoever sends so many means one, and will hear what is wrong. */
const MANY_EMPTY_LINES = /^(?:\r?\n){9}/;
/** RFC 9112 section 3: a method (token), a target, and a version at the end of the line. */
const REQUEST_LINE = /^(?:\r?\n)*[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32} [^\r\n]* HTTP\/[^\r\n]*\r?\n/i;
/** What may still become one. */
const REQUEST_LINE_BEGIN = /^(?:\r?\n)*\r?(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}(?: [^\r\n]*\r?)?)?$/;

/** The first bytes of a client judged: `undefined` while more of them may change it. */
export function sniffBytes(text: string): SniffedProtocol | undefined {
  if (text.startsWith(HTTP2_PREFACE)) return 'HTTP2';
  if (HTTP2_PREFACE.startsWith(text)) return undefined;
  if (MANY_EMPTY_LINES.test(text) || REQUEST_LINE.test(text)) return 'HTTP11';
  return REQUEST_LINE_BEGIN.test(text) ? undefined : 'TCP';
}

/**
 * The same when there is no more time, or no more room. What looks like the beginning of a request is taken for one: a client
 * must not get around what holds for requests by sending one slowly.
 */
export function judgeSniffed(text: string): SniffedProtocol {
  const begun = text.replace(/^[\r\n]+/, '');
  if (begun === '') return 'TCP';
  if (HTTP2_PREFACE.startsWith(begun) && begun.length > 3) return 'HTTP2';
  const [method = '', target] = begun.split(' ', 2);
  const isRequest =
    target === undefined
      ? [...METHODS, 'PRI'].some((known) => known.startsWith(method))
      : METHODS.includes(method) || /^(?:\/|https?:|\*$)/i.test(target);
  return isRequest ? 'HTTP11' : 'TCP';
}

/**
 * Finds out what a client speaks by its first bytes, which are read again from the stream in the answer.
 *
 * @throws {Error} of the stream, when it breaks before.
 */
export function sniff(
  stream: ByteStream,
  timeoutMs: number = SNIFF_TIMEOUT_MS,
): Promise<Readonly<{ protocol: SniffedProtocol; stream: ByteStream }>> {
  const { promise, resolve, reject } = Promise.withResolvers<{
    protocol: SniffedProtocol;
    stream: ByteStream;
  }>();
  const sniffer = new Sniffer(
    (protocol) => {
      clearTimeout(timer);
      const { bytes, end, ended } = sniffer;
      resolve({ protocol, stream: new ReplayedStream(stream, bytes, { end, ended }) });
    },
    (error) => {
      clearTimeout(timer);
      reject(error);
    },
  );
  const timer = setTimeout(() => {
    sniffer.giveUp();
  }, timeoutMs);
  stream.setSink(sniffer);
  return promise;
}

class Sniffer implements ByteSink {
  readonly bytes: SharedBytes = allocateShared(HEADROOM + MAX_SNIFFED_BYTES);
  end = HEADROOM;
  ended = false;
  readonly #onKnown: (protocol: SniffedProtocol) => void;
  readonly #onBroken: (error: Error) => void;
  #over = false;

  constructor(onKnown: (protocol: SniffedProtocol) => void, onBroken: (error: Error) => void) {
    this.#onKnown = onKnown;
    this.#onBroken = onBroken;
  }

  /** Judges by what is there. */
  giveUp(): void {
    this.#finish(judgeSniffed(this.#text()));
  }

  capacity(): number {
    return this.#over ? 0 : this.bytes.buffer.length - this.end;
  }

  onData(bytes: SharedBytes, offset: number, length: number): number {
    const taken = Math.min(length, this.capacity());
    bytes.buffer.copy(this.bytes.buffer, this.end, offset, offset + taken);
    const isLine = bytes.buffer.subarray(offset, offset + taken).includes(LINE_FEED);
    this.end += taken;
    if (this.#over) return taken;
    // Judged again for every byte of a long line, it would cost more than the request.
    const mayTell =
      isLine || this.end - HEADROOM <= DECIDED_BY_LINE_AFTER || taken === this.end - HEADROOM;
    const known = mayTell ? sniffBytes(this.#text()) : undefined;
    if (known !== undefined) this.#finish(known);
    else if (this.capacity() === 0) this.giveUp();
    return taken;
  }

  onEnd(): void {
    this.ended = true;
    this.giveUp();
  }

  onError(error: Error): void {
    this.#over = true;
    this.#onBroken(error);
  }

  onWritable(): void {
    // Nothing is written before it is known what is spoken.
  }

  #text(): string {
    return this.bytes.buffer.toString('latin1', HEADROOM, this.end);
  }

  #finish(protocol: SniffedProtocol): void {
    if (this.#over) return;
    this.#over = true;
    this.#onKnown(protocol);
  }
}
