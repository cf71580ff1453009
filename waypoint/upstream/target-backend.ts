import type { Service } from '../../mesh/model/service.ts';
import type { TrafficPolicy, UpstreamTls } from '../../mesh/model/traffic-policy.ts';
import type { BackendRetries } from '../../mesh/model/backend-policy.ts';
import { formatSocketAddress, parseIpAddress, type SocketAddress } from '../../base/address.ts';
import { formatAuthority, type Authority } from '../../mesh/hbone/authority.ts';
import { workloadIdentity, type Workload } from '../../mesh/model/workload.ts';
import type { AdaptiveConcurrency } from '../adaptive-concurrency.ts';
import type { Backend, NoRoom, TryOutcome } from '../backend.ts';
import type { Endpoint } from '../balance/endpoint.ts';
import { hashRequest } from '../balance/hash-key.ts';
import type { PickRequest } from '../balance/picker.ts';
import type { Permit } from '../circuit-breaker.ts';
import type { HttpVersion } from '../downstream.ts';
import type { HttpRequest } from '../http-request.ts';
import type { SessionEndpoints } from '../session-endpoints.ts';
import type { UpstreamTarget } from '../upstream-target.ts';
import type { PoolLimits, UpstreamVersion } from './endpoint-pool.ts';
import type { UpstreamEndpoint } from './endpoint.ts';
import { tlsKey } from './tls.ts';

/** A place to send to, with what it takes to get there. */
export type TargetEndpoint = UpstreamEndpoint &
  Readonly<{
    endpoint: Endpoint;
    workload: Workload;
    service: Service | undefined;
    /** What its application speaks TLS with; `undefined`: it speaks as it is. */
    tls: UpstreamTls | undefined;
    /** The waypoint of which it is an instance; `undefined`: it serves by itself. */
    through: Through | undefined;
  }>;

/** What stands in front of a service, and what it is asked for. */
export type Through = Readonly<{ waypoint: Service; authority: Authority }>;

/** What most first tries ask for. */
const ANYWHERE: PickRequest = {};
/** Where an address is still to be found by its name. */
const NO_ADDRESS = parseIpAddress('0.0.0.0');

/** Made once for each endpoint, so that a pick makes nothing. */
const places = new WeakMap<Endpoint, TargetEndpoint>();

export function placeOf(
  endpoint: Endpoint,
  service: Service | undefined,
  tls?: UpstreamTls,
  through?: Through,
): TargetEndpoint {
  const known = places.get(endpoint);
  if (known !== undefined && known.service === service && known.tls === tls)
    if (known.through === through) return known;
  const { workload, port } = endpoint;
  const reach = reachOf(workload, port, tls, through);
  const made = { ...reach, workload, endpoint, service, tls, through };
  places.set(endpoint, made);
  return made;
}

/** Where a workload's port is, and how it is reached. */
export function reachOf(
  workload: Workload,
  port: number,
  tls: UpstreamTls | undefined,
  through: Through | undefined,
): Pick<UpstreamEndpoint, 'key' | 'text' | 'address' | 'identity'> {
  // Waypoints take tunnels, whatever is said of their pods.
  const isTunnel = workload.tunnelProtocol === 'HBONE' || through !== undefined;
  const identity = isTunnel ? workloadIdentity(workload) : undefined;
  const [ip] = workload.addresses;
  const address: SocketAddress = { ip: ip ?? NO_ADDRESS, port };
  const text = ip === undefined ? `${workload.hostname}:${port}` : formatSocketAddress(address);
  const secured = tls === undefined ? '' : ` ${tlsKey(tls)}`;
  const asked = through === undefined ? '' : ` ${formatAuthority(through.authority)}`;
  const key = `${workload.uid} ${text} ${identity ?? ''}${secured}${asked}`;
  return { key, text, address, identity };
}

/** A port of a service, or of one of its subsets, as requests of one configuration see it. */
export class TargetBackend implements Backend {
  readonly name: string;
  readonly version: UpstreamVersion;
  readonly limits: PoolLimits;
  readonly service: Service;
  readonly sessions: SessionEndpoints;
  readonly retryPolicy: BackendRetries | undefined;
  /** The target's when this was made: who began there ends there. */
  readonly #adaptive: AdaptiveConcurrency | undefined;
  readonly #fallback: ((downstream: HttpVersion) => Backend | undefined) | undefined;
  readonly #target: UpstreamTarget;
  readonly #policy: TrafficPolicy;
  readonly #through: Through | undefined;
  readonly #random: () => number;

  constructor(
    options: Readonly<{
      name: string;
      version: UpstreamVersion;
      service: Service;
      target: UpstreamTarget;
      sessions: SessionEndpoints;
      policy: TrafficPolicy;
      retryPolicy: BackendRetries | undefined;
      fallback: ((downstream: HttpVersion) => Backend | undefined) | undefined;
      /** The waypoint whose instances the target's endpoints are. */
      through?: Through;
      /** From 0 to below 1. */
      random: () => number;
    }>,
  ) {
    this.name = options.name;
    this.version = options.version;
    this.service = options.service;
    this.sessions = options.sessions;
    this.retryPolicy = options.retryPolicy;
    this.#adaptive = options.target.adaptive;
    this.#fallback = options.fallback;
    this.#target = options.target;
    this.#policy = options.policy;
    this.#through = options.through;
    this.#random = options.random;
    this.limits = limitsOf(options.policy);
  }

