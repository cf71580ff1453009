import type { TunnelRequest } from '../mesh/hbone/server.ts';
import { refuseTunnel } from '../mesh/hbone/server.ts';
import type { Workload } from '../mesh/model/workload.ts';
import { listenHbone, type TunnelSession } from '../mesh/proxy/hbone-listener.ts';
import type { InboundSessions } from '../mesh/proxy/inbound-sessions.ts';
import { LiveConnection } from '../mesh/proxy/live-connection.ts';
import { RefusedError, refusalStatus } from '../mesh/proxy/refused-error.ts';
import type { TcpListener } from '../net/tcp-listener.ts';
import { admit, type Admission, type Target } from './admit.ts';
import type { WaypointParts } from './parts.ts';
import { serveConnection } from './serve-connection.ts';

/**
 * A client's proxy may have been told sooner than we of what uses this waypoint: so long we wait to be told as well.
 * Pushes to all proxies are some milliseconds apart.
 */
const STATE_WAIT_MS = 1_000;

/** Accepts tunnels on 15008. */
export function listenForTunnels(
  parts: WaypointParts,
  sessions: InboundSessions,
  fd: number,
): TcpListener {
  const { gone, self } = parts;
  const host = {
    ...{ gone, sessions, identity: () => self.identity },
    serve: (request: TunnelRequest, session: TunnelSession) => {
      void serveTunnel(request, session, parts);
    },
  };
  return listenHbone(parts, host, { fd, transparent: false });
}

/** One tunnel, from its request on. Never rejects: every end goes into its record. */
export async function serveTunnel(
  request: TunnelRequest,
  session: TunnelSession,
  parts: WaypointParts,
): Promise<void> {
  const { peer: address, peerIdentity: identity, local, tlsGroup, peerChain } = session;
  const { method, authority } = request;
  const workload = parts.state.workloadAt(parts.network, address.ip);
  const live = new LiveConnection({
    ...{ parts, podUid: parts.self.name, direction: 'inbound', reporter: 'waypoint' },
    ends: {
      source: { address, workload, identity },
      destination: { address: local, hboneTarget: authority },
      ...{ tlsGroup, peerChain },
    },
    traceparent: request.traceparent,
  });
  request.stream.setHandler({
    onError(error) {
      live.cut(error);
    },
  });
  try {
    const { target, self } = await findTarget(parts, { method, authority }, live.signal);
    if (target.kind === 'service') live.ends.service = target.service;
    live.ends.originalDestination = live.ends.service?.hostname ?? authority;
    const client = { address, identity, workload };
    await serveConnection({ request, target, client, self, live }, parts);
  } catch (error) {
    if (request.stream.answered) request.stream.reset();
    else refuseTunnel(request, refusalStatus(live.signal, error));
    live.fail(error);
  }
}

/** @throws {RefusedError} */
async function findTarget(
  parts: WaypointParts,
  request: Readonly<{ method: string; authority: string }>,
  signal: AbortSignal,
): Promise<Readonly<{ target: Target; self: Workload }>> {
  const { state, network, waiters } = parts;
  let self: Workload | undefined;
  const decide = (): Admission => {
    self = state.localWorkload(parts.self);
    const admission = admit(state, { ...request, self, network });
    if (admission.kind === 'refuse' || isReady(admission.target, parts)) return admission;
    const reason = 'the policies of its target have not arrived';
    return { kind: 'refuse', status: 503, reason, mayChange: true };
  };
  let admission = decide();
  if (admission.kind === 'refuse' && admission.mayChange) {
    const patience = AbortSignal.any([AbortSignal.timeout(STATE_WAIT_MS), signal]);
    const look = (): Admission | undefined => {
      const now = decide();
      return now.kind === 'admit' ? now : undefined;
    };
    admission = (await waiters.until(look, patience)) ?? decide();
    signal.throwIfAborted();
  }
  if (admission.kind === 'refuse') throw new RefusedError(admission.status, admission.reason);
  if (self === undefined) throw new RefusedError(503, 'this waypoint is not known');
  return { target: admission.target, self };
}

/** Policies are sent apart from what they are attached to, and later. */
function isReady(target: Target, { security }: WaypointParts): boolean {
  return security.isReady(target.kind === 'service' ? target.service : undefined);
}
