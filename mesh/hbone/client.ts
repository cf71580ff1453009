import { MeshError } from '../../base/errors.ts';
import { findHeader, type HeaderList } from '../../net/h2/headers.ts';
import type { Http2Stream } from '../../net/h2/stream.ts';
import { Http2StreamError } from '../../net/h2/errors.ts';
import type { HboneSession } from './session.ts';

/** 10 s for the peer's proxy to reach its application, and as much again for the way, as its own limit is 10 s. */
const TUNNEL_TIMEOUT_MS = 20_000;

export type TunnelRequestHeaders = Readonly<{
  authority: string;
  /** Further headers, names in lower case: baggage, forwarded, traceparent. */
  headers: HeaderList;
}>;

/** A tunnel that the peer has answered with 200: a stream of bytes from here on. */
export type Tunnel = Readonly<{
  stream: Http2Stream;
  /** What the one who answered says of its workload. */
  baggage: string | undefined;
}>;

/** The peer's proxy has answered, and it was not 200. */
export class TunnelRefusedError extends MeshError {
  readonly status: number;

  constructor(status: number) {
    super('ERR_TUNNEL_REFUSED', 'upstream', `Cannot open a tunnel: http status: ${status}`);
    this.status = status;
  }
}

/**
 * Asks for a tunnel and waits for the answer. Until then nothing of the payload is sent, so another endpoint can be
 * tried after a failure.
 *
 * @throws {MeshError} ERR_TUNNEL_REFUSED with the status, ERR_HTTP2_STREAM, ERR_TUNNEL_TIMEOUT, ERR_ABORTED;
 *   ERR_TUNNEL_NO_ROOM when the session takes no more.
 */
export function openTunnel(
  session: HboneSession,
  request: TunnelRequestHeaders,
  options: Readonly<{ signal?: AbortSignal; timeoutMs?: number }> = {},
): Promise<Tunnel> {
  const { signal, timeoutMs = TUNNEL_TIMEOUT_MS } = options;
  return new Promise((resolve, reject) => {
    const stream = session.openStream(
      [':method', 'CONNECT', ':authority', request.authority, ...request.headers],
      {
        onResponse(headers) {
          finish();
          const status = Number(headers[1]);
          if (headers[0] === ':status' && status === 200)
            resolve({ stream: opened, baggage: findHeader(headers, 'baggage') });
          else fail(new TunnelRefusedError(status));
        },
        onError(error) {
          finish();
          reject(error);
        },
      },
    );
    if (stream === undefined) {
      const message = 'Cannot open a tunnel: the session takes no more';
      reject(new MeshError('ERR_TUNNEL_NO_ROOM', 'upstream', message));
      return;
    }
    const opened = stream;
    const fail = (error: MeshError): void => {
      finish();
      opened.reset();
      reject(error);
    };
    const timer = setTimeout(() => {
      const message = `Cannot open a tunnel: no answer within ${timeoutMs} ms`;
      fail(new MeshError('ERR_TUNNEL_TIMEOUT', 'upstream', message));
    }, timeoutMs);
    const onAbort = (): void => {
      const cause = signal?.reason as unknown;
      fail(new MeshError('ERR_ABORTED', 'local', 'Cannot open a tunnel: given up', { cause }));
    };
    const finish = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    };
    if (signal?.aborted === true) onAbort();
    else signal?.addEventListener('abort', onAbort, { once: true });
  });
}

/**
 * Whether another endpoint may be tried after this failure of connecting or of a tunnel that was not answered: nothing of
 * the payload had been sent. A refusal for what was asked (400) or by policy (401) is an answer.
 */
export function mayTryElsewhere(error: unknown): boolean {
  if (error instanceof TunnelRefusedError) return error.status >= 500;
  if (error instanceof Http2StreamError) return true;
  return error instanceof MeshError && TRY_ELSEWHERE.has(error.code);
}

const TRY_ELSEWHERE: ReadonlySet<string> = new Set([
  ...['ERR_CONNECT', 'ERR_CONNECT_TIMEOUT', 'ERR_TLS_HANDSHAKE', 'ERR_TLS_TIMEOUT', 'ERR_TLS'],
  ...[
    'ERR_PEER_IDENTITY',
    'ERR_CERT_REVOKED',
    'ERR_NETWORK_POLICY',
    'ERR_TUNNEL_TIMEOUT',
    'ERR_TUNNEL_NO_ROOM',
    'ERR_STREAM_RESET',
  ],
]);
