import type { SocketAddress } from '../../base/address.ts';
import { MeshError } from '../../base/errors.ts';
import { makeBaggage, parseForwardedHost } from '../../mesh/hbone/headers.ts';
import { acceptTunnel, refuseTunnel, type TunnelRequest } from '../../mesh/hbone/server.ts';
import type { Service } from '../../mesh/model/service.ts';
import type { Workload, WorkloadDescription } from '../../mesh/model/workload.ts';
import type { TunnelSession } from '../../mesh/proxy/hbone-listener.ts';
import { LiveConnection } from '../../mesh/proxy/live-connection.ts';
import { refusalStatus } from '../../mesh/proxy/refused-error.ts';
import { keyOfService } from '../../mesh/proxy/state/vips.ts';
import { HEADROOM } from '../../net/byte-stream.ts';
import type { TcpStream } from '../../net/tcp-stream.ts';
import { askForRecord } from '../ask.ts';
import { findLocalWorkload } from '../local-workload.ts';
import type { DataParts, PodContext } from '../parts.ts';
import type { Admission, TunnelRequest as AdmissionRequest } from './admission.ts';
import { admitTunnel } from './admit.ts';
import { awaitAdmission, recheckAdmission, type Admitted } from './await-admission.ts';
import { connectLocal } from './connect.ts';
import { makeProxyHeader } from './proxy-header.ts';

/** What a tunnel comes to. */
export type TunnelHost = Readonly<{
  parts: DataParts;
  pod: PodContext;
  /** Whether the client's address can be kept towards the app. */
  transparent: boolean;
}>;

/** One tunnel, from its request to relay. Never rejects. */
export async function serveTunnel(
  request: TunnelRequest,
  session: TunnelSession,
  { parts, pod, transparent }: TunnelHost,
): Promise<void> {
  const { peer, peerIdentity, local } = session;
  // Of the request, only this is kept for as long as the tunnel lives; what it says of its source has no part in it.
  const { method, authority } = request;
  let workload = parts.state.localWorkload(pod);
  const decide = (): Admission => {
    workload = parts.state.localWorkload(pod) ?? workload;
    const asked = admissionRequest({ method, authority }, session, parts, workload);
    return restrictPort(admitTunnel(parts.state, asked), pod);
  };
  // Registered before the first decision, so that a change of policy in between is not missed.
  const live: LiveConnection = new LiveConnection({
    ...{ parts, podUid: pod.uid, direction: 'inbound' },
    ends: {
      source: {
        address: peer,
        workload: describeSource(parts, request, peer),
        identity: peerIdentity,
      },
      destination: {
        address: local,
        hboneTarget: authority,
        workload,
        identity: pod.identity,
      },
      tlsGroup: session.tlsGroup,
      peerChain: session.peerChain,
    },
    traceparent: request.traceparent,
    check: () => recheckAdmission(parts, live, decide),
  });
  request.stream.setHandler({
    onError(error) {
      live.cut(error);
    },
  });
  try {
    workload ??= await findLocalWorkload(parts, pod, live.signal);
    live.ends.destination.workload = workload;
    const admitted = await awaitAdmission(parts, live, decide);
    if (parts.demand !== undefined) {
      const about = { peer, workload, host: hintedHost(request) };
      await askForRecord(parts, pod.uid, about, live.signal);
      live.ends.source.workload = parts.state.workloadAt(parts.network, peer.ip);
    }
    live.ends.service = admitted.service ?? hintedService(parts, request, workload);
    live.ends.originalDestination = live.ends.service?.hostname;
    const upstream = await connectLocal(parts, pod, dialOf(admitted, live), transparent);
    try {
      sendProxyHeader(upstream, admitted, peer);
      answer(request, parts, workload);
    } catch (error) {
      upstream.reset();
      throw error;
    }
    request.stream.setHandler({}); // from here on the relay hears of it
    live.relay(request.stream, upstream);
  } catch (error) {
    refuseTunnel(request, refusalStatus(live.signal, error));
    live.fail(error);
  }
}

/**
 * Who the source is, for telemetry alone. Its address tells, unless it is in another network: then the address is that of
 * a gateway, and there is nothing but what its proxy says of it.
 */
function describeSource(
  parts: DataParts,
  { forwardedNetwork, baggage }: TunnelRequest,
  peer: SocketAddress,
): WorkloadDescription | undefined {
  const { network, state, responseBaggage, peerDescriptions } = parts;
  if (forwardedNetwork === undefined || isSameNetwork(forwardedNetwork, network))
    return state.workloadAt(network, peer.ip);
  return responseBaggage ? peerDescriptions.describe(baggage) : undefined;
}

function isSameNetwork(one: string, other: string): boolean {
  return one === other || one.toLowerCase() === other.toLowerCase();
}

/** A pod that is served for one purpose gets nothing else through. */
function restrictPort(admission: Admission, { onlyPort }: PodContext): Admission {
  if (admission.kind !== 'admit' || onlyPort === undefined) return admission;
  const { port } = admission.connectTo;
  if (port === onlyPort) return admission;
  return { kind: 'refuse', status: 400, reason: `port ${port} is not served by tunnels here` };
}

function admissionRequest(
  request: Pick<TunnelRequest, 'method' | 'authority'>,
  session: TunnelSession,
  parts: DataParts,
  workload: Workload | undefined,
): AdmissionRequest {
  return {
    ...request,
    workload,
    localIp: session.local.ip,
    peerIp: session.peer.ip,
    peerIdentity: session.peerIdentity,
    network: parts.network,
    ownPorts: parts.ownPorts,
    tunnelOnLoopback: parts.tunnelOnLoopback,
  };
}

function dialOf(
  { connectTo, bindTo }: Admitted,
  { signal }: LiveConnection,
): Parameters<typeof connectLocal>[2] {
  return { connectTo, ...(bindTo && { bindTo }), signal };
}

/** A fresh connection takes the few bytes of a header at once. */
function sendProxyHeader(upstream: TcpStream, admitted: Admitted, peer: SocketAddress): void {
  const { proxyHeader } = admitted;
  if (proxyHeader === undefined) return;
  const { bytes, length } = makeProxyHeader(peer, proxyHeader);
  if (upstream.write(bytes, HEADROOM, length) === length) return;
  throw new MeshError('ERR_CONNECT', 'upstream', 'Cannot send the PROXY header: not accepted');
}

function answer(request: TunnelRequest, parts: DataParts, workload: Workload | undefined): void {
  const baggage = parts.responseBaggage && workload ? makeBaggage(workload) : '';
  if (acceptTunnel(request, baggage)) return;
  throw new MeshError(
    'ERR_STREAM_RESET',
    'downstream',
    'Cannot answer a tunnel: its client has gone',
  );
}

function hintedHost({ forwarded }: TunnelRequest): string | undefined {
  return forwarded === undefined ? undefined : parseForwardedHost(forwarded);
}

/** What the client says it was called for. A hint for telemetry; only a service that the pod serves is believed. */
function hintedService(
  parts: DataParts,
  request: TunnelRequest,
  workload: Workload | undefined,
): Service | undefined {
  const host = hintedHost(request);
  if (host === undefined || workload === undefined) return undefined;
  return parts.state
    .servicesByHost(host)
    .find((service) => workload.services.has(keyOfService(service)));
}
