import { parseIpAddress, parseSocketAddress } from '../base/address.ts';
import { describeError, MeshError } from '../base/errors.ts';
import type { InboundExplanation, OutboundExplanation } from '../mesh/model/explain.ts';
import { parseSpiffeId } from '../mesh/model/identity.ts';
import type { Workload, WorkloadUid } from '../mesh/model/workload.ts';
import type { ProxyState } from '../mesh/proxy/state/store.ts';
import type { DemandKey } from '../mesh/proxy/state/answered.ts';
import { askInTime, describeNotTold } from './ask.ts';
import { STATE_WAIT_MS, type DataParts } from './parts.ts';
import { explainInbound, explainOutbound } from './explain.ts';
import type { ExplainRequest } from './thread-calls.ts';

type Answer = OutboundExplanation | InboundExplanation;

/** In whose name keys are asked for; of a pod's own there are then as many as its connections need. */
const EXPLAIN = { podUid: 'explain', side: 'outbound' } as const;

/**
 * Answers the explain page with the functions and the state that connections are decided with. On demand, what a
 * connection would ask the control plane for is asked for.
 */
export async function answerExplain(
  parts: Pick<DataParts, 'state' | 'network' | 'ownPorts' | 'demand'>,
  request: ExplainRequest,
): Promise<Answer | { error: string }> {
  const asked: string[] = [];
  const patience = AbortSignal.timeout(STATE_WAIT_MS);
  try {
    for (;;) {
      const answer = explainNow(parts, request);
      const { kind, key } = answer.outcome;
      if (kind !== 'ask' || key === undefined)
        return parts.demand === undefined ? answer : withAsked(answer, asked);
      asked.push(key);
      const told = await askInTime(parts, EXPLAIN, key as DemandKey, patience);
      if (!told) return withAsked(unanswered(answer, key as DemandKey), asked);
    }
  } catch (error) {
    return { error: describeError(error) };
  }
}

function withAsked<T extends Answer>(answer: T, asked: readonly string[]): T {
  const found = asked.length === 0 ? 'nothing that was not known' : asked.join(', ');
  return { ...answer, steps: [...answer.steps, { step: 'asked of the control plane', found }] };
}

/** What becomes of a connection then. */
function unanswered(answer: Answer, key: DemandKey): Answer {
  const reason = describeNotTold(key);
  return answer.direction === 'outbound'
    ? { ...answer, outcome: { kind: 'reject', reason } }
    : { ...answer, outcome: { kind: 'refuse', reason } };
}

function explainNow(
  { state, network, ownPorts }: Pick<DataParts, 'state' | 'network' | 'ownPorts'>,
  request: ExplainRequest,
): Answer {
  if (request.direction === 'outbound') {
    const source = known(state, request.source);
    return explainOutbound(state, source, parseSocketAddress(request.destination), {
      network,
      ownPorts,
    });
  }
  const workload = known(state, request.workload);
  const { peerIdentity, target } = request;
  const [firstIp] = workload.addresses;
  const localIp = workload.addresses.find((ip) => target.includes(ip)) ?? firstIp;
  if (localIp === undefined)
    throw new MeshError('ERR_UNKNOWN_WORKLOAD', 'local', `${workload.uid} has no address`);
  return explainInbound(state, {
    ...{ workload, localIp, network, ownPorts },
    peerIp: parseIpAddress(request.peerIp),
    ...(peerIdentity === undefined
      ? { target: { destination: parseSocketAddress(target) } }
      : { peerIdentity: parseSpiffeId(peerIdentity), target: { authority: target } }),
  });
}

function known(state: ProxyState, uid: WorkloadUid): Workload {
  const workload = state.workload(uid);
  if (workload !== undefined) return workload;
  const message = `Cannot explain for ${uid}: this proxy knows no such workload`;
  throw new MeshError('ERR_UNKNOWN_WORKLOAD', 'local', message);
}
