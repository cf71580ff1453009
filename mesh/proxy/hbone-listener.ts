import { abortable } from '../../base/abortable.ts';
import { formatSocketAddress, type SocketAddress } from '../../base/address.ts';
import { MeshError } from '../../base/errors.ts';
import { Roster } from '../../base/roster.ts';
import type { Canceller } from '../../net/canceller.ts';
import { ENHANCE_YOUR_CALM } from '../../net/h2/errors.ts';
import type { Http2Options } from '../../net/h2/options.ts';
import { TcpListener } from '../../net/tcp-listener.ts';
import type { TcpStream } from '../../net/tcp-stream.ts';
import { acceptTls, HANDSHAKE_TIMEOUT_MS } from '../../net/tls.ts';
import type { TlsContext } from '../../net/tls-context.ts';
import type { TlsSession } from '../../net/tls-session.ts';
import { checkClient } from '../hbone/peer.ts';
import { serveTunnels, type TunnelRequest } from '../hbone/server.ts';
import { SESSION_MAX_RTO_MS } from '../hbone/session.ts';
import { identityParts, type SpiffeId, type TrustDomain } from '../model/identity.ts';
import type { Logger } from '../runtime/log.ts';
import { acceptOptions } from './accept-options.ts';
import { logConnectionRejected } from './access-log.ts';
import {
  AdmittedHandshake,
  type HandshakeAdmission,
  type HandshakeRefusal,
} from './handshake-admission.ts';
import type { InboundSessions } from './inbound-sessions.ts';
import type { TlsContexts } from './tls-contexts.ts';

/** What all tunnels of one session share: the peer that was proved, and where it came in. */
export type TunnelSession = Readonly<{
  peer: SocketAddress;
  peerIdentity: SpiffeId;
  /** DER, where revocation is checked. */
  peerChain: readonly Buffer[] | undefined;
  local: SocketAddress;
  tlsGroup: string;
}>;

/** What the listeners of a thread share. */
export type HboneListenerParts = Readonly<{
  contexts: TlsContexts;
  /** Who may begin a session here. */
  handshakes: HandshakeAdmission;
  /** Own, and those that are one with it. */
  trustDomains: ReadonlySet<TrustDomain>;
  serverHttp2: Http2Options;
  /** Other threads have the same listening sockets. */
  takesTurns: boolean;
  /** Absent: revocation is not checked. */
  revocation?: Readonly<{
    check: (chain: readonly Buffer[], side: 'downstream' | 'upstream') => MeshError | undefined;
  }>;
  accessLog: Logger;
  log: Logger;
}>;

/** In whose name tunnels are accepted, and what becomes of them. */
export type HboneHost = Readonly<{
  /** Asked for when it is needed: what is known of a pod may still come. */
  identity: () => SpiffeId;
  /** Settles when as much is known of the host as a handshake needs; it has its own limit. */
  known?: () => Promise<unknown>;
  /** Aborts when the host is gone for good. */
  gone: AbortSignal;
  sessions: InboundSessions;
  /** Must not throw; answers the request, now or later. */
  serve: (request: TunnelRequest, session: TunnelSession) => void;
}>;

/** Accepts mTLS on a socket that listens on 15008. */
export function listenHbone(
  parts: HboneListenerParts,
  host: HboneHost,
  bound: Readonly<{ fd: number; transparent: boolean }>,
): TcpListener {
  // A PING finds dead peers, not TCP's keepalive.
  const { onExhausted, takesTurns } = acceptOptions({ ...parts, keepAlive: undefined });
  const onRefused = reportRefusals(parts.log);
  const options = { onExhausted, takesTurns, maxRtoMs: SESSION_MAX_RTO_MS };
  const underWay = new Roster<Canceller>();
  const cancelAll = (): void => {
    for (const canceller of underWay.all()) canceller.cancel(host.gone.reason);
  };
  host.gone.addEventListener('abort', cancelAll, { once: true });
  return new TcpListener(bound, options, (stream) => {
    const admitted = parts.handshakes.admit(stream.peer.ip);
    if (admitted instanceof AdmittedHandshake)
      void serveSession(stream, parts, host, admitted, underWay);
    else {
      stream.reset();
      onRefused(admitted, stream.peer);
    }
  });
}

/** A flood is reported so often; a record for each connection would be one more way to flood us. */
const REFUSALS_REPORT_MS = 10_000;

function reportRefusals(log: Logger): (reason: HandshakeRefusal, peer: SocketAddress) => void {
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
  parts: HboneListenerParts,
  host: HboneHost,
  admitted: AdmittedHandshake,
  underWay: Roster<Canceller>,
): Promise<void> {
  const { peer } = stream;
  const { sessions } = host;
  const { canceller } = admitted;
  const inFlight = sessions.begin();
  let local = peer;
  try {
    local = stream.local;
    await host.known?.(); // it says of which trust domain we are
    underWay.add(canceller);
    if (host.gone.aborted) canceller.cancel(host.gone.reason);
    const tls = await acceptTls(stream, await contextOf(parts, host), { canceller });
    try {
      admitted.prove();
      const peerIdentity = identifyPeer(tls, parts, host);
      const peerChain = checkRevocation(tls, parts);
      serve(tls, { peer, peerIdentity, peerChain, local, tlsGroup: tls.group });
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
  } finally {
    underWay.delete(canceller);
  }

  function serve(tls: TlsSession, session: TunnelSession): void {
    const connection = serveTunnels(tls, parts.serverHttp2, {
      onTunnel(request) {
        // Behind all that has been read: a tunnel that is reset in the same breath costs next to nothing (attack H1).
        queueMicrotask(() => {
          if (!request.stream.closed) host.serve(request, session);
        });
      },
      onClose(error) {
        if (error?.h2Code === ENHANCE_YOUR_CALM && error.side === 'downstream') admitted.penalize();
        sessions.delete(open);
        admitted[Symbol.dispose]();
        inFlight[Symbol.dispose]();
      },
    });
    const open = sessions.add(connection, session.peerChain);
  }
}

/** The context in use; for a host that is new, the wait for its certificate, as long as for a handshake. */
async function contextOf(
  { contexts }: HboneListenerParts,
  { identity, gone }: HboneHost,
): Promise<TlsContext> {
  const current = contexts.current(identity());
  if (current !== undefined) return current;
  const patience = AbortSignal.any([AbortSignal.timeout(HANDSHAKE_TIMEOUT_MS), gone]);
  return await abortable(contexts.get(identity()), patience);
}

/** @throws {MeshError} ERR_PEER_IDENTITY, ERR_OPENSSL */
function identifyPeer(
  tls: TlsSession,
  { trustDomains }: HboneListenerParts,
  host: HboneHost,
): SpiffeId {
  const { trustDomain } = identityParts(host.identity());
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
  { revocation }: HboneListenerParts,
): readonly Buffer[] | undefined {
  if (revocation === undefined) return undefined;
  const chain = tls.peerChain();
  const error = revocation.check(chain, 'downstream');
  if (error === undefined) return chain;
  throw error;
}
