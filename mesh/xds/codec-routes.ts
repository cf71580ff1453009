import { unreachable } from '../../base/unreachable.ts';
import { describeError, MeshError } from '../../base/errors.ts';
import {
  RETRY_CONDITIONS,
  type HttpBackend,
  type HttpMatch,
  type HttpRoutes,
  type HttpRule,
  type PortRoutes,
  type RetryPolicy,
  type ServiceRoutes,
  type SessionPersistence,
  type TcpRoute,
  type ValueMatch,
} from '../model/http-route.ts';
import { httpRuleProblem } from '../model/http-rule-problem.ts';
import {
  ServiceRoutes as ServiceRoutesMessage,
  type HttpBackend as HttpBackendMessage,
  type HttpMatch as HttpMatchMessage,
  type HttpRoutes as HttpRoutesMessage,
  type HttpRule as HttpRuleMessage,
  type PortRoutes as PortRoutesMessage,
  type RetryPolicy as RetryPolicyMessage,
  type SessionPersistence as SessionPersistenceMessage,
  type TcpBackend as TcpBackendMessage,
  type TcpRoute as TcpRouteMessage,
  type TextMatch as TextMatchMessage,
  type ValueMatch as ValueMatchMessage,
} from '../proto/gen/waypoint-routes.ts';
import { decodePort, decodeServiceKey, resourceError } from './codec-fields.ts';
import { decodeFilter, encodeFilter } from './codec-filters.ts';
import {
  decodeAmount,
  decodeName,
  decodeTarget,
  decodeUnique,
  decodeWholly,
  encodeTarget,
  sorted,
} from './codec-values.ts';

export const SERVICE_ROUTES_TYPE = 'type.googleapis.com/halo.waypoint.v1alpha1.ServiceRoutes';

const PATH_KINDS = ['exact', 'prefix', 'text-prefix', 'regex'] as const;
const TEXT_KINDS = ['exact', 'prefix', 'regex'] as const;
const VALUE_KINDS = ['exact', 'prefix', 'regex', 'present'] as const;
/**
 * Decodes what a waypoint is told of the routes of a service.
 *
 * @throws {MeshError} ERR_XDS_RESOURCE with the service's name and what was not understood; ERR_PROTO for what is no message.
 */
export function decodeServiceRoutes(bytes: Uint8Array): ServiceRoutes {
  const message = decodeWholly(ServiceRoutesMessage, bytes, 'a ServiceRoutes resource');
  try {
    return {
      service: decodeServiceKey(message.service),
      producer: decodePorts(message.producer),
      consumer: decodeUnique(
        message.consumer,
        ({ namespace, ports }) => [namespace, decodePorts(ports)] as const,
        'namespace',
      ),
    };
  } catch (error) {
    if (!(error instanceof MeshError)) throw error;
    const what = JSON.stringify(message.service.slice(0, 512));
    throw resourceError(`Cannot use the routes of ${what}: ${describeError(error)}`);
  }
}

/** The bytes of a service's routes; equal routes give equal bytes. */
export function encodeServiceRoutes(routes: ServiceRoutes): Uint8Array {
  return ServiceRoutesMessage.encode({
    service: routes.service,
    producer: encodePorts(routes.producer),
    consumer: sorted(routes.consumer).map(([namespace, ports]) => ({
      namespace,
      ports: encodePorts(ports),
    })),
  }).finish();
}

function decodePorts(list: readonly PortRoutesMessage[]): ReadonlyMap<number, PortRoutes> {
  return decodeUnique(
    list,
    ({ port, routes }) =>
      [decodePort(port, 'port', { zero: false }), decodePortRoutes(routes)] as const,
    'port',
  );
}

function decodePortRoutes(routes: PortRoutesMessage['routes']): PortRoutes {
  switch (routes?.$case) {
    case 'http':
      return { kind: 'http', routes: decodeHttp(routes.value) };
    case 'tcp':
      return { kind: 'tcp', route: decodeTcp(routes.value) };
    case undefined:
      throw resourceError('routes of no known kind');
  }
}

