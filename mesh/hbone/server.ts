import type { ByteStream } from '../../net/byte-stream.ts';
import { Http2Connection } from '../../net/h2/connection.ts';
import type { Http2ConnectionError } from '../../net/h2/errors.ts';
import type { HeaderList } from '../../net/h2/headers.ts';
import type { Http2Options } from '../../net/h2/options.ts';
import type { Http2Stream } from '../../net/h2/stream.ts';
import { FORWARDED_NETWORK } from './headers.ts';

/** One request on a tunnel session, not answered yet; nothing of it has been judged. */
export type TunnelRequest = Readonly<{
  stream: Http2Stream;
  method: string;
  /** As it came; '' without one. */
  authority: string;
  baggage: string | undefined;
  forwarded: string | undefined;
  traceparent: string | undefined;
  /** `x-forwarded-network`: the network that the source says it is in. */
  forwardedNetwork: string | undefined;
}>;

export interface TunnelServerHandler {
  /** Must not throw; answers by accept() or refuse(), now or later. */
  onTunnel(request: TunnelRequest): void;
  onClose(error?: Http2ConnectionError): void;
}

/** Serves the CONNECT requests of one peer, who has been proved before. */
export function serveTunnels(
  transport: ByteStream,
  options: Http2Options,
  handler: TunnelServerHandler,
): Http2Connection {
  return Http2Connection.server(transport, options, {
    onRequest(stream, headers) {
      handler.onTunnel(readRequest(stream, headers));
    },
    onClose(error) {
      handler.onClose(error);
    },
  });
}

/** Answers 200: the stream carries the payload from here on. False when the client has gone. */
export function acceptTunnel(request: TunnelRequest, baggage: string): boolean {
  const headers = [':status', '200'];
  if (baggage !== '') headers.push('baggage', baggage);
  return request.stream.respond(headers);
}

/** Answers with a status and the end; the client hears nothing else. What it has sent is dropped. */
export function refuseTunnel(request: TunnelRequest, status: 400 | 401 | 503): void {
  request.stream.respond([':status', String(status)], { endStream: true });
  // NO_ERROR: the answer is complete, and the rest of the request is not wanted. RFC 9113 section 8.1.
  request.stream.reset(0);
}

function readRequest(stream: Http2Stream, headers: HeaderList): TunnelRequest {
  let method = '';
  let authority = '';
  let baggage: string | undefined;
  let forwarded: string | undefined;
  let traceparent: string | undefined;
  let forwardedNetwork: string | undefined;
  for (let at = 0; at < headers.length; at += 2) {
    const value = headers[at + 1] ?? '';
    switch (headers[at]) {
      case ':method':
        method = value;
        break;
      case ':authority':
        authority = value;
        break;
      case 'baggage':
        baggage ??= value;
        break;
      case 'forwarded':
        forwarded ??= value;
        break;
      case 'traceparent':
        traceparent ??= value;
        break;
      case FORWARDED_NETWORK:
        forwardedNetwork ??= value;
        break;
      default:
    }
  }
  return { stream, method, authority, baggage, forwarded, traceparent, forwardedNetwork };
}
