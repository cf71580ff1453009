import { MeshError } from '../../base/errors.ts';
import type { ByteSink, SharedBytes } from '../byte-stream.ts';
import type { HeaderList } from '../h2/headers.ts';
import type { ExchangeHandler, HttpExchange } from '../http/exchange.ts';
import { runNextTurn, type TurnTask } from '../reactor.ts';
import { ExchangeInput, type ExchangeInputOwner } from './exchange-input.ts';
import type { MessageWriter } from './message-writer.ts';

/** The connection that an exchange is on. */
export interface ExchangeOwner extends ExchangeInputOwner {
  readonly writer: MessageWriter;
  /** Our message is whole. */
  onOutputEnd(): void;
  /** The exchange was given up by its user. */
  onExchangeReset(): void;
  /** Our message cannot become what its head said; the exchange hears of it in the next turn. */
  onOutputBroken(found: string): void;
}

/** What the exchanges of both sides have in common. What is marked as the connection's is not for users. */
export class Http1Exchange implements HttpExchange, TurnTask {
  bytesWritten = 0;
  answered = false;
  closed = false;
  /** The connection's. */
  readonly input: ExchangeInput;
  /** The connection's: the head of our message is out. */
  begun = false;
  /** The connection's: our message is whole. */
  outputEnded = false;
  /** The connection's: the body has to wait, for 100 or 101. */
  held = false;
  readonly #owner: ExchangeOwner;
  #wantsToWrite = false;

  constructor(owner: ExchangeOwner, handler?: ExchangeHandler) {
    this.#owner = owner;
    this.input = new ExchangeInput(owner, handler);
  }

  get bytesRead(): number {
    return this.input.bytesRead;
  }

  setSink(sink: ByteSink): void {
    this.input.setSink(sink);
  }

  resume(): void {
    this.input.resume();
  }

  capacity(): number {
    if (this.outputEnded || this.closed) return 0;
    const open = this.begun && !this.held ? this.#owner.writer.capacity() : 0;
    if (open <= 0) this.#wantsToWrite = true;
    return Math.max(open, 0);
  }

  write(bytes: SharedBytes, offset: number, length: number): number {
    if (this.outputEnded || this.closed || length === 0) return 0;
    const { writer } = this.#owner;
    if (!this.begun || this.held) {
      this.#wantsToWrite = true;
      return 0;
    }
    if (!writer.fits(length)) {
      this.#owner.onOutputBroken('more bytes were written than its content-length');
      return 0;
    }
    const taken = writer.write(bytes, offset, length);
    this.bytesWritten += taken;
    if (taken < length) this.#wantsToWrite = true;
    return taken;
  }

  /** An exchange whose message has not begun, or is not whole, is reset: that would be no end. */
  end(): void {
    if (this.outputEnded || this.closed) return;
    if (this.begun) this.#endOutput();
    else this.reset();
  }

  sendTrailers(trailers: HeaderList): boolean {
    if (!this.begun) throw wrongState('send trailers');
    if (this.outputEnded || this.closed) return false;
    return this.#endOutput(trailers);
  }

  reset(): void {
    this.input.silence();
    if (!this.closed) this.#owner.onExchangeReset();
  }

  /** The connection's: there is room again. */
  onRoom(): void {
    if (!this.#wantsToWrite || this.held || !this.begun || this.outputEnded || this.closed) return;
    if (this.#owner.writer.capacity() <= 0) return;
    this.#wantsToWrite = false;
    this.input.sink?.onWritable();
  }

  /** The connection's: the body need not wait any more; told in the next turn. */
  release(): void {
    this.held = false;
    if (this.#wantsToWrite) runNextTurn(this);
  }

  runTask(): void {
    this.onRoom();
  }

  #endOutput(trailers?: HeaderList): boolean {
    if (!this.#owner.writer.end(trailers)) {
      this.#owner.onOutputBroken('fewer bytes were written than its content-length');
      return false;
    }
    this.outputEnded = true;
    this.#owner.onOutputEnd();
    return true;
  }
}

export function wrongState(what: string): MeshError {
  const message = `Cannot ${what}: this side of the exchange is not at that point`;
  return new MeshError('ERR_HTTP1_STATE', 'local', message);
}
