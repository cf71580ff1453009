import { abortable } from '../../base/abortable.ts';
import { formatSocketAddress, type SocketAddress } from '../../base/address.ts';
import { MeshError } from '../../base/errors.ts';
import { identityParts } from '../../mesh/model/identity.ts';
import { checkClient } from '../../mesh/hbone/peer.ts';
import { serveTunnels } from '../../mesh/hbone/server.ts';
import { logConnectionRejected } from '../../mesh/proxy/access-log.ts';
import { ENHANCE_YOUR_CALM } from '../../net/h2/errors.ts';
import { TcpListener } from '../../net/tcp-listener.ts';
import type { TcpStream } from '../../net/tcp-stream.ts';
import { acceptTls, HANDSHAKE_TIMEOUT_MS } from '../../net/tls.ts';
import type { TlsContext } from '../../net/tls-context.ts';
import type { TlsSession } from '../../net/tls-session.ts';
import { findLocalWorkload } from '../local-workload.ts';
import { acceptOptions, type DataParts, type PodContext } from '../parts.ts';
import type { HandedListener } from '../thread-calls.ts';
import { AdmittedHandshake, type HandshakeRefusal } from './handshake-admission.ts';
import type { InboundSessions } from './sessions.ts';
import { serveTunnel, type TunnelSession } from './tunnel.ts';

/** Accepts mTLS on 15008. */
export function listenHbone(
  parts: DataParts,
  pod: PodContext,
  handed: HandedListener,
  sessions: InboundSessions,
): TcpListener {
  const { onExhausted } = acceptOptions(parts); // a PING finds dead peers, not TCP's keepalive
  const onRefused = reportRefusals(parts);
  return new TcpListener(handed, { onExhausted }, (stream) => {
    const admitted = parts.handshakes.admit(stream.peer.ip);
    if (admitted instanceof AdmittedHandshake)
      void serveSession(stream, parts, pod, handed.transparent, sessions, admitted);
    else {
      stream.reset();
      onRefused(admitted, stream.peer);
    }
  });
}

/** A flood is reported so often; a record for each connection would be one more way to flood us. */
const REFUSALS_REPORT_MS = 10_000;

function reportRefusals({
  log,
}: DataParts): (reason: HandshakeRefusal, peer: SocketAddress) => void {
  let quietUntilMs = 0;
  return (reason, peer) => {
    if (performance.now() < quietUntilMs) return;
    quietUntilMs = performance.now() + REFUSALS_REPORT_MS;
    const source = formatSocketAddress(peer);
    log.warn('refusing sessions before their handshake', { reason, source });
  };
}

/** One peer's session, from accept until it is up; the peer's identity is known from here on. Never rejects. */
async function serveSession(
  stream: TcpStream,
  parts: DataParts,
  pod: PodContext,
  transparent: boolean,
  sessions: InboundSessions,
  admitted: AdmittedHandshake,
): Promise<void> {
  const { peer } = stream;
  const inFlight = sessions.begin();
  let local = peer;
  try {
    local = stream.local;
    await findLocalWorkload(parts, pod); // it says of which trust domain we are
    const signal = AbortSignal.any([pod.gone, admitted.signal]);
    const tls = await acceptTls(stream, await contextOf(parts, pod), { signal });
    try {
      admitted.prove();
      const peerIdentity = identifyPeer(tls, parts, pod);
      const peerChain = checkRevocation(tls, parts);
      serve(tls, { peer, peerIdentity, peerChain, local, tlsGroup: tls.group, transparent });
    } catch (error) {
      tls.reset(); // whoever is not proved is not kept waiting either
      throw error;
    }
  } catch (error) {
    stream.reset();
    inFlight[Symbol.dispose]();
    admitted[Symbol.dispose]();
    logConnectionRejected(parts.accessLog, {
      direction: 'inbound',
      sourceAddress: peer,
      destinationAddress: local,
      error,
    });
  }

  function serve(tls: TlsSession, session: TunnelSession): void {
    const connection = serveTunnels(tls, parts.serverHttp2, {
      onTunnel(request) {
        // Behind all that has been read: a tunnel that is reset in the same breath costs next to nothing (attack H1).
        queueMicrotask(() => {
          if (!request.stream.closed) void serveTunnel(request, session, parts, pod);
        });
      },
      onClose(error) {
        if (error?.h2Code === ENHANCE_YOUR_CALM && error.side === 'downstream') admitted.penalize();
        sessions.delete(connection);
        admitted[Symbol.dispose]();
        inFlight[Symbol.dispose]();
      },
    });
    sessions.add(connection, session.peerChain);
  }
}

/** The context in use; for a pod that is new, the wait for its certificate, as long as for a handshake. */
async function contextOf(
  { contexts }: DataParts,
  { identity, gone }: PodContext,
): Promise<TlsContext> {
  const current = contexts.current(identity);
  if (current !== undefined) return current;
  const patience = AbortSignal.any([AbortSignal.timeout(HANDSHAKE_TIMEOUT_MS), gone]);
  return await abortable(contexts.get(identity), patience);
}

/** @throws {MeshError} ERR_PEER_IDENTITY, ERR_OPENSSL */
function identifyPeer(
  tls: TlsSession,
  { trustDomains }: DataParts,
  pod: PodContext,
): TunnelSession['peerIdentity'] {
  const { trustDomain } = identityParts(pod.identity);
  const accepted = trustDomains.has(trustDomain)
    ? trustDomains
    : new Set([...trustDomains, trustDomain]);
  const check = checkClient(tls.peerCertificate, accepted);
  if (check.kind === 'accepted') return check.identity;
  const message = `Cannot accept the peer: ${check.reason}`;
  throw new MeshError('ERR_PEER_IDENTITY', 'downstream', message);
}

/** @throws {MeshError} ERR_CERT_REVOKED, ERR_OPENSSL */
function checkRevocation(
  tls: TlsSession,
  { revocation }: DataParts,
): readonly Buffer[] | undefined {
  if (revocation === undefined) return undefined;
  const chain = tls.peerChain();
  const error = revocation.check(chain, 'downstream');
  if (error === undefined) return chain;
  throw error;
}
