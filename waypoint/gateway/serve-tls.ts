import { MeshError } from '../../base/errors.ts';
import type { GatewayListener, ListenerTls } from '../../mesh/model/gateway-listener.ts';
import type { TcpRoute } from '../../mesh/model/http-route.ts';
import { AdmittedHandshake } from '../../mesh/proxy/handshake-admission.ts';
import { RefusedError } from '../../mesh/proxy/refused-error.ts';
import { HEADROOM, type ByteStream } from '../../net/byte-stream.ts';
import type { ClientHello } from '../../net/client-hello.ts';
import { allocateShared } from '../../net/shared-bytes.ts';
import type { TcpStream } from '../../net/tcp-stream.ts';
import { acceptTls, HANDSHAKE_TIMEOUT_MS } from '../../net/tls.ts';
import type { TlsSession } from '../../net/tls-session.ts';
import { serveHttpConnection } from '../http.ts';
import type { WaypointParts } from '../parts.ts';
import { peekClientHello } from './client-hello.ts';
import { serveRoute, type EdgeConnection } from './serve-route.ts';
import type { ListenerRoutes, PortListeners } from './gateway-routes.ts';

/** RFC 8446 section 6: a fatal alert, unrecognized_name. */
const UNRECOGNIZED_NAME = Buffer.from([21, 3, 3, 0, 2, 2, 112]);

/** So long a client has to read it. */
const ALERT_MS = 1000;

/** Whether clients of a port begin with TLS: all of its listeners say the same. */
export function speaksTls({ listeners: [first] }: PortListeners): boolean {
  return first?.tls !== undefined || first?.serves.kind === 'passthrough';
}

/**
 * Serves a client of TLS by the listener of the name that it asks for: TLS ends here, or goes on as it is.
 *
 * @throws {MeshError} why it was not served; the caller ends it and reports.
 */
export async function serveTls(
  stream: TcpStream,
  listeners: PortListeners,
  edge: EdgeConnection,
  parts: WaypointParts,
): Promise<void> {
  const admission = parts.handshakes.admit(edge.remote.ip);
  if (!(admission instanceof AdmittedHandshake))
    throw new RefusedError(503, `too many handshakes: ${admission}`);
  using admitted = admission;
  const { hello, ...peeked } = await peekClientHello(
    stream,
    AbortSignal.any([edge.live.signal, admitted.signal, AbortSignal.timeout(HANDSHAKE_TIMEOUT_MS)]),
  );
  const found = listeners.listenerOf(hello.serverName);
  if (found === undefined) {
    refuse(peeked.stream);
    edge.live.fail(noListener(hello));
    return;
  }
  const { tls, serves } = found.listener;
  if (serves.kind === 'passthrough') {
    admitted.prove();
    await serveRoute(peeked.stream, routeOf(found, hello), edge, parts);
    return;
  }
  if (tls === undefined) throw noListener(hello);
  const session = await terminate(peeked.stream, hello, found.listener, tls, {
    ...{ parts, signal: AbortSignal.any([edge.live.signal, admitted.signal]) },
  });
  admitted.prove();
  if (serves.kind === 'http') {
    const { remote, local, live } = edge;
    const facts = {
      remote,
      local,
      edge: { scheme: 'https', serverName: hello.serverName },
    } as const;
    const version = session.alpn === 'h2' ? 'http2' : 'detect';
    serveHttpConnection(session, version, { facts, live }, parts.http);
    return;
  }
  try {
    await serveRoute(session, routeOf(found, hello), edge, parts);
  } catch (error) {
    session.reset();
    throw error;
  }
}

async function terminate(
  stream: ByteStream,
  hello: ClientHello,
  listener: GatewayListener,
  tls: ListenerTls,
  { parts, signal }: Readonly<{ parts: WaypointParts; signal: AbortSignal }>,
): Promise<TlsSession> {
  const context = parts.serverTls.context(listener, tls, hello.serverName);
  const session = await acceptTls(stream, context, { signal });
  // What chose the listener, and so who may come in, must be what both ends mean.
  if (session.serverName.toLowerCase() === hello.serverName) return session;
  session.reset();
  const message = 'Cannot agree on TLS with the peer: it asked for two names';
  throw new MeshError('ERR_TLS_HANDSHAKE', 'downstream', message);
}

function routeOf(found: ListenerRoutes, { serverName }: ClientHello): TcpRoute {
  const route = found.route(serverName);
  if (route !== undefined) return route;
  throw new RefusedError(
    503,
    `no route of ${found.listener.name} is for ${serverName || 'no name'}`,
  );
}

function noListener({ serverName }: ClientHello): MeshError {
  const name = serverName === '' ? 'a client that asks for no name' : serverName;
  return new MeshError('ERR_NO_ROUTE', 'local', `Cannot serve ${name}: no listener is for it`);
}

function refuse(stream: ByteStream): void {
  const alert = allocateShared(HEADROOM + UNRECOGNIZED_NAME.length);
  alert.buffer.set(UNRECOGNIZED_NAME, HEADROOM);
  stream.write(alert, HEADROOM, UNRECOGNIZED_NAME.length);
  stream.end();
  setTimeout(() => {
    stream.reset();
  }, ALERT_MS).unref();
}
