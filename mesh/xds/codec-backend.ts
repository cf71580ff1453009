import { describeError, MeshError } from '../../base/errors.ts';
import type {
  AdaptiveConcurrencySettings,
  BackendRetries,
  HealthCheck,
  HealthProbe,
  ServiceBackendPolicy,
} from '../model/backend-policy.ts';
import {
  ServiceBackendPolicy as ServiceBackendPolicyMessage,
  type AdaptiveConcurrency as AdaptiveConcurrencyMessage,
  type BackendRetries as BackendRetriesMessage,
  type HealthCheck as HealthCheckMessage,
} from '../proto/gen/waypoint-backend.ts';
import { decodePolicyKey, decodePort, decodeServiceKey, resourceError } from './codec-fields.ts';
import {
  decodeAmount,
  decodeTarget,
  decodeWholly,
  encodeTarget,
  required,
} from './codec-values.ts';

export const SERVICE_BACKEND_POLICY_TYPE =
  'type.googleapis.com/halo.waypoint.v1alpha1.ServiceBackendPolicy';

/**
 * Decodes what a BackendPolicy says of a service.
 *
 * @throws {MeshError} ERR_XDS_RESOURCE with the service's name and what was not understood; ERR_PROTO for what is no message.
 */
export function decodeServiceBackendPolicy(bytes: Uint8Array): ServiceBackendPolicy {
  const what = 'a ServiceBackendPolicy resource';
  const message = decodeWholly(ServiceBackendPolicyMessage, bytes, what);
  const { service, policy, healthCheck, adaptiveConcurrency, fallback, retries } = message;
  try {
    return {
      service: decodeServiceKey(service),
      policy: decodePolicyKey(policy),
      ...(healthCheck && { healthCheck: decodeHealthCheck(healthCheck) }),
      ...(adaptiveConcurrency && { adaptiveConcurrency: decodeAdaptive(adaptiveConcurrency) }),
      ...(fallback && { fallback: decodeTarget(fallback) }),
      ...(retries && { retries: decodeRetries(retries) }),
    };
  } catch (error) {
    if (!(error instanceof MeshError)) throw error;
    const name = JSON.stringify(service.slice(0, 512));
    throw resourceError(`Cannot use the backend policy of ${name}: ${describeError(error)}`);
  }
}

/** The bytes of a service's backend policy; equal policies give equal bytes. */
export function encodeServiceBackendPolicy(policy: ServiceBackendPolicy): Uint8Array {
  const { service, healthCheck, adaptiveConcurrency, fallback, retries } = policy;
  return ServiceBackendPolicyMessage.encode({
    ...{ service, policy: policy.policy },
    healthCheck: healthCheck && { ...healthCheck, probe: encodeProbe(healthCheck.probe) },
    adaptiveConcurrency: adaptiveConcurrency && {
      ...adaptiveConcurrency,
      minRtt: { ...adaptiveConcurrency.minRtt },
    },
    fallback: fallback && encodeTarget(fallback),
    retries: retries && { ...retries },
  }).finish();
}

function decodeHealthCheck(message: HealthCheckMessage): HealthCheck {
  const { port, unhealthyThreshold, healthyThreshold } = message;
  return {
    ...(port === undefined ? {} : { port: decodePort(port, 'health_check.port', { zero: false }) }),
    intervalMs: decodePositive(message.intervalMs, 'health_check.interval_ms'),
    timeoutMs: decodePositive(message.timeoutMs, 'health_check.timeout_ms'),
    unhealthyThreshold: decodePositive(unhealthyThreshold, 'health_check.unhealthy_threshold'),
    healthyThreshold: decodePositive(healthyThreshold, 'health_check.healthy_threshold'),
    probe: decodeProbe(message.probe),
  };
}

/** Of what comes around again and again: none would be without end. */
function decodePositive(value: number, field: string): number {
  if (!(value > 0)) throw resourceError(`bad value ${value} of ${field}`);
  return value;
}

function decodeProbe(probe: HealthCheckMessage['probe']): HealthProbe {
  switch (probe?.$case) {
    case 'tcp':
      return { kind: 'tcp' };
    case 'grpc':
      return { kind: 'grpc', service: probe.value.service };
    case 'http':
      return { kind: 'http', ...probe.value };
    case undefined:
      throw resourceError('a health check of no known kind');
  }
}

function encodeProbe(probe: HealthProbe): HealthCheckMessage['probe'] {
  switch (probe.kind) {
    case 'tcp':
      return { $case: 'tcp', value: {} };
    case 'grpc':
      return { $case: 'grpc', value: { service: probe.service } };
    case 'http': {
      const { path, host, statuses } = probe;
      return { $case: 'http', value: { path, host, statuses: [...statuses] } };
    }
  }
}

function decodeAdaptive(message: AdaptiveConcurrencyMessage): AdaptiveConcurrencySettings {
  const minRtt = required(message.minRtt, 'adaptive_concurrency.min_rtt');
  const field = 'adaptive_concurrency';
  return {
    samplePercentile: decodeAmount(message.samplePercentile, `${field}.sample_percentile`),
    maxConcurrency: decodePositive(message.maxConcurrency, `${field}.max_concurrency`),
    updateIntervalMs: decodePositive(message.updateIntervalMs, `${field}.update_interval_ms`),
    minRtt: {
      intervalMs: decodePositive(minRtt.intervalMs, `${field}.min_rtt.interval_ms`),
      jitterPercent: decodeAmount(minRtt.jitterPercent, `${field}.min_rtt.jitter_percent`),
      requestCount: decodePositive(minRtt.requestCount, `${field}.min_rtt.request_count`),
      minConcurrency: decodePositive(minRtt.minConcurrency, `${field}.min_rtt.min_concurrency`),
      bufferPercent: decodeAmount(minRtt.bufferPercent, `${field}.min_rtt.buffer_percent`),
    },
  };
}

function decodeRetries(message: BackendRetriesMessage): BackendRetries {
  const { hedges, perTryTimeoutMs, maxRetryAfterMs } = message;
  return {
    hedges,
    ...(perTryTimeoutMs === undefined
      ? {}
      : { perTryTimeoutMs: decodePositive(perTryTimeoutMs, 'retries.per_try_timeout_ms') }),
    ...(maxRetryAfterMs === undefined
      ? {}
      : { maxRetryAfterMs: decodeAmount(maxRetryAfterMs, 'retries.max_retry_after_ms') }),
  };
}
