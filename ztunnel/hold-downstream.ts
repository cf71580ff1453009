import { MeshError } from '../base/errors.ts';
import type { ByteSink, ByteStream } from '../net/byte-stream.ts';

/**
 * Until the relay takes over: reads nothing, so that the client's bytes stay in its own kernel, and tells when the
 * client has gone, for then nothing needs to be dialled any more.
 */
export function holdDownstream(stream: ByteStream, onGone: (error: MeshError) => void): void {
  stream.setSink(new Hold(onGone));
}

class Hold implements ByteSink {
  readonly #onGone: (error: MeshError) => void;

  constructor(onGone: (error: MeshError) => void) {
    this.#onGone = onGone;
  }

  capacity(): number {
    return 0;
  }

  onData(): number {
    return 0;
  }

  onEnd(): void {
    // A client may send nothing and still wait for an answer; the relay will hear of the end.
  }

  onError(cause: Error): void {
    const message = 'Cannot connect for a client that has gone';
    this.#onGone(new MeshError('ERR_CLIENT_GONE', 'downstream', message, { cause }));
  }

  onWritable(): void {
    // Nothing is written before the relay.
  }
}
