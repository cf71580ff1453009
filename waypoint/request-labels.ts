import type { SpiffeId } from '../mesh/model/identity.ts';
import type { Service } from '../mesh/model/service.ts';
import type { WorkloadDescription } from '../mesh/model/workload.ts';
import type { HttpRequest } from './http-request.ts';

const UNKNOWN = 'unknown';

/** Istio's names, which dashboards read: who called whom, and how that is secured. */
export const END_LABEL_NAMES: readonly string[] = [
  ...['source_workload', 'source_canonical_service', 'source_canonical_revision'],
  ...['source_workload_namespace', 'source_principal', 'source_app', 'source_version'],
  ...['source_cluster', 'destination_service', 'destination_service_namespace'],
  ...['destination_service_name', 'destination_workload', 'destination_canonical_service'],
  ...['destination_canonical_revision', 'destination_workload_namespace'],
  ...['destination_principal', 'destination_app', 'destination_version', 'destination_cluster'],
  'connection_security_policy',
];

/** Who called whom: all that labels say of a request but its outcome. */
type Ends = Readonly<{
  source: WorkloadDescription | undefined;
  sourceIdentity: SpiffeId | undefined;
  service: Service | undefined;
  destination: WorkloadDescription | undefined;
  destinationIdentity: SpiffeId | undefined;
}>;

/**
 * The values of END_LABEL_NAMES.
 *
 * @param service where the request went, which need not be the service that was called.
 */
export function labelsOfEnds(
  { downstream, endpoint }: HttpRequest,
  service: Service | undefined,
): string[] {
  return endLabels({
    source: downstream.workload,
    sourceIdentity: downstream.identity,
    service,
    destination: endpoint?.workload,
    destinationIdentity: endpoint?.identity,
  });
}

function endLabels(ends: Ends): string[] {
  const { source, destination, service, sourceIdentity } = ends;
  return [
    ...[orUnknown(source?.workloadName), orUnknown(source?.canonicalName)],
    ...[orUnknown(source?.canonicalRevision), orUnknown(source?.namespace)],
    ...[orUnknown(sourceIdentity), orUnknown(source?.canonicalName)],
    ...[orUnknown(source?.canonicalRevision), orUnknown(source?.clusterId)],
    ...[orUnknown(service?.hostname), orUnknown(service?.namespace), orUnknown(service?.name)],
    ...[orUnknown(destination?.workloadName), orUnknown(destination?.canonicalName)],
    ...[orUnknown(destination?.canonicalRevision), orUnknown(destination?.namespace)],
    ...[orUnknown(ends.destinationIdentity), orUnknown(destination?.canonicalName)],
    ...[orUnknown(destination?.canonicalRevision), orUnknown(destination?.clusterId)],
    sourceIdentity === undefined ? 'none' : 'mutual_tls',
  ];
}

function orUnknown(value: string | undefined): string {
  return value === undefined || value === '' ? UNKNOWN : value;
}
