import { parseIpAddress } from '../../../base/address.ts';
import { MeshError } from '../../../base/errors.ts';
import { checkClient } from '../../../mesh/hbone/peer.ts';
import type { HttpRule } from '../../../mesh/model/http-route.ts';
import { DEFAULT_TRUST_DOMAIN, type SpiffeId } from '../../../mesh/model/identity.ts';
import type { Workload } from '../../../mesh/model/workload.ts';
import {
  AdmittedHandshake,
  type HandshakeAdmission,
} from '../../../mesh/proxy/handshake-admission.ts';
import { LiveConnection, type LiveParts } from '../../../mesh/proxy/live-connection.ts';
import { RefusedError } from '../../../mesh/proxy/refused-error.ts';
import { connectHttp } from '../../../net/http/client.ts';
import { connectTcp } from '../../../net/tcp.ts';
import type { TcpStream } from '../../../net/tcp-stream.ts';
import { acceptTls } from '../../../net/tls.ts';
import type { TlsContext } from '../../../net/tls-context.ts';
import {
  CLIENT_CERTIFICATE,
  formatClientCertificate,
} from '../../../waypoint/client-certificate.ts';
import { serveHttpConnection, type HttpParts } from '../../../waypoint/http.ts';
import type { RequestParts } from '../../../waypoint/request-parts.ts';
import { PodBackend } from '../../../waypoint/upstream/pod-backend.ts';
import { UpstreamPool } from '../../../waypoint/upstream/pool.ts';
import { APP_PORT } from '../../ambient/application.ts';
import type { InboundPolicy } from './policy.ts';
import { makeSteps, type StepsOptions } from './steps.ts';

export type InboundParts = LiveParts &
  Readonly<{
    podName: string;
    self: Workload;
    context: TlsContext;
    handshakes: HandshakeAdmission;
    http: HttpParts;
    /** Aborts when the program ends. */
    gone: AbortSignal;
  }>;

const TRUST_DOMAINS = new Set([DEFAULT_TRUST_DOMAIN]);
/** Where Istio's sidecars have the application, too. */
const APPLICATION = { ip: parseIpAddress('127.0.0.1'), port: APP_PORT };
const RULE: HttpRule = {
  ...{ name: 'default', matches: [], filters: [], backends: [] },
  retry: { attempts: 0, conditions: [], statusCodes: [], backoffMs: 0 },
};

/** One connection to the application, from accept on; only mTLS is served. Never rejects: every end goes into its record. */
export async function serveInbound(stream: TcpStream, parts: InboundParts): Promise<void> {
  const remote = stream.peer;
  const admitted = parts.handshakes.admit(remote.ip);
  if (!(admitted instanceof AdmittedHandshake)) {
    stream.reset();
    return;
  }
  const live = new LiveConnection({
    ...{ parts, podUid: parts.podName, direction: 'inbound' },
    ends: { source: { address: remote }, destination: { address: remote, workload: parts.self } },
  });
  try {
    const local = stream.originalDestination();
    live.ends.destination.address = local;
    if (local.port !== APP_PORT) throw new RefusedError(400, 'nothing is served at this port');
    const signal = AbortSignal.any([live.signal, admitted.signal, parts.gone]);
    const session = await acceptTls(stream, parts.context, { signal });
    admitted.prove();
    const check = checkClient(session.peerCertificate, TRUST_DOMAINS);
    if (check.kind === 'refused') {
      session.reset();
      const message = `Cannot accept the peer: ${check.reason}`;
      throw new MeshError('ERR_PEER_IDENTITY', 'downstream', message);
    }
    const facts = { remote, local, identity: check.identity };
    const held = {
      hold: live.hold.bind(live),
      done(): void {
        live.done();
        admitted[Symbol.dispose]();
      },
    };
    serveHttpConnection(session, 'detect', { facts, live: held }, parts.http);
  } catch (error) {
    stream.reset();
    admitted[Symbol.dispose]();
    live.fail(error);
  }
}

/** By policy, to the application. @param identity our own. */
export function inboundSteps(
  options: Omit<StepsOptions, 'reporter'>,
  policy: InboundPolicy,
  { self, identity }: Readonly<{ self: Workload; identity: SpiffeId }>,
): RequestParts {
  const backend = new PodBackend(self, APP_PORT, 'HTTP/1.1');
  return makeSteps(
    { ...options, reporter: 'destination' },
    {
      authorize(request) {
        const refused = policy.authorize(request);
        const { head, downstream } = request;
        if (refused === undefined && downstream.identity !== undefined)
          head.list.push(
            CLIENT_CERTIFICATE,
            formatClientCertificate(identity, downstream.identity),
          );
        return refused;
      },
      findRule: () => RULE,
      chooseBackend: () => ({ kind: 'backend', backend }),
      onRequestEnd(request) {
        policy.onRequestEnd(request);
      },
    },
  );
}

/** Connections to the application, plain and inside of the pod. */
export function connectionsToApplication(gone: AbortSignal): UpstreamPool {
  return new UpstreamPool(async (_endpoint, _version, events, timeoutMs) => {
    const stream = await connectTcp(APPLICATION, { timeoutMs, signal: gone });
    return connectHttp(stream, 'http1', {}, events);
  });
}
