import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TemporaryFolder } from '../harness/temporary-folder.ts';

/** What is asked of whoever is measured: by which versions of HTTP a request comes in and goes out, and which request. */
export type Work = Readonly<{
  name: 'http1' | 'http2' | 'http2-http1' | 'grpc';
  title: string;
  /** From the client. */
  from: 'http1' | 'http2';
  /** To the server behind. */
  to: 'http1' | 'http2';
  call: 'get' | 'grpc';
}>;

export const HTTP1: Work = {
  ...{ name: 'http1', title: 'HTTP/1.1', from: 'http1', to: 'http1', call: 'get' },
};
export const HTTP2: Work = {
  ...{ name: 'http2', title: 'HTTP/2', from: 'http2', to: 'http2', call: 'get' },
};
export const HTTP2_TO_HTTP1: Work = {
  ...{ name: 'http2-http1', title: 'HTTP/2 to HTTP/1.1', from: 'http2', to: 'http1', call: 'get' },
};
export const GRPC: Work = {
  ...{ name: 'grpc', title: 'gRPC', from: 'http2', to: 'http2', call: 'grpc' },
};
/** In an order that ports are counted by. */
export const WORKS: readonly Work[] = [HTTP1, HTTP2, HTTP2_TO_HTTP1, GRPC];

export type Body = Readonly<{ name: string; paths: Readonly<Record<Work['call'], string>> }>;

export const SMALL: Body = { name: 'small', paths: { get: '/', grpc: '/bench.Web/Small' } };
export const LARGE: Body = { name: '16 KiB', paths: { get: '/large', grpc: '/bench.Web/Large' } };
export const BODIES: readonly Body[] = [SMALL, LARGE];

const LARGE_BYTES = 16 << 10;

/** The files of the server behind: by path, what they hold. A gRPC message has its length before it. */
export const PAGES: Readonly<Record<string, Buffer>> = {
  large: Buffer.alloc(LARGE_BYTES, 'x'),
  'bench.Web/Small': grpcMessage(0),
  'bench.Web/Large': grpcMessage(LARGE_BYTES),
};

/** The message that gRPC calls are made with, in a file. */
export class MessageFile implements Disposable {
  readonly #folder = new TemporaryFolder('message');
  readonly path = join(this.#folder.path, 'message');

  constructor() {
    writeFileSync(this.path, grpcMessage(0));
  }

  [Symbol.dispose](): void {
    this.#folder[Symbol.dispose]();
  }
}

/** gRPC over HTTP/2, Length-Prefixed-Message: not compressed, the length, the message. */
function grpcMessage(bytes: number): Buffer {
  const message = Buffer.alloc(5 + bytes, 'x');
  message[0] = 0;
  message.writeUInt32BE(bytes, 1);
  return message;
}
