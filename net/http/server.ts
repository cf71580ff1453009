import type { ByteStream } from '../byte-stream.ts';
import { Http2Connection } from '../h2/connection.ts';
import type { Http2Options } from '../h2/options.ts';
import { Http1ServerConnection } from '../http1/server-connection.ts';
import { completeOptions, type Http1Options } from '../http1/options.ts';
import { DetectingServer } from './detect.ts';
import type { HttpServerConnection, HttpServerHandler } from './exchange.ts';
import { Http2RequestCheck } from './http2-request.ts';

export type HttpServerOptions = Readonly<{
  http1?: Http1Options;
  /** CONNECT with `:protocol` is allowed unless it is said here that it is not. */
  http2?: Http2Options;
}>;

/**
 * Serves the requests of one connection over any ByteStream, which it owns from here on. A tunnel (CONNECT without
 * `:protocol`) is refused here, whichever version asks for it.
 *
 * @param version `detect`: HTTP/2 by its whole preface, all else is HTTP/1.1. `prefer-http2`: HTTP/1.1 by its method, all
 *   else is HTTP/2, and a broken preface a fault of it.
 * @throws {RangeError} for an option that HTTP/2 cannot express.
 */
export function serveHttp(
  transport: ByteStream,
  version: 'http1' | 'http2' | 'detect' | 'prefer-http2',
  options: HttpServerOptions,
  handler: HttpServerHandler,
): HttpServerConnection {
  const http1 = options.http1 ?? {};
  const serveHttp1 = (stream: ByteStream): Http1ServerConnection =>
    new Http1ServerConnection(stream, http1, handler);
  const serveHttp2 = (stream: ByteStream): HttpServerConnection =>
    Http2Connection.server(
      stream,
      { extendedConnect: true, ...options.http2 },
      new Http2RequestCheck(completeOptions(http1), handler),
    );
  if (version === 'http1') return serveHttp1(transport);
  if (version === 'http2') return serveHttp2(transport);
  const expected = version === 'detect' ? 'either' : 'http2';
  return new DetectingServer(transport, expected, completeOptions(http1), {
    serveHttp1,
    serveHttp2,
    onClose: (error) => {
      handler.onClose(error);
    },
  });
}
