import { logConnectionRejected } from '../../mesh/proxy/access-log.ts';
import { TcpListener } from '../../net/tcp-listener.ts';
import type { TcpStream } from '../../net/tcp-stream.ts';
import { findLocalWorkload, unknownWorkload } from '../local-workload.ts';
import { acceptOptions, type DataParts, type PodContext } from '../parts.ts';
import type { HandedListener } from '../thread-calls.ts';
import { carryOutbound } from './carry.ts';

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
  await carryOutbound(parts, pod, {
    ...{ downstream, source, destination },
    onConnected: () => undefined,
    onRefused: () => {
      downstream.reset();
    },
  });
}
