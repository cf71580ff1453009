import type { ByteSink, ByteStream, SharedBytes } from '../net/byte-stream.ts';
import { CLIENT_PREFACE } from '../net/h2/frame.ts';

/** A client that sends nothing for so long waits for its server to begin, which no HTTP client does. */
const SNIFF_MS = 1000;
/** Between two looks at the beginning of what may become a request line. */
const LOOK_AGAIN_MS = 20;
/** The longest method that is looked for, and what stands behind it. */
const MAX_METHOD = 24;
/** A request line begins so: a method, then a path, `*` or a whole URI. RFC 9112 section 3. */
const REQUEST_LINE = /^[A-Z]{3,24} (?:\/|\*|[a-z]+:)/;
const BEGINNING = /^[A-Z]{1,24}(?: [a-z]*)?$/;

/** What the first bytes of a connection say that it is. */
export type Sniffed = 'http' | 'tcp';

/**
 * Looks at a connection's first bytes and takes none of them: whoever becomes the next sink gets them all.
 * A connection that breaks meanwhile is taken for TCP; its next sink hears of it as well as this one would.
 */
export function sniffProtocol(stream: ByteStream): Promise<Sniffed> {
  return new Promise((resolve) => {
    stream.setSink(new Sniffer(stream, resolve));
  });
}

class Sniffer implements ByteSink {
  readonly #stream: ByteStream;
  readonly #resolve: (sniffed: Sniffed) => void;
  readonly #deadline: NodeJS.Timeout;
  #again: NodeJS.Timeout | undefined;
  #over = false;

  constructor(stream: ByteStream, resolve: (sniffed: Sniffed) => void) {
    this.#stream = stream;
    this.#resolve = resolve;
    this.#deadline = setTimeout(() => {
      this.#decide('tcp');
    }, SNIFF_MS);
  }

  capacity(): number {
    return this.#over ? 0 : CLIENT_PREFACE.length;
  }

  onData(bytes: SharedBytes, offset: number, length: number): number {
    const start = bytes.buffer.toString(
      'latin1',
      offset,
      offset + Math.min(length, MAX_METHOD + 2),
    );
    const sniffed = judge(start);
    if (sniffed !== undefined) this.#decide(sniffed);
    else
      this.#again ??= setTimeout(() => {
        this.#again = undefined;
        this.#stream.resume();
      }, LOOK_AGAIN_MS);
    return 0;
  }

  onEnd(): void {
    this.#decide('tcp');
  }

  onError(): void {
    this.#decide('tcp');
  }

  onWritable(): void {
    // Nothing is written here.
  }

  #decide(sniffed: Sniffed): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#deadline);
    clearTimeout(this.#again);
    this.#resolve(sniffed);
  }
}

/** `undefined` while more is needed to tell. */
function judge(start: string): Sniffed | undefined {
  if (REQUEST_LINE.test(start)) return 'http';
  return BEGINNING.test(start) ? undefined : 'tcp';
}
