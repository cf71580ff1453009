import { formatSocketAddress, type IpAddress, type SocketAddress } from '../base/address.ts';
import { formatAuthority } from '../mesh/hbone/authority.ts';
import { policyKey, type AuthorizationPolicy } from '../mesh/model/authorization.ts';
import { ruleHolds, type PolicyConnection } from '../mesh/model/authorize.ts';
import type {
  ExplainStep,
  InboundExplanation,
  OutboundExplanation,
  PolicyExplanation,
} from '../mesh/model/explain.ts';
import type { OwnPorts } from '../mesh/model/ports.ts';
import type { SpiffeId } from '../mesh/model/identity.ts';
import { nearestAllow } from '../mesh/model/nearest-allow.ts';
import { workloadIdentity, type Workload, type WorkloadUid } from '../mesh/model/workload.ts';
import type { ProxyState } from '../mesh/proxy/state/store.ts';
import { keyOfService } from '../mesh/proxy/state/vips.ts';
import type { Admission } from './inbound/admission.ts';
import { admitPlaintext, admitTunnel } from './inbound/admit.ts';
import { describeRoute, type OutboundRoute } from './outbound/outbound-route.ts';
import { selectRoute } from './outbound/route.ts';

const NOTHING_TRIED: ReadonlySet<WorkloadUid> = new Set();

/** What would become of a connection that `source` opens now; of equal endpoints the first stands for all. */
export function explainOutbound(
  state: ProxyState,
  source: Workload,
  destination: SocketAddress,
  options: Readonly<{
    network: string;
    ownPorts: OwnPorts;
    /** Absent: the workload's first address. */
    sourceIp?: IpAddress;
    resolved?: ReadonlyMap<string, readonly IpAddress[]>;
  }>,
): OutboundExplanation {
  const { network, ownPorts, resolved = new Map<string, readonly IpAddress[]>() } = options;
  const sourceIp = options.sourceIp ?? source.addresses[0] ?? destination.ip;
  const steps: ExplainStep[] = [];
  const route = selectRoute(
    state,
    {
      ...{ source, sourceIp, destination, network, ownPorts },
      ...{ tried: NOTHING_TRIED, resolved, random: () => 0 },
    },
    steps,
  );
  return {
    direction: 'outbound',
    source: { workload: source.uid, ip: sourceIp, identity: workloadIdentity(source) },
    destination: formatSocketAddress(destination),
    steps,
    outcome: describeOutcome(route),
  };
}

function describeOutcome(route: OutboundRoute): OutboundExplanation['outcome'] {
  const workload = 'workload' in route ? route.workload : undefined;
  const service = 'service' in route ? route.service : undefined;
  return {
    kind: route.kind,
    reason: describeRoute(route),
    ...(route.kind === 'ask' && { key: route.key }),
    ...('connectTo' in route && { connectTo: formatSocketAddress(route.connectTo) }),
    ...('authority' in route && {
      authority: formatAuthority(route.authority),
      peers: route.peers,
    }),
    ...(route.kind === 'hbone' && { via: route.via }),
    ...(workload && { workload: workload.uid, node: workload.node }),
    ...(service && { service: keyOfService(service) }),
  };
}

/** A connection as it would reach a pod. Without an identity it is plaintext, and `target` an address. */
export type InboundQuestion = Readonly<{
  workload: Workload;
  /** The address of the pod that it comes to. */
  localIp: IpAddress;
  peerIp: IpAddress;
  peerIdentity?: SpiffeId;
  target: Readonly<{ authority: string } | { destination: SocketAddress }>;
  network: string;
  ownPorts: OwnPorts;
}>;

/** What would become of a connection that reaches `question.workload` now, and which policy says so. */
export function explainInbound(state: ProxyState, question: InboundQuestion): InboundExplanation {
  const { workload, localIp, peerIp, peerIdentity, target, network } = question;
  const steps: ExplainStep[] = [];
  const destination = 'destination' in target ? target.destination : undefined;
  const authority = 'authority' in target ? target.authority : undefined;
  const plaintext = peerIdentity === undefined;
  const text = authority ?? (destination && formatSocketAddress(destination)) ?? '';
  const admission = plaintext
    ? explainPlaintext(state, question, steps)
    : admitTunnel(
        state,
        {
          method: 'CONNECT',
          authority: text,
          workload,
          localIp,
          peerIp,
          peerIdentity,
          network,
          ownPorts: question.ownPorts,
          tunnelOnLoopback: true,
        },
        steps,
      );
  const seen = 'destination' in admission ? admission.destination : undefined;
  const policies = seen === undefined ? [] : state.policiesFor(workload).policies;
  const connection: PolicyConnection = {
    sourceIp: peerIp,
    ...(peerIdentity !== undefined && { sourceIdentity: peerIdentity }),
    destinationIp: seen?.ip ?? localIp,
    destinationPort: seen?.port ?? 0,
  };
  const isDenied = admission.kind === 'refuse' && admission.decision?.kind === 'deny';
  const nearest = isDenied ? nearestAllow(policies, connection) : undefined;
  return {
    direction: 'inbound',
    workload: workload.uid,
    peer: { ip: peerIp, ...(peerIdentity !== undefined && { identity: peerIdentity }) },
    target: text,
    plaintext,
    steps,
    policies: policies.map((policy) => explainPolicy(policy, connection)),
    outcome: describeAdmission(admission, plaintext),
    ...(nearest && { nearestAllow: nearest }),
  };
}

function explainPlaintext(
  state: ProxyState,
  { workload, peerIp, target, network, ownPorts }: InboundQuestion,
  steps: ExplainStep[],
): Admission {
  if ('authority' in target)
    return { kind: 'refuse', status: 400, reason: 'a tunnel is not opened without an identity' };
  return admitPlaintext(
    state,
    { workload, destination: target.destination, peerIp, ownPorts },
    network,
    steps,
  );
}

function describeAdmission(
  admission: Admission,
  plaintext: boolean,
): InboundExplanation['outcome'] {
  if (admission.kind === 'wait') {
    const reason = `policies that the workload names have not arrived: ${admission.policies.join(', ')}`;
    return { kind: 'wait', reason };
  }
  if (admission.kind === 'ask') {
    const { key } = admission;
    return { kind: 'ask', reason: `the control plane is to be asked for ${key} first`, key };
  }
  const by = admission.decision?.by;
  const hit = by && { policy: by.policy, rule: by.rule };
  if (admission.kind === 'admit') {
    const connectTo = formatSocketAddress(admission.connectTo);
    return { kind: 'admit', reason: admission.decision.reason, connectTo, ...hit };
  }
  const { reason, status } = admission;
  return { kind: 'refuse', reason, ...(!plaintext && { status }), ...hit };
}

function explainPolicy(
  policy: AuthorizationPolicy,
  connection: PolicyConnection,
): PolicyExplanation {
  const matched = policy.rules.findIndex((rule) => ruleHolds(rule, connection));
  return {
    policy: policyKey(policy.namespace, policy.name),
    scope: policy.scope,
    action: policy.action,
    dryRun: policy.dryRun,
    ...(matched >= 0 && { matchedRule: matched }),
  };
}
