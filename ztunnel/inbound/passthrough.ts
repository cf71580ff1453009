import { acceptOptions } from '../../mesh/proxy/accept-options.ts';
import { logConnectionRejected } from '../../mesh/proxy/access-log.ts';
import { TcpListener } from '../../net/tcp-listener.ts';
import type { TcpStream } from '../../net/tcp-stream.ts';
import { LiveConnection } from '../../mesh/proxy/live-connection.ts';
import { askForRecord } from '../ask.ts';
import { holdDownstream } from '../hold-downstream.ts';
import { findLocalWorkload, unknownWorkload } from '../local-workload.ts';
import type { DataParts, PodContext } from '../parts.ts';
import type { HandedListener } from '../thread-calls.ts';
import type { Admission } from './admission.ts';
import { admitPlaintext } from './admit.ts';
import { awaitAdmission, recheckAdmission } from './await-admission.ts';
import { connectRedirected } from './connect.ts';

/** Accepts what the pod's rules redirect to 15006: connections from outside the mesh. */
export function listenPlaintext(
  parts: DataParts,
  pod: PodContext,
  handed: HandedListener,
): TcpListener {
  return new TcpListener(handed, acceptOptions(parts), (stream) => {
    void servePlaintext(stream, parts, pod, handed.transparent);
  });
}

/** One plaintext connection, from accept to relay: admitted by the same rules, without an identity. Never rejects. */
async function servePlaintext(
  downstream: TcpStream,
  parts: DataParts,
  pod: PodContext,
  transparent: boolean,
): Promise<void> {
  const { peer } = downstream;
  const destination = downstream.originalDestination();
  const found = await findLocalWorkload(parts, pod);
  if (found === undefined) {
    downstream.reset();
    logConnectionRejected(parts.accessLog, {
      direction: 'inbound',
      sourceAddress: peer,
      destinationAddress: destination,
      error: unknownWorkload(pod),
    });
    return;
  }
  // The address says who it probably is, for the record; it proves nothing and decides nothing.
  const source = parts.state.workloadAt(parts.network, peer.ip);
  const decide = (): Admission => {
    const workload = parts.state.localWorkload(pod) ?? found;
    const { state, network, ownPorts } = parts;
    return admitPlaintext(state, { workload, destination, peerIp: peer.ip, ownPorts }, network);
  };
  const live: LiveConnection = new LiveConnection({
    ...{ parts, podUid: pod.uid, direction: 'inbound' },
    ends: {
      source: { address: peer, workload: source },
      destination: { address: destination, workload: found },
    },
    check: () => recheckAdmission(parts, live, decide),
  });
  holdDownstream(downstream, (error) => {
    live.cut(error);
  });
  try {
    const { connectTo, bindTo } = await awaitAdmission(parts, live, decide);
    if (parts.demand !== undefined) {
      await askForRecord(parts, pod.uid, { peer }, live.signal);
      live.ends.source.workload = parts.state.workloadAt(parts.network, peer.ip);
    }
    const dial = { connectTo, ...(bindTo && { bindTo }), peerPort: peer.port, signal: live.signal };
    const upstream = await connectRedirected(parts, pod, dial, transparent);
    live.relay(downstream, upstream);
  } catch (error) {
    downstream.reset();
    live.fail(error);
  }
}
