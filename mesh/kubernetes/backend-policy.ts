import {
  boundedList,
  boundedText,
  checked,
  checkUnion,
  duration,
  preciseHostname,
  URL_PATH,
} from './gateway-values.ts';
import type { ObjectBase } from './object.ts';
import type { FieldPath, Report } from './problem.ts';
import { backendObject } from './route-references.ts';
import {
  bool,
  fields,
  integer,
  oneOf,
  optional,
  port,
  required,
  withDefault,
  type Decoded,
  type Schema,
} from './schema.ts';
import { targetReference } from './security.ts';
import { validateTarget } from './validate-security.ts';

const HOUR_MS = 3_600_000;

function durationIn(minimumMs: number, maximumMs: number, what: string): Schema<number> {
  return checked(duration(), (ms, path, report) => {
    if (ms < minimumMs || ms > maximumMs) report.error(path, `must be ${what}`);
  });
}

const statusRange = checked(
  fields({ start: required(integer(100, 599)), end: required(integer(100, 599)) }),
  ({ start, end }, path, report) => {
    if (end < start) report.error(path, `ends before it begins: found ${start} to ${end}`);
  },
);

const httpCheck = fields({
  path: withDefault(
    checked(boundedText(1, 1024, URL_PATH, 'path'), (value, path, report) => {
      if (value !== '' && !value.startsWith('/')) report.error(path, 'must begin with /');
    }),
    '/',
  ),
  host: optional(preciseHostname()),
  expectedStatuses: optional(boundedList(statusRange, 16, { minimum: 1 })),
});

const healthCheck = checked(
  fields({
    type: required(oneOf(['HTTP', 'GRPC', 'TCP'], 'TCP')),
    port: optional(port()),
    interval: withDefault(durationIn(100, HOUR_MS, 'from 100ms to 1h'), 10_000),
    timeout: withDefault(durationIn(10, 60_000, 'from 10ms to 1m'), 1000),
    unhealthyThreshold: withDefault(integer(1, 100), 3),
    healthyThreshold: withDefault(integer(1, 100), 2),
    http: optional(httpCheck),
    grpc: optional(fields({ service: boundedText(0, 512, /^[\w./-]*$/, 'gRPC service') })),
  }),
  ({ type, http, grpc }, path, report) => {
    // All that they say has a default.
    const members = [
      ['HTTP', 'http', http ?? (type === 'HTTP' ? {} : undefined)],
      ['GRPC', 'grpc', grpc ?? (type === 'GRPC' ? {} : undefined)],
    ] as const;
    checkUnion(type, members, path, report);
  },
);

const adaptiveConcurrency = fields({
  samplePercentile: withDefault(integer(1, 100), 50),
  maxConcurrency: withDefault(integer(1, 1_000_000), 1000),
  updateInterval: withDefault(durationIn(10, 60_000, 'from 10ms to 1m'), 100),
  minRTT: optional(
    fields({
      interval: withDefault(durationIn(1000, HOUR_MS, 'from 1s to 1h'), 60_000),
      jitterPercent: withDefault(integer(0, 100), 15),
      requestCount: withDefault(integer(1, 10_000), 50),
      minConcurrency: withDefault(integer(1, 10_000), 3),
      bufferPercent: withDefault(integer(0, 1000), 25),
    }),
  ),
});

const fallbackRef = checked(backendObject, ({ group, kind, namespace }, path, report) => {
  if (group !== '' || kind !== 'Service') report.error(path, 'must be a Service');
  // Who may apply policies in one namespace must not send requests to another.
  if (namespace !== undefined)
    report.error(
      [...path, 'namespace'],
      "must be left out: a fallback is of the policy's namespace",
    );
});

const retries = checked(
  fields({
    hedgeOnPerTryTimeout: bool(),
    perTryTimeout: optional(durationIn(1, HOUR_MS, 'from 1ms to 1h')),
    /** 300 s, as Envoy's rate_limited_retry_back_off. */
    maxRetryAfter: optional(durationIn(0, 300_000, 'at most 5m')),
  }),
  ({ hedgeOnPerTryTimeout, perTryTimeout, maxRetryAfter }, path, report) => {
    if (!hedgeOnPerTryTimeout && perTryTimeout === undefined && maxRetryAfter === undefined)
      report.error(path, 'must not be empty');
  },
);

export const backendPolicySchema = fields(
  {
    spec: required(
      checked(
        fields({
          targetRefs: required(boundedList(targetReference, 16, { minimum: 1 })),
          healthCheck: optional(healthCheck),
          adaptiveConcurrency: optional(adaptiveConcurrency),
          fallback: optional(fields({ backendRef: required(fallbackRef) })),
          retries: optional(retries),
        }),
        (spec, path, report) => {
          const { healthCheck: check, adaptiveConcurrency: adaptive, fallback } = spec;
          if ((check ?? adaptive ?? fallback ?? spec.retries) === undefined)
            report.error(
              path,
              'says nothing',
              'give it healthCheck, adaptiveConcurrency, fallback or retries',
            );
        },
      ),
    ),
  },
  'error',
  ['apiVersion', 'kind', 'metadata', 'status'],
);

/** halo.dev/BackendPolicy. */
export type BackendPolicy = ObjectBase &
  Readonly<{ kind: 'BackendPolicy' }> &
  Decoded<typeof backendPolicySchema>;
export type BackendPolicySpec = BackendPolicy['spec'];

/** What no waypoint could do. */
export function validateBackendPolicy(
  { spec }: Decoded<typeof backendPolicySchema>,
  report: Report,
): void {
  const seen = new Set<string>();
  spec.targetRefs.forEach((target, index) => {
    const path: FieldPath = ['spec', 'targetRefs', index];
    const { kind, name } = target;
    if (kind === 'GatewayClass' || kind === 'Gateway')
      report.error(path, `cannot target ${kind}`, 'target the Services that it is about');
    else validateTarget(target, path, report);
    if (seen.has(`${kind} ${name}`)) report.error(path, `is there twice: found ${kind} ${name}`);
    seen.add(`${kind} ${name}`);
  });
}
