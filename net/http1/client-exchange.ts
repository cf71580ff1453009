import type { HeaderList } from '../h2/headers.ts';
import type { ExchangeHandler } from '../http/exchange.ts';
import { type ExchangeOwner, Http1Exchange } from './exchange.ts';
import type { OutgoingRequest } from './header-list.ts';

/** A request of ours, and the server's response. All of it is the connection's but what is of HttpExchange. */
export class Http1ClientExchange extends Http1Exchange {
  /** Of the request no more than its answer needs: the text of its head would be kept until then. */
  readonly method: string;
  readonly upgrade: string;
  /** What the connection had sent before. */
  readonly bytesBefore: number;
  /** A byte of an answer has come, be it of a 1xx. */
  answerBegun = false;
  /** 101 has come. */
  upgraded = false;
  informationals = 0;
  /** The body waits for 100 at most so long. */
  cancelHold: (() => void) | undefined;

  constructor(
    owner: ExchangeOwner,
    request: OutgoingRequest,
    handler: ExchangeHandler,
    bytesBefore: number,
  ) {
    super(owner, handler);
    this.method = request.method;
    this.upgrade = request.upgrade;
    this.bytesBefore = bytesBefore;
  }

  /** The final response, or 101. */
  answer(list: HeaderList, endStream: boolean): void {
    this.answered = true;
    this.input.handler?.onResponse?.(list, endStream);
  }
}
