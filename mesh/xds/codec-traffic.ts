import { describeError, MeshError } from '../../base/errors.ts';
import type {
  BalancerPolicy,
  HashSource,
  LocalityPolicy,
  OutlierPolicy,
  ServiceTrafficPolicy,
  TrafficPolicy,
  UpstreamTls,
} from '../model/traffic-policy.ts';
import {
  ServiceTrafficPolicy as ServiceTrafficPolicyMessage,
  type Balancer as BalancerMessage,
  type HashSource as HashSourceMessage,
  type Locality as LocalityMessage,
  type Outliers as OutliersMessage,
  type PortTrafficPolicy as PortTrafficPolicyMessage,
  type TrafficPolicy as TrafficPolicyMessage,
  type UpstreamTls as UpstreamTlsMessage,
} from '../proto/gen/waypoint-traffic.ts';
import { decodePort, decodeServiceKey, resourceError } from './codec-fields.ts';
import {
  decodeAmount,
  decodeName,
  decodeUnique,
  decodeWholly,
  required,
  sorted,
} from './codec-values.ts';

export const SERVICE_TRAFFIC_TYPE =
  'type.googleapis.com/halo.waypoint.v1alpha1.ServiceTrafficPolicy';

const SIMPLE_BALANCERS = ['round-robin', 'least-request', 'random', 'passthrough'] as const;

/**
 * Decodes what a waypoint is told of how to use a service's endpoints.
 *
 * @throws {MeshError} ERR_XDS_RESOURCE with the service's name and what was not understood; ERR_PROTO for what is no message.
 */
export function decodeServiceTraffic(bytes: Uint8Array): ServiceTrafficPolicy {
  const what = 'a ServiceTrafficPolicy resource';
  const message = decodeWholly(ServiceTrafficPolicyMessage, bytes, what);
  try {
    return {
      service: decodeServiceKey(message.service),
      policy: decodePolicy(message.policy),
      ports: decodePorts(message.ports),
      subsets: message.subsets.map(({ name, labels, policy, ports }) => ({
        ...{ name, labels },
        ...{ policy: decodePolicy(policy), ports: decodePorts(ports) },
      })),
    };
  } catch (error) {
    if (!(error instanceof MeshError)) throw error;
    const name = JSON.stringify(message.service.slice(0, 512));
    throw resourceError(`Cannot use the traffic policy of ${name}: ${describeError(error)}`);
  }
}

/** The bytes of a service's traffic policy; equal policies give equal bytes. */
export function encodeServiceTraffic(traffic: ServiceTrafficPolicy): Uint8Array {
  const { service, policy, ports, subsets } = traffic;
  return ServiceTrafficPolicyMessage.encode({
    ...{ service, policy: encodePolicy(policy), ports: encodePorts(ports) },
    subsets: subsets.map((subset) => ({
      name: subset.name,
      labels: new Map(sorted(subset.labels)),
      policy: encodePolicy(subset.policy),
      ports: encodePorts(subset.ports),
    })),
  }).finish();
}

function decodePorts(
  list: readonly PortTrafficPolicyMessage[],
): ReadonlyMap<number, TrafficPolicy> {
  return decodeUnique(
    list,
    ({ port, policy }) =>
      [decodePort(port, 'port', { zero: false }), decodePolicy(policy)] as const,
    'port',
  );
}

function encodePorts(ports: ReadonlyMap<number, TrafficPolicy>): PortTrafficPolicyMessage[] {
  return sorted(ports).map(([port, policy]) => ({ port, policy: encodePolicy(policy) }));
}

function decodePolicy(given: TrafficPolicyMessage | undefined): TrafficPolicy {
  const message = required(given, 'policy');
  const { problem, warmup, locality, outliers, circuitBreaker, http2, tls, retryBudget } = message;
  return {
    ...(problem === undefined ? {} : { problem }),
    balancer: decodeBalancer(required(message.balancer, 'balancer')),
    ...(warmup === undefined ? {} : { warmup: decodeAmounts(warmup, 'warmup') }),
    ...(locality === undefined ? {} : { locality: decodeLocality(locality) }),
    ...(outliers === undefined ? {} : { outliers: decodeOutliers(outliers) }),
    ...(circuitBreaker === undefined
      ? {}
      : { circuitBreaker: decodeAmounts(circuitBreaker, 'circuit_breaker') }),
    connectTimeoutMs: decodeAmount(message.connectTimeoutMs, 'connect_timeout_ms'),
    idleTimeoutMs: decodeAmount(message.idleTimeoutMs, 'idle_timeout_ms'),
    ...(http2 === undefined ? {} : { http2 }),
    useClientProtocol: message.useClientProtocol,
    ...(tls === undefined ? {} : { tls: decodeTls(tls) }),
    ...(retryBudget === undefined
      ? {}
      : { retryBudget: decodeAmounts(retryBudget, 'retry_budget') }),
  };
}

