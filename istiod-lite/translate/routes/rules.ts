import { hash } from 'node:crypto';
import type {
  HttpBackend,
  HttpMatch,
  HttpRule,
  RetryPolicy,
  SessionPersistence,
  TcpRoute,
  ValueMatch,
} from '../../../mesh/model/http-route.ts';
import { httpRuleProblem } from '../../../mesh/model/http-rule-problem.ts';
import { regexProblem } from '../../../mesh/model/regex.ts';
import type {
  GrpcMatchSpec,
  GrpcRoute,
  GrpcRuleSpec,
} from '../../../mesh/kubernetes/grpc-route.ts';
import type {
  HttpMatchSpec,
  HttpRoute,
  HttpRuleSpec,
} from '../../../mesh/kubernetes/http-route.ts';
import type { GrpcFilterSpec, HttpFilterSpec } from '../../../mesh/kubernetes/route-filters.ts';
import type { BackendObject } from '../../../mesh/kubernetes/route-references.ts';
import type { ValueMatchSpec } from '../../../mesh/kubernetes/route-rules.ts';
import { formatObject } from '../../../mesh/kubernetes/object.ts';
import type { Route } from '../../../mesh/kubernetes/route-backends.ts';
import type { Picture } from '../../snapshot.ts';
import type { MeshSettings } from '../settings.ts';
import { mayRefer } from '../gateway/reference-grants.ts';
import {
  resolveBackend,
  type Carried,
  type ReferenceProblem,
  type ResolvedBackend,
} from './backends.ts';
import { translateFilters, type FilterParts } from './filters.ts';

/** What a route says, in the order in which it says it, and what of it cannot be done. */
export type TranslatedRoute = Readonly<
  ({ kind: 'http'; rules: readonly HttpRule[] } | { kind: 'tcp'; route: TcpRoute }) & {
    problems: readonly ReferenceProblem[];
    /** Why waypoints would refuse it, and with it all routes of its service: then it has no rules. */
    unusable: readonly string[];
  }
>;

/** Retries of a rule that says no number; istio/istio pilot/pkg/networking/core/route/retry, its default. */
const DEFAULT_ATTEMPTS = 2;
/** Envoy's base interval of retries. */
export const DEFAULT_BACKOFF_MS = 25;

/**
 * A route as waypoints have it. Host names say nothing where a Service is the parent: that was chosen by its address.
 *
 * @param grants whether backends of other namespaces have to grant the reference: those of a Gateway's routes.
 */
export function translateRoute(
  picture: Picture,
  settings: MeshSettings,
  route: Route,
  grants: 'asks for grants' | 'needs no grants' = 'needs no grants',
): TranslatedRoute {
  const problems: ReferenceProblem[] = [];
  const { namespace } = route.ref;
  const parts: FilterParts = {
    resolve: (ref) =>
      (grants === 'asks for grants' ? refusedReference(picture, route, ref) : undefined) ??
      resolveBackend(picture, settings, namespace, ref, CARRIED[route.kind]),
    report: (problem) => problems.push(problem),
  };
  switch (route.kind) {
    case 'HTTPRoute':
      return { ...usableRules(httpRules(route, parts), affinities(picture, route)), problems };
    case 'GRPCRoute':
      return { ...usableRules(grpcRules(route, parts), affinities(picture, route)), problems };
    case 'TCPRoute':
    case 'TLSRoute':
    case 'UDPRoute': {
      const [rule] = route.spec.rules;
      const backends = (rule?.backendRefs ?? []).map((ref) => shareOf(ref, parts));
      const name = ruleName(route, rule?.name, 0);
      return { kind: 'tcp', route: { name, backends }, problems, unusable: [] };
    }
  }
}

const CARRIED = {
  ...{ HTTPRoute: 'requests', GRPCRoute: 'requests', TCPRoute: 'bytes', TLSRoute: 'bytes' },
  UDPRoute: 'datagrams',
} as const satisfies Readonly<Record<Route['kind'], Carried>>;

/** A Service of another namespace, where nobody there has said that the route may send to it. */
function refusedReference(
  picture: Picture,
  route: Route,
  { group, kind, name, namespace = route.ref.namespace }: BackendObject,
): ResolvedBackend | undefined {
  if (mayRefer(picture, route.ref, { group, kind, namespace, name })) return undefined;
  const message = `no ReferenceGrant of namespace ${namespace} lets ${formatObject(route.ref)} refer to ${kind} ${name}`;
  return { problem: { reason: 'RefNotPermitted', message } };
}

