import type { ByteSink, SharedBytes } from '../net/byte-stream.ts';
import { CANCEL } from '../net/h2/errors.ts';
import type { HeaderList } from '../net/h2/headers.ts';
import type { ClientExchange, ExchangeHandler } from '../net/http/exchange.ts';
import type { Backend } from './backend.ts';
import type { HttpRequest, RequestCopy } from './http-request.ts';
import { ReplayBody } from './replay-body.ts';
import { Deadline, type DeadlineOwner, type Deadlines } from './timeout.ts';
import type { UpstreamConnection } from './upstream/connection.ts';
import { PendingConnection, type PoolWaiter } from './upstream/endpoint-pool.ts';
import type { UpstreamEndpoint } from './upstream/endpoint.ts';
import type { UpstreamPool } from './upstream/pool.ts';

/** Nobody waits for the answer, so this only bounds what is kept for it. 15 s, as Envoy's default route timeout. */
const MIRROR_TIMEOUT_MS = 15_000;

export type MirrorParts = Readonly<{ pool: UpstreamPool; deadlines: Deadlines }>;

/**
 * A copy of one request on its way to another backend; its response is read and dropped. It never holds the request up: what
 * of the body does not fit into what is kept for a slow endpoint (64 KiB) ends the copy.
 */
export class Mirror implements RequestCopy, PoolWaiter, ExchangeHandler, ByteSink, DeadlineOwner {
  readonly #request: HttpRequest;
  readonly #headers: HeaderList;
  readonly #backend: Backend;
  readonly #parts: MirrorParts;
  readonly #body = new ReplayBody();
  readonly #deadline = new Deadline(this);
  #endpoint: UpstreamEndpoint | undefined;
  #pending: PendingConnection | undefined;
  #exchange: ClientExchange | undefined;
  #sent = 0;
  /** What was appended last may be taken back until it is known how much of it the request's own way took. */
  #before = 0;
  #bodyEnded: boolean;
  #over = false;

  /** @param headers of the copy. */
  constructor(request: HttpRequest, headers: HeaderList, backend: Backend, parts: MirrorParts) {
    this.#request = request;
    this.#headers = headers;
    this.#bodyEnded = request.ended;
    this.#backend = backend;
    this.#parts = parts;
  }

  start(): void {
    const endpoint = this.#backend.chooseEndpoint(this.#request, []);
    if (endpoint === undefined || this.#backend.beginTry(endpoint) !== undefined) {
      this.#over = true;
      return;
    }
    this.#endpoint = endpoint;
    this.#parts.deadlines.set(this.#deadline, MIRROR_TIMEOUT_MS);
    this.#connect(endpoint);
  }

  stage(bytes: SharedBytes, offset: number, length: number): void {
    this.#before = this.#body.length;
    if (this.#over) return;
    if (length > this.#body.room) this.close();
    else this.#body.append(bytes, offset, length);
  }

  commit(taken: number): void {
    if (this.#over) return;
    this.#body.truncate(this.#before + taken);
    this.#pump();
  }

  endBody(): void {
    this.#bodyEnded = true;
    this.#pump();
  }

  close(): void {
    if (this.#over) return;
    this.#pending?.cancel();
    this.#exchange?.reset(CANCEL);
    this.#end();
  }

  onDeadline(): void {
    this.close();
  }

  onConnection(connection: UpstreamConnection): void {
    this.#pending = undefined;
    if (this.#over) return;
    const bodiless = this.#bodyEnded && this.#body.length === 0;
    try {
      this.#exchange = connection.open(this.#headers, bodiless, this);
    } catch {
      this.#end(); // a head that cannot be sent: the request's own way tells of it
      return;
    }
    if (this.#exchange === undefined) {
      if (this.#endpoint !== undefined) this.#connect(this.#endpoint);
      return;
    }
    this.#exchange.setSink(this);
    if (!bodiless) this.#pump();
  }

  onConnectFailure(): void {
    this.#end();
  }

  onError(): void {
    this.#end();
  }

  capacity(): number {
    return Number.MAX_SAFE_INTEGER;
  }

  onData(_bytes: SharedBytes, _offset: number, length: number): number {
    return length;
  }

  onEnd(): void {
    this.#end();
  }

  onWritable(): void {
    this.#pump();
  }

  #connect(endpoint: UpstreamEndpoint): void {
    const { version, limits } = this.#backend;
    const found = this.#parts.pool.acquire(endpoint, version, limits, this);
    if (found === undefined) this.#end();
    else if (found instanceof PendingConnection) this.#pending = found;
    else this.onConnection(found);
  }

  #pump(): void {
    const exchange = this.#exchange;
    if (exchange === undefined || this.#over) return;
    this.#sent = this.#body.writeTo(exchange, this.#sent);
    if (this.#sent < this.#body.length) return; // until onWritable()
    if (this.#bodyEnded) exchange.end();
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#parts.deadlines.clear(this.#deadline);
    this.#body.release();
    if (this.#endpoint !== undefined) this.#backend.endTry(this.#endpoint);
  }
}
