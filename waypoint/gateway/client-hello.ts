import { MeshError } from '../../base/errors.ts';
import {
  HEADROOM,
  type ByteSink,
  type ByteStream,
  type SharedBytes,
} from '../../net/byte-stream.ts';
import {
  MAX_CLIENT_HELLO_BYTES,
  readClientHello,
  type ClientHello,
} from '../../net/client-hello.ts';
import { allocateShared } from '../../net/shared-bytes.ts';
import { ReplayedStream } from '../replayed-stream.ts';

/** The headers of its records come to the longest message; a few are enough for any client. */
const PEEKED_BYTES = MAX_CLIENT_HELLO_BYTES + 256;

/**
 * Waits for the first message of a client of TLS, which is read again from the stream in the answer.
 *
 * @throws {MeshError} ERR_TLS_HANDSHAKE for what is none; the stream's own when it breaks; the signal's reason.
 */
export function peekClientHello(
  stream: ByteStream,
  signal: AbortSignal,
): Promise<Readonly<{ hello: ClientHello; stream: ByteStream }>> {
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      signal.removeEventListener('abort', onAbort);
    };
    const onAbort = (): void => {
      peeker.stop();
      reject(signal.reason as Error);
    };
    const peeker = new Peeker(
      (hello) => {
        settle();
        const { bytes, end, ended } = peeker;
        resolve({ hello, stream: new ReplayedStream(stream, bytes, { end, ended }) });
      },
      (error) => {
        settle();
        reject(error);
      },
    );
    stream.setSink(peeker);
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
}

class Peeker implements ByteSink {
  readonly bytes: SharedBytes = allocateShared(HEADROOM + PEEKED_BYTES);
  end = HEADROOM;
  ended = false;
  readonly #onHello: (hello: ClientHello) => void;
  readonly #onError: (error: Error) => void;
  #wanted = 0;
  #over = false;

  constructor(onHello: (hello: ClientHello) => void, onError: (error: Error) => void) {
    this.#onHello = onHello;
    this.#onError = onError;
  }

  stop(): void {
    this.#over = true;
  }

  capacity(): number {
    return this.#over ? 0 : this.bytes.buffer.length - this.end;
  }

  onData(bytes: SharedBytes, offset: number, length: number): number {
    const taken = Math.min(length, this.capacity());
    bytes.buffer.copy(this.bytes.buffer, this.end, offset, offset + taken);
    this.end += taken;
    // Looked at again for every byte, it would cost more than a handshake.
    if (!this.#over && this.end - HEADROOM >= this.#wanted) this.#judge();
    return taken;
  }

  onEnd(): void {
    this.ended = true;
    this.#refuse('the client went away');
  }

  onError(error: Error): void {
    if (this.#over) return;
    this.#over = true;
    this.#onError(error);
  }

  onWritable(): void {
    // Nothing is written before the client has spoken.
  }

  #judge(): void {
    const found = readClientHello(this.bytes.buffer.subarray(HEADROOM, this.end));
    if (found.kind === 'refused') this.#refuse(found.reason);
    else if (found.kind === 'hello') {
      this.#over = true;
      this.#onHello(found.hello);
    } else {
      this.#wanted = found.atLeast;
      if (this.capacity() === 0) this.#refuse('its ClientHello is too long');
    }
  }

  #refuse(reason: string): void {
    if (this.#over) return;
    this.#over = true;
    const message = `Cannot agree on TLS with the peer: ${reason}`;
    this.#onError(new MeshError('ERR_TLS_HANDSHAKE', 'downstream', message));
  }
}