/** All or none: without one of its rules, requests would come to a rule that is not for them. */
function usableRules(
  rules: readonly HttpRule[],
  conflicts: readonly string[],
): Readonly<{ kind: 'http'; rules: readonly HttpRule[]; unusable: readonly string[] }> {
  const unusable = rules.flatMap((rule) => {
    const problem = httpRuleProblem(rule);
    return problem === undefined ? [] : [`rule ${rule.name}: ${problem}`];
  });
  unusable.push(...conflicts);
  return { kind: 'http', rules: unusable.length === 0 ? rules : [], unusable };
}

/** A Service that keeps clients at an endpoint by their address, and a rule that does by a token, cannot both be done. GEP-1619. */
function affinities(picture: Picture, { ref, spec }: HttpRoute | GrpcRoute): string[] {
  return spec.rules.flatMap(({ sessionPersistence, backendRefs }, index) =>
    sessionPersistence === undefined
      ? []
      : backendRefs.flatMap(({ group, kind, namespace = ref.namespace, name }) => {
          if (group !== '' || kind !== 'Service') return [];
          const affinity = picture.get('Service', namespace, name)?.spec.sessionAffinity;
          if (affinity !== 'ClientIP') return [];
          const service = `Service ${namespace}/${name}`;
          return [`spec.rules[${index}].sessionPersistence: ${service} has a sessionAffinity`];
        }),
  );
}

function ruleName(route: Route, name: string | undefined, index: number): string {
  return `${route.kind}/${route.ref.namespace}/${route.ref.name}/${name ?? index}`;
}

function httpRules(route: HttpRoute, parts: FilterParts): HttpRule[] {
  return route.spec.rules.map((rule, index) => {
    const name = ruleName(route, rule.name, index);
    const { sessionPersistence } = rule;
    return {
      name,
      matches: rule.matches.length === 0 ? [EVERYTHING] : rule.matches.map(httpMatch),
      filters: translateFilters(rule.filters, parts),
      backends: rule.backendRefs.map((ref) => backendOf(ref, ref.filters, parts)),
      ...timeouts(rule),
      ...(sessionPersistence === undefined
        ? {}
        : { sessionPersistence: session(sessionPersistence, name) }),
    };
  });
}

const EVERYTHING: HttpMatch = {
  path: { kind: 'prefix', value: '/' },
  headers: [],
  queryParams: [],
};

function httpMatch({ path, headers, queryParams, method }: HttpMatchSpec): HttpMatch {
  const kinds = { Exact: 'exact', PathPrefix: 'prefix', RegularExpression: 'regex' } as const;
  return {
    path: { kind: kinds[path.type], value: path.value },
    ...(method === undefined ? {} : { method }),
    headers: headerMatches(headers),
    queryParams: queryParams.map(valueMatch),
  };
}

/** Names in lower case; of equal ones the first counts. */
function headerMatches(specs: readonly ValueMatchSpec[]): ValueMatch[] {
  const found = new Map<string, ValueMatch>();
  for (const spec of specs) {
    const name = spec.name.toLowerCase();
    if (!found.has(name)) found.set(name, valueMatch({ ...spec, name }));
  }
  return [...found.values()];
}

function valueMatch({ type, name, value }: ValueMatchSpec): ValueMatch {
  return { name, kind: type === 'Exact' ? 'exact' : 'regex', value };
}

function timeouts({ timeouts: given, retry }: HttpRuleSpec): Pick<HttpRule, 'timeoutMs' | 'retry'> {
  const whole = unlessZero(given?.request);
  const each = unlessZero(given?.backendRequest);
  if (retry !== undefined)
    return {
      ...(whole === undefined ? {} : { timeoutMs: whole }),
      retry: retryPolicy(retry, each),
    };
  // Without a policy a request is tried again only where nothing was answered, so one try bounds them all.
  const bounds = [whole, each].filter((bound) => bound !== undefined);
  return bounds.length === 0 ? {} : { timeoutMs: Math.min(...bounds) };
}

/** 0 turns a timeout off. */
function unlessZero(ms: number | undefined): number | undefined {
  return ms === 0 ? undefined : ms;
}

