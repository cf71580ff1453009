import type { HeaderList } from '../h2/headers.ts';
import type { ExchangeHandler, ServerExchange } from '../http/exchange.ts';
import { type ExchangeOwner, Http1Exchange, wrongState } from './exchange.ts';
import { CHUNKED, UNTIL_CLOSE } from './framing.ts';
import { acceptsTrailers } from './hop-by-hop.ts';
import type { RequestHead } from './parse.ts';
import {
  type AnsweredRequest,
  composeResponseHead,
  type ConnectionFields,
  headError,
} from './serialize.ts';

const NO_TRAILERS: HeaderList = [];
const SWITCHING = 101;
const NONE: ConnectionFields = {};
const CLOSE: ConnectionFields = { close: true };

export interface ServerExchangeOwner extends ExchangeOwner {
  /** Whether no further request can follow this one. */
  readonly endsAfterAnswer: boolean;
  /** 101 was sent: what follows, both ways, is the other protocol. */
  onUpgraded(): void;
}

/** A request to us, and our response. */
export class Http1ServerExchange extends Http1Exchange implements ServerExchange {
  /** The protocol that the client would like to go on with; '' for none. */
  readonly upgrade: string;
  /** The connection's: the client holds its body back until it is asked for. */
  awaitsContinue: boolean;
  /** The connection's: 101 was sent. */
  upgraded = false;
  /** The connection's: nothing follows this exchange. */
  last: boolean;
  readonly #owner: ServerExchangeOwner;
  /** Of the head no more than the answer needs: its text would be kept, and copied by the collector, until then. */
  readonly #request: AnsweredRequest;
  readonly #readsTrailers: boolean;
  #sendsTrailers = false;

  constructor(owner: ServerExchangeOwner, head: RequestHead, upgrade: string) {
    super(owner);
    this.#owner = owner;
    this.#request = { method: head.method, minor: head.minor };
    this.#readsTrailers = acceptsTrailers(head.fields);
    this.upgrade = upgrade;
    this.awaitsContinue = head.expectsContinue;
    this.last = !head.persistent;
  }

  setHandler(handler: ExchangeHandler): void {
    this.input.setHandler(handler);
  }

  respond(headers: HeaderList, options: Readonly<{ endStream?: boolean }> = {}): boolean {
    if (this.begun) throw wrongState('send a response');
    const status = statusOf(headers);
    if (status < 200 && status !== SWITCHING) throw headError('the status of a response');
    const endStream = options.endStream === true;
    // Whether a body follows that was not asked for, only the client knows (attack S3). And what follows an upgrade that was
    // refused may be of the protocol that it asked for (attack S11).
    const last =
      this.last ||
      this.awaitsContinue ||
      (this.upgrade !== '' && status !== SWITCHING) ||
      this.#owner.endsAfterAnswer;
    const connection =
      status === SWITCHING && this.upgrade !== '' ? { upgrade: this.upgrade } : last ? CLOSE : NONE;
    const head = composeResponseHead(this.#request, status, headers, 2, endStream, connection);
    if (this.closed) return false;
    const { writer } = this.#owner;
    writer.head(head);
    this.begun = true;
    this.answered = true;
    this.last = last || head.body === UNTIL_CLOSE;
    if (status === SWITCHING) {
      this.upgraded = true;
      writer.tunnel();
      this.#owner.onUpgraded();
    } else if (this.#request.method === 'HEAD' || status === 204 || status === 304)
      writer.dropBody();
    this.#sendsTrailers = head.body === CHUNKED && this.#readsTrailers;
    if (endStream) this.end();
    else this.release();
    return true;
  }

  sendInformational(headers: HeaderList): boolean {
    if (this.begun) throw wrongState('send an informational response');
    const status = statusOf(headers);
    if (status >= 200 || status === SWITCHING) throw headError('an informational status');
    const head = composeResponseHead(this.#request, status, headers, 2, true, NONE);
    if (this.closed) return false;
    // HTTP/1.0 knows none, and 100 says nothing to a client that does not wait for it. RFC 9110 section 15.2.
    if (this.#request.minor === 0 || (status === 100 && !this.awaitsContinue)) return true;
    if (status === 100) this.awaitsContinue = false;
    this.#owner.writer.headAlone(head);
    return true;
  }

  override sendTrailers(trailers: HeaderList): boolean {
    return super.sendTrailers(this.#sendsTrailers ? trailers : NO_TRAILERS);
  }
}

function statusOf(headers: HeaderList): number {
  const [name, value = ''] = headers;
  if (name !== ':status' || value.length !== 3) throw headError('the status');
  return Number(value);
}
