import { unreachable } from '../../base/unreachable.ts';
import type { BackendPolicy, BackendPolicySpec } from '../../mesh/kubernetes/backend-policy.ts';
import type { Service } from '../../mesh/kubernetes/core.ts';
import type { ServiceEntry } from '../../mesh/kubernetes/networking.ts';
import { policyKey } from '../../mesh/model/authorization.ts';
import {
  DEFAULT_ADAPTIVE_CONCURRENCY,
  type AdaptiveConcurrencySettings,
  type BackendRetries,
  type HealthCheck,
  type HealthProbe,
  type ServiceBackendPolicy,
} from '../../mesh/model/backend-policy.ts';
import type { ServiceKey } from '../../mesh/model/service.ts';
import type { Picture } from '../snapshot.ts';
import { attachedCondition, policyOf } from './attached-policies.ts';
import { resolveBackend, type ResolvedBackend } from './routes/backends.ts';
import type { Condition, MeshSettings } from './settings.ts';
import { hostsOf, waypointUsers } from './waypoint-users.ts';

/** What the BackendPolicy of a Service or ServiceEntry says of one of its services; `undefined` without a policy. */
export function serviceBackendPolicy(
  picture: Picture,
  settings: MeshSettings,
  service: ServiceKey,
  { kind, ref }: Service | ServiceEntry,
): ServiceBackendPolicy | undefined {
  const { namespace, name } = ref;
  const policy = policyOf(picture, 'BackendPolicy', namespace, { kind, name });
  if (policy === undefined) return undefined;
  const { healthCheck, adaptiveConcurrency, retries } = policy.spec;
  const fallback = resolveFallback(picture, settings, policy);
  // To fall back to itself would be to ask again what has just refused.
  const isOther =
    fallback !== undefined && 'target' in fallback && fallback.target.service !== service;
  return {
    ...{ service, policy: policyKey(policy.ref.namespace, policy.ref.name) },
    ...(healthCheck && { healthCheck: toHealthCheck(healthCheck) }),
    ...(adaptiveConcurrency && { adaptiveConcurrency: toAdaptive(adaptiveConcurrency) }),
    ...(isOther && { fallback: fallback.target }),
    ...(retries && { retries: toRetries(retries) }),
  };
}

/** What became of a policy: of its targets, and of the backend that it names. */
export function backendPolicyConditions(
  picture: Picture,
  settings: MeshSettings,
  policy: BackendPolicy,
): Condition[] {
  const accepted = attachedCondition(picture, settings, policy, (object) =>
    hostsOf(object, settings).some(
      (host) => waypointUsers(picture, settings, object, host).size > 0,
    ),
  );
  const fallback = resolveFallback(picture, settings, policy);
  if (fallback === undefined) return [accepted];
  const resolved: Condition =
    'problem' in fallback
      ? {
          ...{ type: 'ResolvedRefs', status: 'False', reason: fallback.problem.reason },
          message: `there is no fallback: ${fallback.problem.message}`,
        }
      : {
          ...{ type: 'ResolvedRefs', status: 'True', reason: 'ResolvedRefs' },
          message: 'All references resolved',
        };
  return [accepted, resolved];
}

function resolveFallback(
  picture: Picture,
  settings: MeshSettings,
  { ref, spec }: BackendPolicy,
): ResolvedBackend | undefined {
  const backend = spec.fallback?.backendRef;
  return backend && resolveBackend(picture, settings, ref.namespace, backend, 'requests');
}

function toHealthCheck(spec: NonNullable<BackendPolicySpec['healthCheck']>): HealthCheck {
  const { port, interval, timeout, unhealthyThreshold, healthyThreshold } = spec;
  return {
    ...(port === undefined ? {} : { port }),
    ...{ intervalMs: interval, timeoutMs: timeout, unhealthyThreshold, healthyThreshold },
    probe: toProbe(spec),
  };
}

/** Envoy's http_health_check: 200 alone. */
const OK_ALONE = [{ start: 200, end: 200 }];

function toProbe({ type, http, grpc }: NonNullable<BackendPolicySpec['healthCheck']>): HealthProbe {
  switch (type) {
    case 'TCP':
      return { kind: 'tcp' };
    case 'GRPC':
      return { kind: 'grpc', service: grpc?.service ?? '' };
    case 'HTTP': {
      const { path = '/', host = '', expectedStatuses = OK_ALONE } = http ?? {};
      return { kind: 'http', path, host, statuses: expectedStatuses };
    }
    default:
      return unreachable(type);
  }
}

function toAdaptive(
  spec: NonNullable<BackendPolicySpec['adaptiveConcurrency']>,
): AdaptiveConcurrencySettings {
  const { samplePercentile, maxConcurrency, updateInterval, minRTT } = spec;
  return {
    ...{ samplePercentile, maxConcurrency, updateIntervalMs: updateInterval },
    minRtt:
      minRTT === undefined
        ? DEFAULT_ADAPTIVE_CONCURRENCY.minRtt
        : {
            ...{ intervalMs: minRTT.interval, jitterPercent: minRTT.jitterPercent },
            ...{ requestCount: minRTT.requestCount, minConcurrency: minRTT.minConcurrency },
            bufferPercent: minRTT.bufferPercent,
          },
  };
}

function toRetries({
  hedgeOnPerTryTimeout,
  perTryTimeout,
  maxRetryAfter,
}: NonNullable<BackendPolicySpec['retries']>): BackendRetries {
  return {
    hedges: hedgeOnPerTryTimeout,
    ...(perTryTimeout === undefined ? {} : { perTryTimeoutMs: perTryTimeout }),
    ...(maxRetryAfter === undefined ? {} : { maxRetryAfterMs: maxRetryAfter }),
  };
}
