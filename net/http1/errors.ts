import { MeshError, type Side } from '../../base/errors.ts';

/** What a peer's bytes break, one name for each rule; a refusal is counted and tested by it. */
export type Http1Fault =
  | 'bare-cr-or-lf'
  | 'character-in-start-line'
  | 'request-line'
  | 'method'
  | 'method-too-long'
  | 'trace'
  | 'version'
  | 'version-not-supported'
  | 'target'
  | 'target-too-long'
  | 'status-line'
  | 'field-name'
  | 'field-name-too-long'
  | 'underscore'
  | 'folded-line'
  | 'field-value'
  | 'too-many-fields'
  | 'head-too-long'
  | 'host-missing'
  | 'host-repeated'
  | 'host'
  | 'host-differs'
  | 'content-length'
  | 'content-length-repeated'
  | 'transfer-encoding'
  | 'transfer-encoding-repeated'
  | 'transfer-encoding-unknown'
  | 'transfer-encoding-in-1.0'
  | 'transfer-encoding-with-length'
  | 'body-where-none-can-be'
  | 'expectation'
  | 'upgrade-unasked'
  | 'chunk-size'
  | 'chunk-size-too-large'
  | 'chunk-extension'
  | 'chunk-extensions-too-long'
  | 'chunk-end'
  | 'trailers-too-long'
  | 'unasked-response'
  | 'too-many-informational-responses';

const STATUSES: ReadonlyMap<Http1Fault, number> = new Map([
  ['method-too-long', 501],
  ['trace', 405],
  ['version-not-supported', 505],
  ['target-too-long', 414],
  ['field-name-too-long', 431],
  ['too-many-fields', 431],
  ['head-too-long', 431],
  ['trailers-too-long', 431],
  ['transfer-encoding-unknown', 501],
  ['expectation', 417],
]);

/** Thrown by the readers of this folder: the peer broke the protocol, and none of its further bytes can be understood. */
export class Http1Violation extends Error {
  readonly fault: Http1Fault;
  /** What to answer when it was a request; a response that does this is a 502 to whoever waits for it. */
  readonly status: number;

  constructor(fault: Http1Fault) {
    super(fault);
    this.fault = fault;
    this.status = STATUSES.get(fault) ?? 400;
  }
}

/** One exchange broke, and its connection with it. */
export class Http1ExchangeError extends MeshError {
  /**
   * Client: false only when nothing of the request was sent, so that sending it again is safe whatever its method.
   * As Http2StreamError.processed.
   */
  readonly processed: boolean;
  /**
   * Client: the server ended a connection that had served before, and nothing of an answer came. Most probably it had
   * closed an idle connection while the request was on its way, and never read it; but it may have. RFC 9112 section 9.3.1.
   */
  readonly keepAliveRace: boolean;

  constructor(
    side: Side,
    found: string,
    facts: Readonly<{ processed: boolean; keepAliveRace: boolean }>,
    options?: ErrorOptions,
  ) {
    super('ERR_HTTP1_EXCHANGE', side, `Cannot go on with an HTTP/1.1 exchange: ${found}`, options);
    this.processed = facts.processed;
    this.keepAliveRace = facts.keepAliveRace;
  }
}

export function http1ConnectionError(side: Side, found: string, options?: ErrorOptions): MeshError {
  const message = `Cannot go on with an HTTP/1.1 connection: ${found}`;
  return new MeshError('ERR_HTTP1_CONNECTION', side, message, options);
}
