import { MeshError } from '../../base/errors.ts';
import { HEADROOM, type ByteSink, type SharedBytes } from '../../net/byte-stream.ts';
import { allocateShared } from '../../net/shared-bytes.ts';
import type { TcpStream } from '../../net/tcp-stream.ts';
import { Socks5Handshake, type Socks5Step, type Socks5Target } from './socks5.ts';

/** From accept to the whole request; as long as a TLS handshake may take. */
const SOCKS5_HANDSHAKE_TIMEOUT_MS = 10_000;
/** RFC 1928 section 6: a connection ends 10 s after a refusal at the latest. */
const FAREWELL_TIMEOUT_MS = 10_000;
const MAX_REPLY_BYTES = 16;
/** What a refused client still sends is read and dropped, or its end would be a reset that eats the reply. */
const FAREWELL_CAPACITY = 64 << 10;

/** One for the thread: write() keeps no reference to it. */
const outgoing = allocateShared(HEADROOM + MAX_REPLY_BYTES);

/**
 * Answers a client's greeting and waits for its request. Nothing behind the request is read: that is payload.
 *
 * @throws {MeshError} ERR_SOCKS5 for what is no such request, ERR_CLIENT_GONE; the stream has been ended then.
 */
export function readSocks5Request(
  stream: TcpStream,
  gone: AbortSignal,
  timeoutMs = SOCKS5_HANDSHAKE_TIMEOUT_MS,
): Promise<Socks5Target> {
  return new Promise((resolve, reject) => {
    const finish = (): void => {
      clearTimeout(deadline);
      gone.removeEventListener('abort', onGone);
    };
    const giveUp = (error: MeshError): void => {
      finish();
      stream.reset();
      reject(error);
    };
    const onGone = (): void => {
      giveUp(socks5Error('the pod has gone'));
    };
    const deadline = setTimeout(() => {
      giveUp(socks5Error(`nothing whole within ${timeoutMs} ms`));
    }, timeoutMs);
    gone.addEventListener('abort', onGone, { once: true });
    const onStep = (step: Socks5Step): void => {
      switch (step.kind) {
        case 'reply':
          if (!sendReply(stream, step.reply)) giveUp(clientGone());
          return;
        case 'connect':
          finish();
          resolve(step.target);
          return;
        case 'refuse':
          finish();
          endWithReply(stream, step.reply);
          reject(socks5Error(step.reason));
      }
    };
    stream.setSink(new RequestSink(onStep, giveUp));
    if (gone.aborted) onGone();
  });
}

/** Sends a few bytes, which a socket without a backlog takes at once. @returns false when it does not. */
export function sendReply(stream: TcpStream, reply: Buffer): boolean {
  reply.copy(outgoing.buffer, HEADROOM);
  return stream.write(outgoing, HEADROOM, reply.length) === reply.length;
}

/** Sends a refusal and ends the connection; without a reply, at once. */
export function endWithReply(stream: TcpStream, reply: Buffer): void {
  if (reply.length === 0 || !sendReply(stream, reply)) {
    stream.reset();
    return;
  }
  const farewell = new FarewellSink(stream);
  stream.setSink(farewell);
  stream.end();
  if (stream.closed) farewell.onEnd(); // the client's end had come before
}

class RequestSink implements ByteSink {
  readonly #handshake = new Socks5Handshake();
  readonly #onStep: (step: Socks5Step) => void;
  readonly #onBroken: (error: MeshError) => void;

  constructor(onStep: (step: Socks5Step) => void, onBroken: (error: MeshError) => void) {
    this.#onStep = onStep;
    this.#onBroken = onBroken;
  }

  capacity(): number {
    return this.#handshake.needed;
  }

  onData(bytes: SharedBytes, offset: number, length: number): number {
    const step = this.#handshake.take(bytes.buffer.subarray(offset, offset + length));
    if (step !== undefined) this.#onStep(step);
    return length;
  }

  onEnd(): void {
    this.#onBroken(socks5Error('an end in the middle'));
  }

  onError(cause: Error): void {
    this.#onBroken(clientGone(cause));
  }

  onWritable(): void {
    // Nothing waits to be written.
  }
}

class FarewellSink implements ByteSink {
  readonly #timer: NodeJS.Timeout;

  constructor(stream: TcpStream) {
    this.#timer = setTimeout(() => {
      stream.reset();
    }, FAREWELL_TIMEOUT_MS).unref();
  }

  capacity(): number {
    return FAREWELL_CAPACITY;
  }

  onData(_bytes: SharedBytes, _offset: number, length: number): number {
    return length;
  }

  onEnd(): void {
    clearTimeout(this.#timer);
  }

  onError(): void {
    clearTimeout(this.#timer);
  }

  onWritable(): void {
    // Nothing waits to be written.
  }
}

function socks5Error(found: string): MeshError {
  return new MeshError('ERR_SOCKS5', 'downstream', `Cannot read a SOCKS5 request: found ${found}`);
}

/** For a client that did not wait for its answer. */
export function clientGone(cause?: unknown): MeshError {
  const message = 'Cannot serve a SOCKS5 client: it has gone';
  return new MeshError('ERR_CLIENT_GONE', 'downstream', message, { cause });
}