/** A policy means errors of the connection too, also where it names codes alone. GEP-1731. */
function retryPolicy(
  { codes, attempts, backoff }: NonNullable<HttpRuleSpec['retry']>,
  perTryTimeoutMs: number | undefined,
): RetryPolicy {
  return {
    attempts: attempts ?? DEFAULT_ATTEMPTS,
    conditions: [
      ...(['connect-failure', 'refused-stream', 'reset'] as const),
      ...(codes.length === 0 ? [] : (['retriable-status-codes'] as const)),
    ],
    statusCodes: codes,
    ...(perTryTimeoutMs === undefined ? {} : { perTryTimeoutMs }),
    backoffMs: backoff ?? DEFAULT_BACKOFF_MS,
  };
}

/** Rules never share a session, so a cookie without a name has one of its rule's own. */
function session(
  spec: NonNullable<HttpRuleSpec['sessionPersistence']>,
  rule: string,
): SessionPersistence {
  const { type, cookie, header, absoluteTimeout } = spec;
  // 0 turns a timeout off, as everywhere in the Gateway API.
  const bounded = absoluteTimeout !== undefined && absoluteTimeout > 0;
  const bound = bounded ? { absoluteMs: absoluteTimeout } : {};
  if (type === 'Header' && header !== undefined)
    return { kind: 'header', name: header.name.toLowerCase(), ...bound };
  const permanent = cookie?.lifetimeType === 'Permanent';
  return {
    kind: 'cookie',
    name: cookie?.name ?? `halo-session-${hash('sha256', rule, 'hex').slice(0, 8)}`,
    path: cookie?.path ?? '/',
    ...(permanent && bounded ? { lifetimeMs: absoluteTimeout } : {}),
    ...bound,
  };
}

function grpcRules(route: GrpcRoute, parts: FilterParts): HttpRule[] {
  return route.spec.rules.map((rule: GrpcRuleSpec, index) => {
    const name = ruleName(route, rule.name, index);
    const { sessionPersistence } = rule;
    return {
      name,
      matches: rule.matches.length === 0 ? [EVERYTHING] : rule.matches.map(grpcMatch),
      filters: translateFilters(rule.filters.map(asHttp), parts),
      backends: rule.backendRefs.map((ref) => backendOf(ref, ref.filters.map(asHttp), parts)),
      ...(sessionPersistence === undefined
        ? {}
        : { sessionPersistence: session(sessionPersistence, name) }),
    };
  });
}

/** A method is a path: `/<service>/<method>`. */
function grpcMatch({ method, headers }: GrpcMatchSpec): HttpMatch {
  return { path: grpcPath(method), headers: headerMatches(headers), queryParams: [] };
}

function grpcPath(spec: GrpcMatchSpec['method']): NonNullable<HttpMatch['path']> {
  if (spec === undefined) return { kind: 'prefix', value: '/' };
  const { type, service, method } = spec;
  if (type === 'RegularExpression') {
    // Each by itself: "a)|(?:b" is no pattern, and between brackets it would be two.
    const odd = [service, method].find((each) => each !== undefined && regexProblem(each));
    if (odd !== undefined) return { kind: 'regex', value: odd };
    const part = (pattern: string | undefined): string =>
      pattern === undefined ? '[^/]+' : `(?:${pattern})`;
    return { kind: 'regex', value: `/${part(service)}/${part(method)}` };
  }
  if (service === undefined) return { kind: 'regex', value: `/[^/]+/${method ?? ''}` };
  if (method === undefined) return { kind: 'prefix', value: `/${service}/` };
  return { kind: 'exact', value: `/${service}/${method}` };
}

/** What a GRPCRoute has no filters for is absent. */
function asHttp(filter: GrpcFilterSpec): HttpFilterSpec {
  return {
    ...filter,
    ...{ requestRedirect: undefined, urlRewrite: undefined },
    ...{ cors: undefined, externalAuth: undefined },
  };
}

function backendOf(
  ref: BackendObject & Readonly<{ weight: number }>,
  filters: readonly HttpFilterSpec[],
  parts: FilterParts,
): HttpBackend {
  return { ...shareOf(ref, parts), filters: translateFilters(filters, parts) };
}

/** What cannot be resolved keeps its share, so that the others do not get it. */
function shareOf(
  ref: BackendObject & Readonly<{ weight: number }>,
  { resolve, report }: FilterParts,
): TcpRoute['backends'][number] {
  const { weight } = ref;
  const backend = resolve(ref);
  if ('target' in backend) return { target: backend.target, weight };
  report(backend.problem);
  return { problem: backend.problem.message, weight };
}
