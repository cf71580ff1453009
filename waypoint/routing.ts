import { perObject } from '../base/per-object.ts';
import type { HttpBackend, HttpRule, PortRoutes } from '../mesh/model/http-route.ts';
import type { ServiceConfig } from '../mesh/proxy/state/waypoint-store.ts';
import { compileFilters, type FilterChain } from './filters/chain.ts';
import type { CorsDecision } from './filters/cors.ts';
import type { Endpoint } from './balance/endpoint.ts';
import { RouteTable } from './match.ts';
import type { SessionTarget } from './session-endpoints.ts';

/** A rule, made to be followed. */
export type CompiledRule = Readonly<{
  rule: HttpRule;
  chain: FilterChain;
  /** The chains of its backends. */
  backends: ReadonlyMap<HttpBackend, FilterChain>;
}>;

/** What was decided about one request on its way, for its response too. */
export type Routing = {
  readonly compiled: CompiledRule;
  /** By which its path was matched. */
  readonly prefix: string;
  cors: CorsDecision | undefined;
  /** Of the backend that was chosen. */
  backendChain: FilterChain | undefined;
  /** By which it is balanced. */
  hash: number | undefined;
  /** A cookie that keeps the client at its endpoint. */
  setCookie: string | undefined;
  /** Of its session, as it came: filters may take it out. */
  readonly token: string | undefined;
  /** Where the backend that was chosen sends it, and the endpoint at which its session lives. */
  target: SessionTarget | undefined;
  session: Endpoint | undefined;
};

/** The routes of one port, made to be asked. */
export type CompiledPort = Readonly<
  | { kind: 'http'; table: RouteTable }
  | { kind: 'tcp'; route: Extract<PortRoutes, { kind: 'tcp' }>['route'] }
>;

/**
 * A rule's filters, compiled when the first request is routed by it and kept as long as the rule: a rule never changes, it is
 * replaced.
 *
 * @throws {MeshError} for a filter that cannot be done; the codec has refused such rules before.
 */
export const compileRule = perObject(
  (rule: HttpRule): CompiledRule => ({
    rule,
    chain: compileFilters(rule.filters),
    backends: new Map(
      rule.backends.map((backend) => [backend, compileFilters(backend.filters)] as const),
    ),
  }),
);

/**
 * The routes for a client's requests to a port: those of its own namespace where there are any for the port's service, or else the
 * service's own; `undefined` when there are none: then the service's own endpoints serve everything.
 */
export function routesFor(
  { routes }: ServiceConfig,
  clientNamespace: string | undefined,
  port: number,
): CompiledPort | undefined {
  if (routes === undefined) return undefined;
  const consumer =
    clientNamespace === undefined ? undefined : routes.consumer.get(clientNamespace)?.get(port);
  const found = consumer ?? routes.producer.get(port);
  return found === undefined ? undefined : compilePort(found);
}

const compilePort = perObject(
  (routes: PortRoutes): CompiledPort =>
    routes.kind === 'http'
      ? { kind: 'http', table: new RouteTable(routes.routes) }
      : { kind: 'tcp', route: routes.route },
);
