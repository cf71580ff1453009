import { formatSocketAddress, type SocketAddress } from '../../base/address.ts';
import { MeshError } from '../../base/errors.ts';
import { acceptOptions } from '../../mesh/proxy/accept-options.ts';
import { logConnectionRejected } from '../../mesh/proxy/access-log.ts';
import { TcpListener } from '../../net/tcp-listener.ts';
import type { TcpStream } from '../../net/tcp-stream.ts';
import { findLocalWorkload, unknownWorkload } from '../local-workload.ts';
import type { DataParts, PodContext } from '../parts.ts';
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
  const reject = (error: MeshError): void => {
    downstream.reset();
    logConnectionRejected(parts.accessLog, {
      ...{ direction: 'outbound', sourceAddress: peer, destinationAddress: destination, error },
    });
  };
  if (isSameAddress(destination, downstream.local)) {
    // Nobody redirected it, so it would lead back to here, by whatever address of the pod.
    const where = formatSocketAddress(destination);
    const message = `Cannot connect to ${where}: attempted recursive call to ourselves`;
    reject(new MeshError('ERR_OWN_PORT', 'downstream', message));
    return;
  }
  const source = await findLocalWorkload(parts, pod);
  if (source === undefined) {
    reject(unknownWorkload(pod));
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

function isSameAddress(a: SocketAddress, b: SocketAddress): boolean {
  return a.ip === b.ip && a.port === b.port;
}
