import { HEADROOM } from '../net/byte-stream.ts';
import type { HeaderList } from '../net/h2/headers.ts';
import { allocateShared } from '../net/shared-bytes.ts';
import { encodeGrpcMessage, grpcStatusFor } from './grpc.ts';
import type { ServerExchange } from '../net/http/exchange.ts';
import type { LocalReply } from './local-reply.ts';
import type { RequestHead } from './request-head.ts';
import { httpDate } from './response-head.ts';

/** What a response of our own says of who gave it; Envoy's name in Istio, which tools look for. */
export const SERVER_NAME = 'istio-envoy';

const NOTHING: HeaderList = [];
/** Written bytes are the stream's to overwrite, so every body is laid here anew. */
const scratch = allocateShared(HEADROOM + 4096);

/** The request that is answered. */
export interface AnsweredRequest {
  readonly exchange: ServerExchange;
  readonly head: RequestHead;
  grpcStatus: number;
  /** See HttpRequest.respond(). */
  respond(list: HeaderList, endStream: boolean): boolean;
}

/** A response of our own on its way to the client, which may take its time. */
export class LocalAnswer {
  readonly #request: AnsweredRequest;
  readonly #reply: LocalReply;
  readonly #body: Buffer;
  #begun = false;
  #written = 0;

  constructor(request: AnsweredRequest, reply: LocalReply) {
    this.#request = request;
    this.#reply = reply;
    const bodiless = request.head.isGrpc || request.head.method === 'HEAD';
    this.#body = Buffer.from(bodiless ? '' : reply.body);
  }

  /** Goes on as far as the client lets it; true when all is written. */
  write(): boolean {
    const { exchange } = this.#request;
    const body = this.#body;
    if (!this.#begun) {
      this.#begun = true;
      if (!this.#respond()) return false; // the request hears of its client's end
      if (body.length === 0) return true;
    }
    while (this.#written < body.length) {
      const part = body.copy(scratch.buffer, HEADROOM, this.#written);
      const wrote = exchange.write(scratch, HEADROOM, part);
      this.#written += wrote;
      if (wrote < part) return false;
    }
    exchange.end();
    return true;
  }

  #respond(): boolean {
    const { status, body, headers = NOTHING } = this.#reply;
    const request = this.#request;
    if (request.head.isGrpc) {
      const grpcStatus = this.#reply.grpcStatus ?? grpcStatusFor(status);
      request.grpcStatus = grpcStatus;
      const list = [':status', '200', 'content-type', 'application/grpc'];
      list.push('grpc-status', String(grpcStatus));
      if (body !== '') list.push('grpc-message', encodeGrpcMessage(body));
      list.push(...headers, 'server', SERVER_NAME, 'date', httpDate());
      return request.respond(list, true);
    }
    const list = [':status', String(status)];
    const length = Buffer.byteLength(body);
    list.push('content-length', String(length));
    if (length > 0) list.push('content-type', 'text/plain');
    list.push(...headers, 'server', SERVER_NAME, 'date', httpDate());
    return request.respond(list, this.#body.length === 0);
  }
}
