import type { ByteSink } from './byte-stream.ts';

/**
 * Tells whoever hears of a stream that it broke, each once: its handler, then its sink. One that comes later is told too: a
 * tunnel that breaks right behind its answer has its sink only a turn later.
 */
export class BreakNotice<E extends Error> {
  readonly #error: E;
  #handlerTold: object | undefined;
  #sinkTold: ByteSink | undefined;

  constructor(error: E) {
    this.#error = error;
  }

  /** @param isSilent whether the handler wants nothing more to be told. */
  tell(
    handler: Readonly<{ onError?(error: E): void }> | undefined,
    sink: ByteSink | undefined,
    isSilent: () => boolean,
  ): void {
    if (handler !== this.#handlerTold) {
      this.#handlerTold = handler;
      handler?.onError?.(this.#error);
    }
    if (sink === this.#sinkTold || isSilent()) return;
    this.#sinkTold = sink;
    sink?.onError(this.#error);
  }
}
