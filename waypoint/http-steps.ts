import { unreachable } from '../base/unreachable.ts';
import type { HttpBackend, HttpRule } from '../mesh/model/http-route.ts';
import type { PathNormalization } from '../mesh/model/path-normalization.ts';
import type { Service } from '../mesh/model/service.ts';
import type { WaypointStore } from '../mesh/proxy/state/waypoint-store.ts';
import { keyOfService } from '../mesh/proxy/state/vips.ts';
import { findHeader, type HeaderList } from '../net/h2/headers.ts';
import { splitAuthority } from '../net/http1/authority.ts';
import type { Downstream } from './downstream.ts';
import { chooseBackend } from './filters/backend.ts';
import {
  compileFilters,
  filterRequest,
  filterResponse,
  type FilterChain,
} from './filters/chain.ts';
import { chooseMirrors, mirrorHeaders } from './filters/mirror.ts';
import { requestToken } from './filters/session.ts';
import { decideFault } from './filters/fault.ts';
import type { FilterAnswer } from './filters/respond.ts';
import type { HttpRequest } from './http-request.ts';
import { Mirror } from './mirror.ts';
import { BAD_PATH, MISDIRECTED, NO_BACKEND, NO_HOST, type LocalReply } from './local-reply.ts';
import { normalizePath } from './normalize-path.ts';
import { pause } from './pause.ts';
import { tellRateLimits } from './rate-limit.ts';
import {
  DEFAULT_SETTINGS,
  type BackendChoice,
  type RequestParts,
  type RequestSettings,
  type Verdict,
} from './request-parts.ts';
import { DI, FI, NC, UH } from './response-flags.ts';
import type { GatewayRoutes } from './gateway/gateway-routes.ts';
import { compileRule, routesFor } from './routing.ts';
import { findSession, sessionField } from './sessions.ts';
import type { Deadlines } from './timeout.ts';
import type { UpstreamPool } from './upstream/pool.ts';
import { PodBackend } from './upstream/pod-backend.ts';
import type { NoBackend, UpstreamTargets } from './upstream/targets.ts';

/** What decides about requests beside their routes. */
export type RequestJudges = Readonly<{
  /** External authorization, tokens, then policy. */
  authorize(request: HttpRequest): Verdict | Promise<Verdict>;
  limitRate(request: HttpRequest): Verdict | Promise<Verdict>;
  trace(request: HttpRequest): void;
  onRequestEnd(request: HttpRequest): void;
  onFault(error: unknown): void;
}>;

export type HttpStepsOptions = Readonly<{
  store: WaypointStore;
  targets: UpstreamTargets;
  pool: UpstreamPool;
  deadlines: Deadlines;
  judges: RequestJudges;
  /** From 0 to below 1. */
  random: () => number;
  /** What is listened for as a gateway, as it is now. */
  gateway?: () => GatewayRoutes;
  /** How paths are read now. */
  paths: () => PathNormalization;
}>;

const NO_FILTERS: FilterChain = compileFilters([]);

/** The steps of a request, each with the configuration that holds when it is taken; a rule, once found, is kept. */
export class HttpSteps implements RequestParts {
  readonly settings: RequestSettings = DEFAULT_SETTINGS;
  readonly pool: UpstreamPool;
  readonly deadlines: Deadlines;
  readonly #options: HttpStepsOptions;
  /** Rules that no one wrote: of services without routes, and of pods. */
  readonly #plain = new WeakMap<Service, Map<number, HttpRule>>();
  readonly #ofPods = new WeakMap<Downstream, PodBackend>();

  constructor(options: HttpStepsOptions) {
    this.#options = options;
    this.pool = options.pool;
    this.deadlines = options.deadlines;
  }

  random(): number {
    return this.#options.random();
  }

  onFault(error: unknown): void {
    this.#options.judges.onFault(error);
  }

  onRequestEnd(request: HttpRequest): void {
    this.#options.judges.onRequestEnd(request);
  }

