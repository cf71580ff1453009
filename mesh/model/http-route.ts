import type { BackendTarget, HttpFilter } from './http-filter.ts';
import type { ServiceKey } from './service.ts';

/** `prefix` is of whole path segments, `text-prefix` of characters (VirtualService); `regex` (RE2) matches the whole path. */
export type PathMatch = Readonly<{
  kind: 'exact' | 'prefix' | 'text-prefix' | 'regex';
  value: string;
  ignoreCase?: boolean;
}>;

/** How one value of a header or query parameter is matched; `regex` (RE2) matches the whole value. */
export type ValueMatch = Readonly<
  | { name: string; kind: 'exact' | 'prefix' | 'regex'; value: string; absent?: boolean }
  | { name: string; kind: 'present'; absent?: boolean }
>;

/**
 * All that is there must hold. Header names are in lower case; `absent: true` turns a match around. A name that parseClaimName()
 * knows is of a claim of the token that was verified, of whose texts one must be right.
 */
export type HttpMatch = Readonly<{
  path?: PathMatch;
  method?: string;
  headers: readonly ValueMatch[];
  queryParams: readonly ValueMatch[];
  authority?: Readonly<{ kind: 'exact' | 'prefix' | 'regex'; value: string }>;
  scheme?: Readonly<{ kind: 'exact' | 'prefix' | 'regex'; value: string }>;
  /** Of the client. */
  sourceNamespace?: string;
}>;

/** Where a rule sends its requests; `problem` keeps its share and is answered with 500 (gRPC: UNAVAILABLE). */
export type HttpBackend = Readonly<{
  target?: BackendTarget;
  problem?: string;
  weight: number;
  filters: readonly HttpFilter[];
}>;

/** Conditions of Envoy's `retry_on` and `retry_grpc_on`, by their names. */
export const RETRY_CONDITIONS = [
  ...(['5xx', 'gateway-error', 'reset', 'reset-before-request', 'connect-failure'] as const),
  ...(['refused-stream', 'retriable-4xx', 'retriable-status-codes', 'cancelled'] as const),
  ...(['deadline-exceeded', 'internal', 'resource-exhausted', 'unavailable'] as const),
] as const;

export type RetryCondition = (typeof RETRY_CONDITIONS)[number];

export type RetryPolicy = Readonly<{
  /** Retries, beside the first try. */
  attempts: number;
  conditions: readonly RetryCondition[];
  statusCodes: readonly number[];
  perTryTimeoutMs?: number;
  /** A try that is over its time goes on beside the next one, and the first good answer counts. */
  hedgeOnPerTryTimeout?: boolean;
  /** Of the exponential back-off: the first delay is random below it, each further one below its double, up to ten times it. */
  backoffMs: number;
}>;

/** What keeps a client at one endpoint. GEP-1619. */
export type SessionPersistence = Readonly<
  (
    | { kind: 'cookie'; name: string; path: string; lifetimeMs?: number }
    | { kind: 'header'; name: string }
  ) & {
    /** A session ends so long after it began, however it is used. */
    absoluteMs?: number;
  }
>;

export type HttpRule = Readonly<{
  /** For log, traces and explanations: `<kind>/<namespace>/<name>/<rule's name or number>`. */
  name: string;
  /** One of them must hold; an empty list is every request. */
  matches: readonly HttpMatch[];
  filters: readonly HttpFilter[];
  /** None: 500, unless a filter answers. */
  backends: readonly HttpBackend[];
  /** Of the whole exchange; `undefined`: none. */
  timeoutMs?: number;
  /** `undefined`: what is done without a policy; `attempts: 0`: no retry. */
  retry?: RetryPolicy;
  sessionPersistence?: SessionPersistence;
}>;

/** The rules for requests of some clients to one port of a service. */
export type HttpRoutes = Readonly<{
  /** `precedence`: Gateway API, the most exact match wins. `order`: VirtualService, the first that matches wins. */
  choice: 'precedence' | 'order';
  /** A request that nothing matches is answered as gRPC (UNIMPLEMENTED), not with 404. */
  grpc: boolean;
  /** In the order of precedence of their routes: oldest first, then by name, then as written. */
  rules: readonly HttpRule[];
}>;

/** The same for bytes: a share each of the connections. */
export type TcpRoute = Readonly<{
  name: string;
  backends: readonly Readonly<{ target?: BackendTarget; problem?: string; weight: number }>[];
}>;

export type PortRoutes = Readonly<
  { kind: 'http'; routes: HttpRoutes } | { kind: 'tcp'; route: TcpRoute }
>;

/** All routes of one service. A port without an entry goes to the service's own endpoints. */
export type ServiceRoutes = Readonly<{
  service: ServiceKey;
  /** By service port: routes of the service's own namespace, for every client that has no consumer routes. */
  producer: ReadonlyMap<number, PortRoutes>;
  /** By the client's namespace, then service port: they replace the producer's, even where they match nothing. */
  consumer: ReadonlyMap<string, ReadonlyMap<number, PortRoutes>>;
}>;
