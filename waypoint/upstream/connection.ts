import type { HeaderList } from '../../net/h2/headers.ts';
import type {
  ClientExchange,
  ExchangeHandler,
  HttpClientConnection,
} from '../../net/http/exchange.ts';

/** What a connection goes through: a session with the endpoint's proxy, which many connections share. */
export type UpstreamWay = Readonly<{
  /** It has been silent for so long that another one may be sooner. */
  isUnresponsive(): boolean;
}>;

/** What a connection tells the pool. */
export interface ConnectionEvents {
  /** Of one in a tunnel, before it stands: the last one told is the one that it has. */
  onWay?(way: UpstreamWay): void;
  /** There may be room for another request: one has ended, or the server allows more. */
  onAvailable(): void;
  /** Over, and told once; what was on it has heard of it. */
  onClose(error?: Error): void;
}

export interface UpstreamConnectionOwner {
  /** It takes no further request for now. */
  onFull(connection: UpstreamConnection): void;
  onAvailable(connection: UpstreamConnection): void;
  onClose(connection: UpstreamConnection): void;
}

/** One pooled connection to an endpoint. */
export class UpstreamConnection implements ConnectionEvents {
  readonly #owner: UpstreamConnectionOwner;
  readonly #maxRequests: number;
  #connection: HttpClientConnection | undefined;
  #way: UpstreamWay | undefined;
  #requests = 0;
  #exhausted = false;
  /** The pool's: it is among those with room. */
  offered = false;
  closed = false;
  /** When a request last began or ended; milliseconds of performance.now(). */
  lastUsedMs = performance.now();

  constructor(owner: UpstreamConnectionOwner, maxRequests: number) {
    this.#owner = owner;
    this.#maxRequests = maxRequests;
  }

  /** The pool's: it stands. */
  attach(connection: HttpClientConnection): void {
    this.#connection = connection;
  }

  get hasRoom(): boolean {
    if (this.closed || this.#exhausted || this.#connection === undefined) return false;
    return this.#connection.availableExchanges() > 0;
  }

  /** A request would wait, for nobody knows how long. */
  get isUnresponsive(): boolean {
    return this.#way?.isUnresponsive() === true;
  }

  /** @returns `undefined` when there is no room after all. @throws {MeshError} for a head that cannot be sent. */
  open(
    headers: HeaderList,
    endStream: boolean,
    handler: ExchangeHandler,
  ): ClientExchange | undefined {
    const exchange = this.#connection?.open(headers, endStream, handler);
    if (exchange === undefined) {
      this.#exhausted = true; // until it says that there is room
      this.#owner.onFull(this);
      return undefined;
    }
    this.lastUsedMs = performance.now();
    if (++this.#requests >= this.#maxRequests) this.drain();
    if (!this.hasRoom) this.#owner.onFull(this);
    return exchange;
  }

  /** No further requests; those that are on it go on. */
  drain(): void {
    this.#connection?.drain();
  }

  close(): void {
    this.#connection?.close();
  }

  onWay(way: UpstreamWay): void {
    this.#way = way;
  }

  onAvailable(): void {
    this.#exhausted = false;
    this.lastUsedMs = performance.now();
    this.#owner.onAvailable(this);
  }

  onClose(): void {
    if (this.closed) return;
    this.closed = true;
    this.#owner.onClose(this);
  }
}