  normalise(request: HttpRequest): Verdict {
    const { head } = request;
    if (this.#isMisdirected(request)) return MISDIRECTED;
    const normal = normalizePath(head.path, this.#options.paths());
    if (normal.kind === 'refused') return BAD_PATH;
    head.path = normal.target;
    return undefined;
  }

  authorize(request: HttpRequest): Verdict | Promise<Verdict> {
    return this.#options.judges.authorize(request);
  }

  limitRate(request: HttpRequest): Verdict | Promise<Verdict> {
    return this.#options.judges.limitRate(request);
  }

  findRule(request: HttpRequest): HttpRule | undefined {
    if (request.downstream.edge !== undefined) return this.#edgeRule(request);
    const { service, local, namespace } = request.downstream;
    const config = service && this.#options.store.config(keyOfService(service));
    const routes = config && routesFor(config, namespace, local.port);
    if (routes?.kind === 'http') {
      const found = routes.table.find(request.head.list, namespace, request.claims);
      if (found === undefined) return undefined;
      this.#follow(request, found.rule, found.prefix);
      return found.rule;
    }
    const rule = service === undefined ? POD_RULE : this.#plainRule(service, local.port);
    this.#follow(request, rule, '');
    return rule;
  }

  /** What let the client in was the listener of the name in its handshake, so no other one serves its requests. */
  #isMisdirected({ head, downstream: { edge, local } }: HttpRequest): boolean {
    if (edge?.serverName === undefined) return false;
    const port = this.#options.gateway?.().port(local.port, 'tcp');
    const [hostname] = splitAuthority(head.authority);
    const meant = port?.listenerOf(hostname);
    return meant !== undefined && meant !== port?.listenerOf(edge.serverName);
  }

  #edgeRule(request: HttpRequest): HttpRule | undefined {
    const { head, downstream } = request;
    const [hostname] = splitAuthority(head.authority);
    const found = this.#options
      .gateway?.()
      .port(downstream.local.port, 'tcp')
      ?.listenerOf(hostname)
      ?.rule(hostname, head.list);
    if (found === undefined) return undefined;
    this.#follow(request, found.rule, found.prefix);
    return found.rule;
  }

  filterRequest(request: HttpRequest): Verdict | Promise<Verdict> {
    const { routing } = request;
    const chain = routing?.compiled.chain ?? NO_FILTERS;
    const { delayMs, abort } = decideFault(chain.delays, chain.aborts, this.#options.random);
    if (delayMs > 0) return this.#delay(request, delayMs, chain, abort);
    return this.#filter(request, chain, abort);
  }

  async #delay(
    request: HttpRequest,
    delayMs: number,
    chain: FilterChain,
    abort: ReturnType<typeof decideFault>['abort'],
  ): Promise<Verdict> {
    request.flags |= DI;
    await pause(this.deadlines, delayMs);
    return this.#filter(request, chain, abort);
  }

