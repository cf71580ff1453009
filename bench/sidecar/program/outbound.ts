import { MeshError } from '../../../base/errors.ts';
import { checkServer } from '../../../mesh/hbone/peer.ts';
import type { SpiffeId } from '../../../mesh/model/identity.ts';
import type { Workload } from '../../../mesh/model/workload.ts';
import { LiveConnection, type LiveParts } from '../../../mesh/proxy/live-connection.ts';
import { RefusedError } from '../../../mesh/proxy/refused-error.ts';
import { connectHttp } from '../../../net/http/client.ts';
import { splitAuthority } from '../../../net/http1/authority.ts';
import { connectTcp } from '../../../net/tcp.ts';
import type { TcpStream } from '../../../net/tcp-stream.ts';
import { connectTls } from '../../../net/tls.ts';
import type { TlsContext } from '../../../net/tls-context.ts';
import { serveHttpConnection, type HttpParts } from '../../../waypoint/http.ts';
import type { RequestParts } from '../../../waypoint/request-parts.ts';
import { UpstreamPool } from '../../../waypoint/upstream/pool.ts';
import { SERVICE_PORT } from '../../ambient/application.ts';
import { INBOUND_PORT, OUTBOUND_PORT, SIDECAR_MARK } from '../capture.ts';
import { makeSteps, type StepsOptions } from './steps.ts';
import type { Targets } from './targets.ts';

export type OutboundParts = LiveParts &
  Readonly<{
    podName: string;
    self: Workload;
    identity: SpiffeId;
    http: HttpParts;
    /** Aborts when the program ends. */
    gone: AbortSignal;
  }>;

/** One connection that the application has dialled, from accept on. Never rejects: every end goes into its record. */
export async function serveOutbound(stream: TcpStream, parts: OutboundParts): Promise<void> {
  const { self: workload, identity, podName: podUid } = parts;
  const remote = stream.peer;
  const live = new LiveConnection({
    ...{ parts, podUid, direction: 'outbound' },
    ends: { source: { address: remote, workload, identity }, destination: { address: remote } },
  });
  try {
    const local = stream.originalDestination();
    live.ends.destination.address = local;
    if (local.port === SERVICE_PORT) {
      const facts = { remote, local, identity, workload };
      serveHttpConnection(stream, 'detect', { facts, live }, parts.http);
      return;
    }
    if (local.port === OUTBOUND_PORT || local.port === INBOUND_PORT)
      throw new RefusedError(400, 'nobody else may dial this port');
    const signal = AbortSignal.any([live.signal, parts.gone]);
    live.relay(stream, await connectTcp(local, { mark: SIDECAR_MARK, signal }));
  } catch (error) {
    stream.reset();
    live.fail(error);
  }
}

/** By the host that a request names, to one of the service's pods; whether it may, the pod's own sidecar decides. */
export function outboundSteps(
  options: Omit<StepsOptions, 'reporter'>,
  targets: Targets,
): RequestParts {
  return makeSteps(
    { ...options, reporter: 'source' },
    {
      authorize: () => undefined,
      findRule: ({ head }) => targets.find(splitAuthority(head.authority)[0]),
      chooseBackend: (_request, rule) => ({ kind: 'backend', backend: targets.backend(rule) }),
    },
  );
}

/** Connections to other pods' sidecars, each of which has to prove that it is of the account that its service has. */
export function connectionsToPeers(context: TlsContext, gone: AbortSignal): UpstreamPool {
  return new UpstreamPool(async (endpoint, _version, events, timeoutMs) => {
    const options = { timeoutMs, signal: gone };
    const below = await connectTcp(endpoint.address, { ...options, mark: SIDECAR_MARK });
    const serverName = `outbound_.${SERVICE_PORT}_._.${endpoint.service?.hostname ?? ''}`;
    const session = await connectTls(below, context, { ...options, serverName });
    const peers = endpoint.identity === undefined ? [] : [endpoint.identity];
    const check = checkServer(session.peerCertificate, peers);
    if (check.kind === 'refused') {
      session.reset();
      const message = `Cannot accept the peer: ${check.reason}`;
      throw new MeshError('ERR_PEER_IDENTITY', 'upstream', message);
    }
    return connectHttp(session, 'http1', {}, events);
  });
}
