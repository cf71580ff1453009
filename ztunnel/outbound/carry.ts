import type { SocketAddress } from '../../base/address.ts';
import type { SpiffeId } from '../../mesh/model/identity.ts';
import { workloadIdentity, type Workload } from '../../mesh/model/workload.ts';
import type { TcpStream } from '../../net/tcp-stream.ts';
import { holdDownstream } from '../hold-downstream.ts';
import { LiveConnection } from '../../mesh/proxy/live-connection.ts';
import type { DataParts, PodContext } from '../parts.ts';
import { connectUpstream } from './upstream.ts';

/** A connection of the pod, however it came to us. */
export type OutboundCall = Readonly<{
  downstream: TcpStream;
  source: Workload;
  destination: SocketAddress;
  /** Tells the client that its connection stands. @throws {MeshError} when that cannot be told. */
  onConnected: () => void;
  /** Tells the client that there will be none: it must not mistake a failure for an end. */
  onRefused: (error: unknown) => void;
}>;

/** From the moment that a destination is known to the relay. Never rejects: every end goes into the record. */
export async function carryOutbound(
  parts: DataParts,
  pod: PodContext,
  call: OutboundCall,
): Promise<void> {
  const { downstream, source, destination } = call;
  const { peer } = downstream;
  const live: LiveConnection = new LiveConnection({
    ...{ parts, podUid: pod.uid, direction: 'outbound' },
    ends: {
      source: { address: peer, workload: source },
      destination: { address: destination },
      originalDestination: destination,
    },
    check: () => checkSource(parts, pod, live.ends.source.identity),
  });
  holdDownstream(downstream, (error) => {
    live.cut(error);
  });
  try {
    const upstream = await connectUpstream(parts, pod, source, { peer, destination }, live);
    try {
      live.signal.throwIfAborted();
      call.onConnected();
    } catch (error) {
      upstream.reset();
      throw error;
    }
    live.relay(downstream, upstream);
  } catch (error) {
    call.onRefused(live.signal.aborted ? live.signal.reason : error);
    live.fail(error);
  }
}

/** The identity that a connection was opened with must still be the pod's; one that goes in plain text has none. */
function checkSource(
  parts: DataParts,
  pod: PodContext,
  openedAs: SpiffeId | undefined,
): string | undefined {
  const workload = parts.state.localWorkload(pod);
  // A pod that is being deleted keeps what it has open.
  if (workload === undefined || openedAs === undefined) return undefined;
  return workloadIdentity(workload) === openedAs
    ? undefined
    : `the identity of ${workload.uid} has changed`;
}
