import type { SpiffeId } from '../../mesh/model/identity.ts';
import { workloadIdentity } from '../../mesh/model/workload.ts';
import { logConnectionRejected } from '../../mesh/proxy/access-log.ts';
import { TcpListener } from '../../net/tcp-listener.ts';
import type { TcpStream } from '../../net/tcp-stream.ts';
import { LiveConnection } from '../live-connection.ts';
import { holdDownstream } from '../hold-downstream.ts';
import { findLocalWorkload, unknownWorkload } from '../local-workload.ts';
import { acceptOptions, type DataParts, type PodContext } from '../parts.ts';
import type { HandedListener } from '../thread-calls.ts';
import { connectFirst } from './upstream.ts';

/** Accepts what the pod's rules redirect to 15001. */
export function listenOutbound(
  parts: DataParts,
  pod: PodContext,
  handed: HandedListener,
): TcpListener {
  return new TcpListener(handed, acceptOptions(parts), (stream) => {
    void serveOutbound(stream, parts, pod);
  });
}

/** One captured connection, from accept to relay. Never rejects: every end goes into its record. */
export async function serveOutbound(
  downstream: TcpStream,
  parts: DataParts,
  pod: PodContext,
): Promise<void> {
  const { peer } = downstream;
  const destination = downstream.originalDestination();
  const source = await findLocalWorkload(parts, pod);
  if (source === undefined) {
    downstream.reset();
    logConnectionRejected(parts.accessLog, {
      direction: 'outbound',
      sourceAddress: peer,
      destinationAddress: destination,
      error: unknownWorkload(pod),
    });
    return;
  }
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
    const upstream = await connectFirst(parts, pod, source, { peer, destination }, live);
    live.relay(downstream, upstream);
  } catch (error) {
    downstream.reset(); // the client must not mistake a failure for an end
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