  #filter(
    request: HttpRequest,
    chain: FilterChain,
    abort: ReturnType<typeof decideFault>['abort'],
  ): Verdict {
    if (abort !== undefined) {
      const { status, grpcStatus } = abort;
      return {
        ...{ status, flags: FI, details: 'fault_filter_abort', body: 'fault filter abort' },
        ...(grpcStatus !== undefined && { grpcStatus }),
      };
    }
    const cors = chain.cors?.decide(request.head.list);
    if (cors?.kind === 'answer') return replyOf(cors.answer);
    const { routing } = request;
    if (routing !== undefined) routing.cors = cors;
    return applyFilters(request, chain);
  }

  chooseBackend(request: HttpRequest, rule: HttpRule): BackendChoice {
    const { downstream, routing } = request;
    if (rule === POD_RULE) return this.#podBackend(downstream);
    const { targets, random } = this.#options;
    const session =
      routing?.token === undefined
        ? undefined
        : findSession(rule, routing.token, downstream.version, targets, Date.now());
    const backend = session?.backend ?? chooseBackend(rule, random());
    if (backend === undefined) return { kind: 'reply', reply: NO_BACKEND };
    if (backend.target === undefined) return { kind: 'reply', reply: unusable(backend) };
    const chain = routing?.compiled.backends.get(backend) ?? NO_FILTERS;
    if (routing !== undefined) routing.backendChain = chain;
    const refused = applyFilters(request, chain);
    if (refused !== undefined) return { kind: 'reply', reply: refused };
    const found = targets.backend(backend.target, downstream.version);
    if ('chooseEndpoint' in found) {
      if (routing !== undefined) {
        routing.target = found;
        routing.session = session?.endpoint;
      }
      return { kind: 'backend', backend: found };
    }
    return { kind: 'reply', reply: withoutBackend(found) };
  }

  #podBackend(downstream: Downstream): BackendChoice {
    let backend = this.#ofPods.get(downstream);
    if (backend === undefined) {
      const { pod } = downstream;
      if (pod === undefined) return { kind: 'reply', reply: NO_HOST };
      backend = new PodBackend(pod, downstream.local.port, downstream.version);
      this.#ofPods.set(downstream, backend);
    }
    return { kind: 'backend', backend };
  }

  trace(request: HttpRequest): void {
    this.#options.judges.trace(request);
  }

  mirror(request: HttpRequest): void {
    const { routing, head, downstream } = request;
    if (routing === undefined || head.protocol !== '') return;
    const { compiled, backendChain } = routing;
    const ofRule = chooseMirrors(compiled.chain.mirrors, this.#options.random);
    const ofBackend = chooseMirrors((backendChain ?? NO_FILTERS).mirrors, this.#options.random);
    if (ofRule.length + ofBackend.length === 0) return;
    const mirrors: Mirror[] = [];
    for (const target of [...ofRule, ...ofBackend]) {
      const backend = this.#options.targets.backend(target, downstream.version);
      // A copy that cannot be sent is no reason to refuse the request.
      if (!('chooseEndpoint' in backend)) continue;
      const { pool, deadlines } = this;
      mirrors.push(new Mirror(request, mirrorHeaders(head.list), backend, { pool, deadlines }));
    }
    if (mirrors.length > 0) request.mirrorTo(mirrors);
  }

  filterResponse(request: HttpRequest, list: string[]): HeaderList {
    const { routing, responseHeaders } = request;
    if (routing === undefined) return list;
    const { backendChain, compiled, cors, setCookie, target } = routing;
    let headers: HeaderList = list;
    if (responseHeaders.length > 0) headers = [...headers, ...responseHeaders];
    if (backendChain !== undefined) headers = filterResponse(backendChain, headers);
    headers = filterResponse(compiled.chain, headers);
    if (cors !== undefined && compiled.chain.cors !== undefined)
      headers = compiled.chain.cors.changeResponse(headers, cors);
    headers = tellRateLimits(request, headers);
    if (compiled.rule.sessionPersistence !== undefined && target !== undefined) {
      const field = sessionField(compiled.rule, request, target, Date.now());
      if (field !== undefined) headers = [...headers, field.name, field.value];
    }
    return setCookie === undefined ? headers : [...headers, 'set-cookie', setCookie];
  }

  #follow(request: HttpRequest, rule: HttpRule, prefix: string): void {
    const { sessionPersistence } = rule;
    request.routing = {
      ...{ compiled: compileRule(rule), prefix, cors: undefined },
      ...{ backendChain: undefined, hash: undefined, setCookie: undefined },
      ...{ target: undefined, session: undefined },
      token: sessionPersistence && requestToken(sessionPersistence, request.head.list),
    };
  }

  /** Where nobody has said anything: to the service itself. */
  #plainRule(service: Service, port: number): HttpRule {
    let byPort = this.#plain.get(service);
    if (byPort === undefined) {
      byPort = new Map<number, HttpRule>();
      this.#plain.set(service, byPort);
    }
    let rule = byPort.get(port);
    if (rule === undefined) {
      const target = { service: keyOfService(service), port };
      rule = {
        ...{ name: 'default', matches: [], filters: [] },
        backends: [{ target, weight: 1, filters: [] }],
      };
      byPort.set(port, rule);
    }
    return rule;
  }
}

const POD_RULE: HttpRule = { name: 'default', matches: [], filters: [], backends: [] };

function applyFilters(request: HttpRequest, chain: FilterChain): Verdict {
  if (chain.steps.length === 0) return undefined;
  const { head, downstream, routing } = request;
  const outcome = filterRequest(chain, head.list, downstream.local.port, routing?.prefix ?? '');
  if (outcome.kind === 'answer') return replyOf(outcome.answer);
  if (outcome.headers !== head.list) head.list = [...outcome.headers];
  return undefined;
}

/** The fields that every answer of ours has are added to it again. */
function replyOf({ headers, body, reason }: FilterAnswer): LocalReply {
  const kept: string[] = [];
  for (let index = 2; index < headers.length; index += 2) {
    const name = headers[index] ?? '';
    if (name === 'content-length' || name === 'content-type') continue;
    kept.push(name, headers[index + 1] ?? '');
  }
  return {
    ...{ status: Number(findHeader(headers, ':status')), flags: 0, details: reason },
    ...{ body: body.toString('utf8'), headers: kept },
  };
}

function withoutBackend({ problem, reason }: NoBackend): LocalReply {
  switch (problem) {
    case 'unknown service':
      return { ...NO_BACKEND, flags: NC, details: 'cluster_not_found' };
    case 'unknown subset':
      return NO_HOST;
    case 'waypoint':
      return { ...NO_HOST, details: `waypoint_unavailable{${reason}}` };
    case 'refused':
      return {
        ...{ status: 503, flags: UH, body: '' },
        details: `traffic_policy_refused{${reason}}`,
      };
    default:
      return unreachable(problem);
  }
}

/** A backend that keeps its share of the requests and cannot take them. */
function unusable({ problem }: HttpBackend): LocalReply {
  return { ...NO_BACKEND, details: `invalid_backend{${problem ?? 'unknown'}}`, grpcStatus: 14 };
}