  chooseEndpoint(
    request: HttpRequest,
    tried: readonly UpstreamEndpoint[],
  ): UpstreamEndpoint | undefined {
    const { balancer } = this.#policy;
    const { routing } = request;
    // A mirror of the same request is another backend's.
    if (routing?.session !== undefined && routing.target === this && tried.length === 0)
      return this.#placeOf(routing.session);
    const asksNothing =
      tried.length === 0 && !('source' in balancer) && balancer.kind !== 'passthrough';
    const endpoint = this.#target.pick(asksNothing ? ANYWHERE : this.#pickRequest(request, tried));
    return endpoint && this.#placeOf(endpoint);
  }

  #placeOf(endpoint: Endpoint): TargetEndpoint {
    return placeOf(endpoint, this.service, this.#policy.tls, this.#through);
  }

  #pickRequest(request: HttpRequest, tried: readonly UpstreamEndpoint[]): PickRequest {
    const { balancer } = this.#policy;
    return {
      ...('source' in balancer && { hash: this.#hashOf(request) }),
      ...(tried.length > 0 && { tried: tried.filter(isTargetEndpoint).map(endpointOf) }),
      ...(balancer.kind === 'passthrough' && { destination: request.downstream.localText }),
    };
  }

  /** The same for all tries of a request, so that a retry goes on from where the first try went. */
  #hashOf(request: HttpRequest): number | undefined {
    const { balancer } = this.#policy;
    const { routing, head, downstream } = request;
    if (!('source' in balancer)) return undefined;
    if (routing?.hash !== undefined) return routing.hash;
    const found = hashRequest(balancer.source, head.list, downstream.remote.ip, this.#random);
    if (routing !== undefined) {
      routing.hash = found?.hash;
      routing.setCookie = found?.setCookie;
    }
    return found?.hash;
  }

  /** All that there are, available or not. */
  endpoints(): readonly Endpoint[] {
    return this.#target.endpoints();
  }

  /** What stands in front of it; `undefined`: it is reached directly. */
  get through(): Through | undefined {
    return this.#through;
  }

  /** TLS with its applications. */
  get tls(): UpstreamTls | undefined {
    return this.#policy.tls;
  }

  beginTry(endpoint: UpstreamEndpoint): NoRoom | undefined {
    if (this.#adaptive?.begin() === false) return 'concurrency-limit';
    const permit = this.#target.circuitBreaker.acquire('requests');
    if (permit === undefined) {
      this.#adaptive?.end(undefined);
      return 'overflow';
    }
    this.#target.requestPermits.push(permit);
    if (isTargetEndpoint(endpoint)) endpoint.endpoint.state.active++;
    return undefined;
  }

  endTry(endpoint: UpstreamEndpoint, latencyMs?: number): void {
    this.#adaptive?.end(latencyMs);
    release(this.#target.requestPermits);
    if (isTargetEndpoint(endpoint)) endpoint.endpoint.state.active--;
  }

  judge(endpoint: UpstreamEndpoint, outcome: TryOutcome): boolean {
    if (!isTargetEndpoint(endpoint)) return false;
    const { outliers } = this.#target;
    const { state } = endpoint.endpoint;
    switch (outcome) {
      case 'connect-failure':
        return outliers.reportFailure(state, 'connect');
      case 'reset':
      case 'timeout':
        return outliers.reportFailure(state, outcome);
      default:
        return outliers.reportStatus(state, outcome);
    }
  }

  beginRetry(): boolean {
    const permit = this.#target.circuitBreaker.acquire('retries');
    if (permit === undefined) return false;
    this.#target.retryPermits.push(permit);
    return true;
  }

  endRetry(): void {
    release(this.#target.retryPermits);
  }

  fallback({ downstream }: HttpRequest): Backend | undefined {
    return this.#fallback?.(downstream.version);
  }
}

/** Permits of one kind are alike: any one of them is given back. */
function release(permits: Permit[]): void {
  permits.pop()?.[Symbol.dispose]();
}

export function isTargetEndpoint(endpoint: UpstreamEndpoint): endpoint is TargetEndpoint {
  return 'endpoint' in endpoint;
}

function endpointOf({ endpoint }: TargetEndpoint): Endpoint {
  return endpoint;
}

function limitsOf({ circuitBreaker, connectTimeoutMs, idleTimeoutMs }: TrafficPolicy): PoolLimits {
  return {
    maxConnections: circuitBreaker?.maxConnections ?? Infinity,
    maxPendingRequests: circuitBreaker?.maxPendingRequests ?? Infinity,
    maxRequestsPerConnection: circuitBreaker?.maxRequestsPerConnection ?? Infinity,
    connectTimeoutMs,
    idleTimeoutMs,
  };
}
