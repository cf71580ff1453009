import { MeshError } from '../base/errors.ts';
import type { ByteStream } from './byte-stream.ts';
import type { Canceller } from './canceller.ts';
import { type Carrier, DescriptorCarrier, StreamCarrier } from './tls-carrier.ts';
import type { TlsContext } from './tls-context.ts';
import { TlsSession } from './tls-session.ts';
import { TcpStream } from './tcp-stream.ts';

/** 10 s from the first byte to a proved peer; a client that says nothing is cut off. */
export const HANDSHAKE_TIMEOUT_MS = 10_000;

export type TlsOptions = Readonly<{
  timeoutMs?: number;
  signal?: AbortSignal;
  /** As `signal`, for handshakes that are many. */
  canceller?: Canceller;
  /** Of a client: the server that it asks for (SNI). */
  serverName?: string;
}>;

/**
 * Serves TLS on a connection, and resolves when the client is proved. The connection belongs to the session from here on.
 *
 * @throws {MeshError} ERR_TLS_HANDSHAKE with the reason, ERR_TLS_TIMEOUT; ERR_ABORTED; ERR_OPENSSL for want of memory.
 */
export function acceptTls(
  below: ByteStream,
  context: TlsContext,
  options: TlsOptions = {},
): Promise<TlsSession> {
  return openSession(below, context, 'server', options);
}

/**
 * Dials TLS over a connection, and resolves when the server is proved. Whether the server accepted *us* is known only
 * with its first bytes: a refusal comes as an error of the stream.
 *
 * @throws {MeshError} as acceptTls()
 */
export function connectTls(
  below: ByteStream,
  context: TlsContext,
  options: TlsOptions = {},
): Promise<TlsSession> {
  return openSession(below, context, 'client', options);
}

function openSession(
  below: ByteStream,
  context: TlsContext,
  role: 'client' | 'server',
  { timeoutMs = HANDSHAKE_TIMEOUT_MS, signal, canceller, serverName = '' }: TlsOptions,
): Promise<TlsSession> {
  return new Promise((resolve, reject) => {
    const side = role === 'client' ? 'upstream' : 'downstream';
    const giveUp = (error: MeshError): void => {
      finish();
      session.reset();
      reject(error);
    };
    const onCancel = (cause: unknown): void => {
      giveUp(new MeshError('ERR_ABORTED', 'local', 'Cannot agree on TLS: given up', { cause }));
    };
    const onAbort = (): void => {
      onCancel(signal?.reason);
    };
    const timer = setTimeout(() => {
      const message = `Cannot agree on TLS with the peer: not done within ${timeoutMs} ms`;
      giveUp(new MeshError('ERR_TLS_TIMEOUT', side, message));
    }, timeoutMs);
    const finish = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      canceller?.tell(undefined);
    };
    const carrier = carrierOf(below);
    let session: TlsSession;
    try {
      session = new TlsSession(
        ...([carrier, context, role] as const),
        (error) => {
          finish();
          if (error === undefined) resolve(session);
          else reject(error);
        },
        serverName,
      );
    } catch (error) {
      finish();
      carrier.reset();
      throw error; // rejects the promise
    }
    if (signal?.aborted === true) onAbort();
    else {
      signal?.addEventListener('abort', onAbort, { once: true });
      canceller?.tell(onCancel);
    }
  });
}

/** A socket's descriptor is used directly; anything else as a stream. */
function carrierOf(below: ByteStream): Carrier {
  return below instanceof TcpStream
    ? new DescriptorCarrier(below.detach())
    : new StreamCarrier(below);
}