function encodePorts(ports: ReadonlyMap<number, PortRoutes>): PortRoutesMessage[] {
  return sorted(ports).map(([port, routes]) => {
    switch (routes.kind) {
      case 'http':
        return { port, routes: { $case: 'http', value: encodeHttp(routes.routes) } };
      case 'tcp':
        return { port, routes: { $case: 'tcp', value: encodeTcp(routes.route) } };
      default:
        return unreachable(routes);
    }
  });
}

/** @throws {MeshError} ERR_XDS_RESOURCE for what is not known here. */
export function decodeHttp({ choice, grpc, rules }: HttpRoutesMessage): HttpRoutes {
  return {
    choice: decodeName(['precedence', 'order'], choice, 'choice'),
    grpc,
    rules: rules.map(decodeRule),
  };
}

export function encodeHttp({ choice, grpc, rules }: HttpRoutes): HttpRoutesMessage {
  return { choice, grpc, rules: rules.map(encodeRule) };
}

function decodeRule(message: HttpRuleMessage): HttpRule {
  const { name, timeoutMs, retry, sessionPersistence } = message;
  const rule: HttpRule = {
    name,
    matches: message.matches.map(decodeMatch),
    filters: message.filters.map(decodeFilter),
    backends: message.backends.map(decodeBackend),
    ...(timeoutMs === undefined ? {} : { timeoutMs: decodeAmount(timeoutMs, 'timeout_ms') }),
    ...(retry === undefined ? {} : { retry: decodeRetry(retry) }),
    ...(sessionPersistence === undefined
      ? {}
      : { sessionPersistence: decodeSession(sessionPersistence) }),
  };
  // Here and not where it is compiled: what cannot be used is refused before it takes the place of what can.
  const problem = httpRuleProblem(rule);
  if (problem !== undefined) throw resourceError(`rule ${name.slice(0, 512)}: ${problem}`);
  return rule;
}

function encodeRule(rule: HttpRule): HttpRuleMessage {
  const { name, matches, filters, backends, timeoutMs, retry, sessionPersistence } = rule;
  return {
    name,
    matches: matches.map(encodeMatch),
    filters: filters.map(encodeFilter),
    backends: backends.map(encodeBackend),
    timeoutMs,
    retry: retry === undefined ? undefined : encodeRetry(retry),
    sessionPersistence:
      sessionPersistence === undefined ? undefined : encodeSession(sessionPersistence),
  };
}

function decodeMatch(message: HttpMatchMessage): HttpMatch {
  const { path, method, authority, scheme, sourceNamespace } = message;
  return {
    ...(path === undefined
      ? {}
      : {
          path: {
            kind: decodeName(PATH_KINDS, path.kind, 'path.kind'),
            value: path.value,
            ...(path.ignoreCase === undefined ? {} : { ignoreCase: path.ignoreCase }),
          },
        }),
    ...(method === undefined ? {} : { method }),
    headers: message.headers.map((each) => decodeValueMatch(each, 'headers')),
    queryParams: message.queryParams.map((each) => decodeValueMatch(each, 'query_params')),
    ...(authority === undefined ? {} : { authority: decodeTextMatch(authority, 'authority') }),
    ...(scheme === undefined ? {} : { scheme: decodeTextMatch(scheme, 'scheme') }),
    ...(sourceNamespace === undefined ? {} : { sourceNamespace }),
  };
}

function encodeMatch(match: HttpMatch): HttpMatchMessage {
  const { path, method, headers, queryParams, authority, scheme, sourceNamespace } = match;
  return {
    path: path === undefined ? undefined : { ...path },
    method,
    headers: headers.map(encodeValueMatch),
    queryParams: queryParams.map(encodeValueMatch),
    authority: authority === undefined ? undefined : { ...authority },
    scheme: scheme === undefined ? undefined : { ...scheme },
    sourceNamespace,
  };
}

function decodeTextMatch(
  { kind, value, ignoreCase }: TextMatchMessage,
  field: string,
): NonNullable<HttpMatch['authority']> {
  if (ignoreCase !== undefined) throw resourceError(`ignore_case of ${field} is not supported`);
  return { kind: decodeName(TEXT_KINDS, kind, `${field}.kind`), value };
}

