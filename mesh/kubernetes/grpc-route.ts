import { boundedList, boundedText, checked, hostname, quote } from './gateway-values.ts';
import type { ObjectBase } from './object.ts';
import { grpcFilters } from './route-filters.ts';
import { checkBackendPort, parentRefs, weightedBackendFields } from './route-references.ts';
import { checkRules, grpcHeaderMatches, ruleName, sessionPersistence } from './route-rules.ts';
import { fields, oneOf, optional, required, withDefault, type Decoded } from './schema.ts';

const SERVICE = /^\.?[a-z_][a-z_0-9]*(?:\.[a-z_][a-z_0-9]*)*$/i;
const METHOD = /^[A-Za-z_][A-Za-z_0-9]*$/;

const methodMatch = checked(
  fields({
    type: withDefault(oneOf(['Exact', 'RegularExpression'], 'Exact'), 'Exact'),
    service: optional(boundedText(0, 1024)),
    method: optional(boundedText(0, 1024)),
  }),
  ({ type, service, method }, path, report) => {
    if (service === undefined && method === undefined)
      report.error(path, 'must name a service, a method or both');
    if (type !== 'Exact') return;
    if (service !== undefined && !SERVICE.test(service))
      report.error([...path, 'service'], `is no gRPC service: found ${quote(service)}`);
    if (method !== undefined && !METHOD.test(method))
      report.error([...path, 'method'], `is no gRPC method: found ${quote(method)}`);
  },
);

const match = fields({
  method: optional(methodMatch),
  headers: grpcHeaderMatches,
});

export type GrpcMatchSpec = Decoded<typeof match>;

const rule = fields({
  name: ruleName,
  matches: boundedList(match, 64),
  filters: grpcFilters,
  backendRefs: boundedList(
    checked(fields({ ...weightedBackendFields, filters: grpcFilters }), checkBackendPort),
    16,
  ),
  sessionPersistence: optional(sessionPersistence),
});

export type GrpcRuleSpec = Decoded<typeof rule>;

export const grpcRouteSchema = fields(
  {
    spec: required(
      fields({
        parentRefs,
        hostnames: boundedList(hostname(), 16),
        rules: checked(boundedList(rule, 16), checkRules),
        useDefaultGateways: optional(oneOf(['All', 'None'], 'None')),
      }),
    ),
  },
  'error',
  ['apiVersion', 'kind', 'metadata', 'status'],
);

/** gateway.networking.k8s.io/GRPCRoute. */
export type GrpcRoute = ObjectBase &
  Readonly<{ kind: 'GRPCRoute' }> &
  Decoded<typeof grpcRouteSchema>;