function encodePolicy(policy: TrafficPolicy): TrafficPolicyMessage {
  const { warmup, locality, outliers, circuitBreaker, tls, retryBudget } = policy;
  return {
    problem: policy.problem,
    balancer: encodeBalancer(policy.balancer),
    warmup: warmup === undefined ? undefined : { ...warmup },
    locality: locality === undefined ? undefined : encodeLocality(locality),
    outliers: outliers === undefined ? undefined : { ...outliers },
    circuitBreaker: circuitBreaker === undefined ? undefined : { ...circuitBreaker },
    connectTimeoutMs: policy.connectTimeoutMs,
    idleTimeoutMs: policy.idleTimeoutMs,
    http2: policy.http2,
    useClientProtocol: policy.useClientProtocol,
    tls: tls === undefined ? undefined : { ...tls, subjectAltNames: [...tls.subjectAltNames] },
    retryBudget: retryBudget === undefined ? undefined : { ...retryBudget },
  };
}

/** A message of which every field is an amount. */
function decodeAmounts<T extends { readonly [K in keyof T]: number }>(message: T, what: string): T {
  for (const [field, value] of Object.entries<number>(message))
    decodeAmount(value, `${what}.${field}`);
  return message;
}

function decodeBalancer({ balancer }: BalancerMessage): BalancerPolicy {
  switch (balancer?.$case) {
    case 'simple':
      return { kind: decodeName(SIMPLE_BALANCERS, balancer.value, 'balancer') };
    case 'ringHash': {
      const { source, minimumRingSize } = balancer.value;
      return { kind: 'ring-hash', source: decodeSource(source), minimumRingSize };
    }
    case 'maglev': {
      const { source, tableSize } = balancer.value;
      return { kind: 'maglev', source: decodeSource(source), tableSize };
    }
    case undefined:
      throw resourceError('a balancer of no known kind');
  }
}

function encodeBalancer(balancer: BalancerPolicy): BalancerMessage {
  switch (balancer.kind) {
    case 'ring-hash': {
      const { source, minimumRingSize } = balancer;
      const value = { source: encodeSource(source), minimumRingSize };
      return { balancer: { $case: 'ringHash', value } };
    }
    case 'maglev': {
      const { source, tableSize } = balancer;
      return { balancer: { $case: 'maglev', value: { source: encodeSource(source), tableSize } } };
    }
    default:
      return { balancer: { $case: 'simple', value: balancer.kind } };
  }
}

function decodeSource(message: HashSourceMessage | undefined): HashSource {
  const { source } = required(message, 'hash source');
  switch (source?.$case) {
    case 'header':
    case 'query':
      return { kind: source.$case, name: source.value };
    case 'sourceIp':
      return { kind: 'source-ip' };
    case 'cookie': {
      const { name, path, ttlMs } = source.value;
      const ttl = ttlMs === undefined ? {} : { ttlMs: decodeAmount(ttlMs, 'cookie.ttl_ms') };
      return { kind: 'cookie', name, path, ...ttl };
    }
    case undefined:
      throw resourceError('a hash source of no known kind');
  }
}

function encodeSource(source: HashSource): HashSourceMessage {
  switch (source.kind) {
    case 'header':
    case 'query':
      return { source: { $case: source.kind, value: source.name } };
    case 'source-ip':
      return { source: { $case: 'sourceIp', value: {} } };
    case 'cookie': {
      const { name, path, ttlMs } = source;
      return { source: { $case: 'cookie', value: { name, path, ttlMs } } };
    }
  }
}

function decodeLocality(message: LocalityMessage): LocalityPolicy {
  for (const { to } of message.distribute)
    for (const share of to.values()) decodeAmount(share, 'locality.distribute');
  return message;
}

function encodeLocality({
  distribute,
  failover,
  failoverPriority,
}: LocalityPolicy): LocalityMessage {
  return {
    distribute: distribute.map(({ from, to }) => ({ from, to: new Map(sorted(to)) })),
    failover: [...failover],
    failoverPriority: [...failoverPriority],
  };
}

function decodeOutliers(message: OutliersMessage): OutlierPolicy {
  const { splitExternalLocalOriginErrors, ...amounts } = message;
  return { ...decodeAmounts(amounts, 'outliers'), splitExternalLocalOriginErrors };
}

function decodeTls(message: UpstreamTlsMessage): UpstreamTls {
  return { ...message, mode: decodeName(['simple', 'mutual', 'mesh'], message.mode, 'tls.mode') };
}