/** @throws {MeshError} ERR_XDS_RESOURCE for what is not known here. */
export function decodeValueMatch(
  { name, kind, value, absent }: ValueMatchMessage,
  field: string,
): ValueMatch {
  const known = decodeName(VALUE_KINDS, kind, `${field}.kind`);
  const inverted = absent === undefined ? {} : { absent };
  if (known !== 'present') return { name, kind: known, value, ...inverted };
  if (value !== '') throw resourceError(`a value in ${field} where presence counts`);
  return { name, kind: known, ...inverted };
}

export function encodeValueMatch(match: ValueMatch): ValueMatchMessage {
  const { name, kind, absent } = match;
  return { name, kind, value: match.kind === 'present' ? '' : match.value, absent };
}

function decodeBackend(message: HttpBackendMessage): HttpBackend {
  return { ...decodeShareOf(message), filters: message.filters.map(decodeFilter) };
}

function encodeBackend(backend: HttpBackend): HttpBackendMessage {
  return { ...encodeShareOf(backend), filters: backend.filters.map(encodeFilter) };
}

/** What backends of either kind have; one that goes nowhere and does not say why is refused. */
function decodeShareOf({
  target,
  problem,
  weight,
}: TcpBackendMessage): TcpRoute['backends'][number] {
  if (target === undefined && problem === undefined) throw resourceError('a backend of no kind');
  return {
    ...(target === undefined ? {} : { target: decodeTarget(target) }),
    ...(problem === undefined ? {} : { problem }),
    weight,
  };
}

function encodeShareOf({
  target,
  problem,
  weight,
}: TcpRoute['backends'][number]): TcpBackendMessage {
  return { target: target === undefined ? undefined : encodeTarget(target), problem, weight };
}

/** @throws {MeshError} ERR_XDS_RESOURCE for what is not known here. */
export function decodeTcp({ name, backends }: TcpRouteMessage): TcpRoute {
  return { name, backends: backends.map(decodeShareOf) };
}

export function encodeTcp({ name, backends }: TcpRoute): TcpRouteMessage {
  return { name, backends: backends.map(encodeShareOf) };
}

function decodeRetry(message: RetryPolicyMessage): RetryPolicy {
  const { attempts, statusCodes, perTryTimeoutMs, backoffMs } = message;
  return {
    attempts,
    conditions: message.conditions.map((name) =>
      decodeName(RETRY_CONDITIONS, name, 'retry.conditions'),
    ),
    statusCodes,
    ...(perTryTimeoutMs === undefined
      ? {}
      : { perTryTimeoutMs: decodeAmount(perTryTimeoutMs, 'retry.per_try_timeout_ms') }),
    backoffMs: decodeAmount(backoffMs, 'retry.backoff_ms'),
  };
}

function encodeRetry(retry: RetryPolicy): RetryPolicyMessage {
  const { attempts, conditions, statusCodes, perTryTimeoutMs, backoffMs } = retry;
  return {
    ...{ attempts, perTryTimeoutMs, backoffMs },
    conditions: [...conditions],
    statusCodes: [...statusCodes],
  };
}

function decodeSession({ by, absoluteMs }: SessionPersistenceMessage): SessionPersistence {
  const bound =
    absoluteMs === undefined
      ? {}
      : { absoluteMs: decodeAmount(absoluteMs, 'session_persistence.absolute_ms') };
  switch (by?.$case) {
    case 'cookie': {
      const { name, path, lifetimeMs } = by.value;
      return {
        ...{ kind: 'cookie', name, path, ...bound },
        ...(lifetimeMs === undefined
          ? {}
          : { lifetimeMs: decodeAmount(lifetimeMs, 'session_persistence.lifetime_ms') }),
      };
    }
    case 'header':
      return { kind: 'header', name: by.value, ...bound };
    case undefined:
      throw resourceError('session persistence of no known kind');
  }
}

function encodeSession(session: SessionPersistence): SessionPersistenceMessage {
  const { absoluteMs } = session;
  if (session.kind === 'header')
    return { by: { $case: 'header', value: session.name }, absoluteMs };
  const { name, path, lifetimeMs } = session;
  return { by: { $case: 'cookie', value: { name, path, lifetimeMs } }, absoluteMs };
}
