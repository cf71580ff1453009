import type { WorkloadDescription } from '../mesh/model/workload.ts';
import type { HttpRequest } from './http-request.ts';
import { formatFlags } from './response-flags.ts';
import type { TraceDecision } from './trace-context.ts';

/** A span as it goes from thread to thread. */
export type SpanRecord = Readonly<{
  traceId: string;
  spanId: string;
  parentId: string;
  traceState: string;
  name: string;
  /** Milliseconds since 1970, with fractions. */
  startMs: number;
  endMs: number;
  failed: boolean;
  attributes: Readonly<Record<string, string>>;
}>;

/** What Envoy keeps of a path in a span. */
const MAX_PATH_LENGTH = 256;

/** The span of a request that has ended, with the tags that Istio's have. */
export function makeSpanRecord(
  request: HttpRequest,
  trace: Extract<TraceDecision, { sampled: true }>,
): SpanRecord {
  const { downstream, head, exchange, status, grpcStatus } = request;
  const { traceId, spanId, parentId, traceState } = trace;
  const host = downstream.service?.hostname ?? downstream.local.ip;
  const failed = status >= 500 || status === 0 || grpcStatus > 0;
  return {
    ...{ traceId, spanId, parentId, traceState, failed },
    name: `${host}:${downstream.local.port}/*`,
    startMs: performance.timeOrigin + request.startMs,
    endMs: performance.timeOrigin + request.endMs,
    attributes: {
      component: 'proxy',
      'guid:x-request-id': head.requestId,
      'http.method': head.method,
      'http.url': `${head.list[3] ?? 'http'}://${head.authority}${head.originalPath.slice(0, MAX_PATH_LENGTH)}`,
      'http.protocol': downstream.version,
      'http.status_code': String(status),
      user_agent: head.userAgent ?? '',
      request_size: String(exchange.bytesRead),
      response_size: String(exchange.bytesWritten),
      response_flags: formatFlags(request.flags),
      'peer.address': downstream.remote.ip,
      upstream_cluster: request.backendName,
      'upstream_cluster.name': request.backendName,
      ...(grpcStatus >= 0 && { 'grpc.status_code': String(grpcStatus) }),
      ...(failed && { error: 'true' }),
      ...describeEnd('istio.source_', downstream.workload),
      ...describeEnd('istio.destination_', request.endpoint?.workload),
    },
  };
}

function describeEnd(
  prefix: string,
  workload: WorkloadDescription | undefined,
): Readonly<Record<string, string>> {
  if (workload === undefined) return {};
  const { workloadName, namespace, clusterId, canonicalName, canonicalRevision } = workload;
  return {
    [`${prefix}workload`]: workloadName,
    [`${prefix}namespace`]: namespace,
    [`${prefix}cluster_id`]: clusterId,
    [`${prefix}canonical_service`]: canonicalName,
    [`${prefix}canonical_revision`]: canonicalRevision,
    [`${prefix}app`]: canonicalName,
    [`${prefix}app_version`]: canonicalRevision,
  };
}
