import { perObject } from '../base/per-object.ts';
import type { HttpBackend, HttpRule } from '../mesh/model/http-route.ts';
import type { HeaderField } from '../mesh/model/http-filter.ts';
import { findHeader } from '../net/h2/headers.ts';
import type { Endpoint } from './balance/endpoint.ts';
import type { HttpVersion } from './downstream.ts';
import { formatToken, parseToken, ruleMark } from './filters/session-token.ts';
import { tokenField } from './filters/session.ts';
import type { HttpRequest } from './http-request.ts';
import type { SessionTarget } from './session-endpoints.ts';
import { isTargetEndpoint, type TargetBackend } from './upstream/target-backend.ts';
import type { UpstreamTargets } from './upstream/targets.ts';

/** Where a request's session lives. */
export type Session = Readonly<{
  backend: HttpBackend;
  target: TargetBackend;
  endpoint: Endpoint;
}>;

/**
 * The session whose token a request brings back: at an endpoint of any of its rule's backends, whatever their weights (GEP-1619);
 * `undefined` where it has none, or its endpoint can serve nobody: then another one is chosen, and the client told.
 */
export function findSession(
  rule: HttpRule,
  text: string,
  version: HttpVersion,
  targets: Pick<UpstreamTargets, 'backend'>,
  nowMs: number,
): Session | undefined {
  const { sessionPersistence } = rule;
  if (sessionPersistence === undefined) return undefined;
  const token = parseToken(markOf(rule), text, sessionPersistence.absoluteMs, nowMs);
  if (token === undefined) return undefined;
  for (const backend of rule.backends) {
    if (backend.target === undefined) continue;
    const target = targets.backend(backend.target, version);
    if ('problem' in target) continue;
    const endpoint = target.sessions.find(token.mark);
    if (endpoint === undefined) continue;
    return endpoint.state.available ? { backend, target, endpoint } : undefined;
  }
  return undefined;
}

/**
 * The field that gives the client the session which it now has; `undefined` where it has that already, or where no endpoint of the
 * rule's own answered.
 */
export function sessionField(
  rule: HttpRule,
  request: HttpRequest,
  target: SessionTarget,
  nowMs: number,
): HeaderField | undefined {
  const { sessionPersistence } = rule;
  const { endpoint: place, head, routing } = request;
  if (sessionPersistence === undefined || place === undefined || !isTargetEndpoint(place))
    return undefined;
  const mark = target.sessions.markOf(place.endpoint);
  if (target.sessions.find(mark) !== place.endpoint) return undefined;
  const { absoluteMs } = sessionPersistence;
  const brought = routing?.token;
  const known =
    brought === undefined ? undefined : parseToken(markOf(rule), brought, absoluteMs, nowMs);
  if (known?.mark === mark) return undefined;
  const began = absoluteMs === undefined ? undefined : Math.floor(nowMs / 1000);
  const isSecure = findHeader(head.list, 'x-forwarded-proto') === 'https';
  return tokenField(sessionPersistence, formatToken(markOf(rule), mark, began), isSecure);
}

/** Rules are replaced, never changed. */
const markOf = perObject(({ name }: HttpRule): string => ruleMark(name));
