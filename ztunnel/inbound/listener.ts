import { MeshError } from '../../base/errors.ts';
import { checkClient } from '../../mesh/hbone/peer.ts';
import { serveTunnels } from '../../mesh/hbone/server.ts';
import { logConnectionRejected } from '../../mesh/proxy/access-log.ts';
import type { Http2Connection } from '../../net/h2/connection.ts';
import { TcpListener } from '../../net/tcp-listener.ts';
import type { TcpStream } from '../../net/tcp-stream.ts';
import { acceptTls } from '../../net/tls.ts';
import type { DataParts, PodContext } from '../parts.ts';
import type { HandedListener } from '../thread-calls.ts';
import { serveTunnel } from './tunnel.ts';

/** The tunnel sessions that a pod serves, so that they can be told to end. */
export type InboundSessions = Set<Http2Connection>;

/** Accepts mTLS on 15008. */
export function listenHbone(
  parts: DataParts,
  pod: PodContext,
  handed: HandedListener,
  sessions: InboundSessions,
): TcpListener {
  return new TcpListener(handed, {}, (stream) => {
    void serveSession(stream, parts, pod, handed.transparent, sessions);
  });
}

/** One peer's session, from accept until it is up; the peer's identity is known from here on. Never rejects. */
async function serveSession(
  stream: TcpStream,
  parts: DataParts,
  pod: PodContext,
  transparent: boolean,
  sessions: InboundSessions,
): Promise<void> {
  const { peer, local } = stream;
  try {
    const context = await parts.contexts.get(pod.identity);
    const tls = await acceptTls(stream, context, { signal: pod.gone });
    const check = checkClient(tls.peerCertificate, parts.trustDomains);
    if (check.kind === 'refused') {
      tls.reset();
      throw new MeshError(
        'ERR_PEER_IDENTITY',
        'downstream',
        `Cannot accept the peer: ${check.reason}`,
      );
    }
    const tlsGroup = tls.group;
    const session = { peer, peerIdentity: check.identity, local, tlsGroup, transparent };
    const connection = serveTunnels(tls, parts.serverHttp2, {
      onTunnel(request) {
        void serveTunnel(request, session, parts, pod);
      },
      onClose() {
        sessions.delete(connection);
      },
    });
    sessions.add(connection);
  } catch (error) {
    stream.reset();
    logConnectionRejected(parts.accessLog, {
      direction: 'inbound',
      sourceAddress: peer,
      destinationAddress: local,
      error,
    });
  }
}
