import { parseIpAddress, parseSocketAddress } from '../base/address.ts';
import { describeError, MeshError } from '../base/errors.ts';
import type { InboundExplanation, OutboundExplanation } from '../mesh/model/explain.ts';
import { parseSpiffeId } from '../mesh/model/identity.ts';
import type { OwnPorts } from '../mesh/model/ports.ts';
import type { Workload, WorkloadUid } from '../mesh/model/workload.ts';
import type { ProxyState } from '../mesh/proxy/state/store.ts';
import { explainInbound, explainOutbound } from './explain.ts';
import type { ExplainRequest } from './thread-calls.ts';

/** Answers the explain page with the functions and the state that connections are decided with. */
export function answerExplain(
  state: ProxyState,
  place: Readonly<{ network: string; ownPorts: OwnPorts }>,
  request: ExplainRequest,
): OutboundExplanation | InboundExplanation | { error: string } {
  try {
    if (request.direction === 'outbound') {
      const source = known(state, request.source);
      return explainOutbound(state, source, parseSocketAddress(request.destination), place);
    }
    const workload = known(state, request.workload);
    const { peerIdentity, target } = request;
    const [firstIp] = workload.addresses;
    const localIp = workload.addresses.find((ip) => target.includes(ip)) ?? firstIp;
    if (localIp === undefined) return { error: `${workload.uid} has no address` };
    return explainInbound(state, {
      ...{ workload, localIp, ...place },
      peerIp: parseIpAddress(request.peerIp),
      ...(peerIdentity === undefined
        ? { target: { destination: parseSocketAddress(target) } }
        : { peerIdentity: parseSpiffeId(peerIdentity), target: { authority: target } }),
    });
  } catch (error) {
    return { error: describeError(error) };
  }
}

function known(state: ProxyState, uid: WorkloadUid): Workload {
  const workload = state.workload(uid);
  if (workload !== undefined) return workload;
  const message = `Cannot explain for ${uid}: this proxy knows no such workload`;
  throw new MeshError('ERR_UNKNOWN_WORKLOAD', 'local', message);
}
