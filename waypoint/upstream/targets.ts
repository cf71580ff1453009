import type { Clock } from '../../certs/clock.ts';
import type { BackendTarget } from '../../mesh/model/http-filter.ts';
import type { AppProtocol, Service, ServiceKey } from '../../mesh/model/service.ts';
import type { GatewayAddress } from '../../mesh/model/gateway-address.ts';
import {
  DEFAULT_TRAFFIC_POLICY,
  trafficPolicyOf,
  type Subset,
  type TrafficPolicy,
} from '../../mesh/model/traffic-policy.ts';
import type { Workload } from '../../mesh/model/workload.ts';
import { describeGateway, findGateway, waypointsOf } from '../../mesh/proxy/state/gateway.ts';
import type { ProxyState } from '../../mesh/proxy/state/store.ts';
import { keyOfService } from '../../mesh/proxy/state/vips.ts';
import type { WaypointStore } from '../../mesh/proxy/state/waypoint-store.ts';
import type { BalancerSource } from '../balance/levels.ts';
import type { HttpVersion } from '../downstream.ts';
import { authorityOf, chooseIngressWay, type IngressWay } from '../gateway/ingress-way.ts';
import type { CheckedHealth, HealthResult } from '../health/checked-health.ts';
import type { OutlierEvent } from '../outlier.ts';
import { SessionEndpoints } from '../session-endpoints.ts';
import { UpstreamTarget } from '../upstream-target.ts';
import type { UpstreamVersion } from './endpoint-pool.ts';
import { TargetBackend, type Through } from './target-backend.ts';

export type TargetsParts = Readonly<{
  state: ProxyState;
  store: WaypointStore;
  /** One that only goes forward. */
  clock: Clock;
  /** This waypoint, as the control plane knows it now. */
  self: () => Workload | undefined;
  /** The network of this cluster. */
  network: string;
  /** For clients from outside of the mesh: then services may ask for their waypoints to be between. */
  isIngress: boolean;
  health?: CheckedHealth;
  onOutlierEvent?: (target: string, event: OutlierEvent) => void;
}>;

/** Why there is no backend for a request. */
export type NoBackend = Readonly<{
  problem: 'unknown service' | 'unknown subset' | 'refused' | 'waypoint';
  reason: string;
}>;

type Known = {
  readonly asked: BackendTarget;
  readonly name: string;
  readonly target: UpstreamTarget;
  readonly sessions: SessionEndpoints;
  service: Service;
  policy: TrafficPolicy;
  /** The waypoint whose instances its endpoints are; `undefined`: they are the service's own. */
  readonly waypoint: GatewayAddress | undefined;
  through: Through | undefined;
  readonly backends: Map<UpstreamVersion, TargetBackend>;
};

const NOWHERE: BalancerSource = {
  ...{ network: '', clusterId: '', node: '', labels: new Map<string, string>() },
  locality: { region: '', zone: '', subzone: '' },
};

/** Everything that requests of this thread are sent to, by service, port and subset. */
export class UpstreamTargets implements Disposable {
  readonly #parts: TargetsParts;
  readonly #known = new Map<string, Known>();

  constructor(parts: TargetsParts) {
    this.#parts = parts;
  }

  /** The backend for requests to a target; made when it is first asked for. */
  backend(asked: BackendTarget, downstream: HttpVersion): TargetBackend | NoBackend {
    const way = this.#parts.isIngress ? this.#ingressWay(asked) : undefined;
    if (way?.kind === 'refused') return { problem: 'waypoint', reason: way.reason };
    const waypoint = way?.kind === 'waypoint' ? way.waypoint : undefined;
    const own = `${asked.service} ${asked.port} ${asked.subset ?? ''}`;
    const key = waypoint === undefined ? own : `${own} ${describeGateway(waypoint)}`;
    const known = this.#known.get(key) ?? this.#make(key, asked, waypoint);
    if ('problem' in known) return known;
    const { policy, service } = known;
    if (policy.problem !== undefined) return { problem: 'refused', reason: policy.problem };
    const version = versionOf(protocolOf(service, asked.port), policy, downstream);
    let backend = known.backends.get(version);
    if (backend === undefined) {
      backend = this.#makeBackend(known, version);
      known.backends.set(version, backend);
    }
    return backend;
  }

  #ingressWay({ service: key }: BackendTarget): IngressWay | undefined {
    const { state, clock } = this.#parts;
    const service = state.service(key);
    return service && chooseIngressWay(service, clock.random);
  }

  #makeBackend(known: Known, version: UpstreamVersion): TargetBackend {
    const { asked, name, service, target, sessions, policy, through } = known;
    const { clock, store } = this.#parts;
    const made = { name, version, service, target, sessions, policy, random: clock.random };
    // What is attached to the service is for its waypoint to follow, which would do it a second time.
    if (through !== undefined)
      return new TargetBackend({ ...made, through, retryPolicy: undefined, fallback: undefined });
    const { retries: retryPolicy, fallback } = store.config(asked.service).backend ?? {};
    return new TargetBackend({
      ...{ ...made, retryPolicy },
      fallback: fallback && ((from) => this.#fallback(fallback, from)),
    });
  }

  #fallback(target: BackendTarget, downstream: HttpVersion): TargetBackend | undefined {
    const found = this.backend(target, downstream);
    return 'problem' in found ? undefined : found;
  }

  /** Takes what has changed of these services: what was learnt of their endpoints stays. */
  onChange(services: ReadonlySet<ServiceKey>): void {
    for (const [key, known] of this.#known) {
      const { asked, through } = known;
      const concerns =
        services.has(asked.service) ||
        (through !== undefined && services.has(keyOfService(through.waypoint)));
      if (!concerns || this.#configure(known)) continue;
      this.#known.delete(key);
      known.target[Symbol.dispose]();
    }
  }

  /** Every target that was asked for, by the name that the log has. */
  *all(): Iterable<readonly [name: string, target: UpstreamTarget]> {
    for (const { name, target } of this.#known.values()) yield [name, target];
  }

  /** Takes what health checks have found. */
  onChecked({ service, workload, healthy, passed }: HealthResult): void {
    for (const { asked, target } of this.#known.values())
      if (asked.service === service) target.onChecked(workload, healthy, passed);
  }

  [Symbol.dispose](): void {
    for (const { target } of this.#known.values()) target[Symbol.dispose]();
    this.#known.clear();
  }

  #make(
    key: string,
    asked: BackendTarget,
    waypoint: GatewayAddress | undefined,
  ): Known | NoBackend {
    const { state, clock, onOutlierEvent } = this.#parts;
    const service = state.service(asked.service);
    if (service === undefined)
      return { problem: 'unknown service', reason: `${asked.service} is not known` };
    const policy = this.#policyOf(asked, waypoint);
    if (policy === undefined)
      return {
        problem: 'unknown subset',
        reason: `${asked.service} has no subset ${asked.subset ?? ''}`,
      };
    if (waypoint !== undefined && this.#serviceOf(waypoint) === undefined)
      return {
        problem: 'waypoint',
        reason: `waypoint ${describeGateway(waypoint)} of ${service.hostname} is no service that is known`,
      };
    const subset = asked.subset === undefined ? '' : `/${asked.subset}`;
    const through = waypoint === undefined ? '' : `|waypoint|${describeGateway(waypoint)}`;
    const name = `inbound-vip|${asked.port}|http${subset}|${service.hostname}${through}`;
    const target = new UpstreamTarget(
      clock,
      onOutlierEvent &&
        ((event) => {
          onOutlierEvent(name, event);
        }),
    );
    // Which pod a client stays at is its waypoint's to say.
    const sessions = new SessionEndpoints(key, () =>
      waypoint === undefined ? target.endpoints() : [],
    );
    const known: Known = {
      ...{ asked, name, target, sessions, service, policy, waypoint, through: undefined },
      backends: new Map(),
    };
    this.#configure(known);
    this.#known.set(key, known);
    return known;
  }

  /** @returns false when the target is gone, or is reached by another way now. */
  #configure(known: Known): boolean {
    const { state, self, store, health, isIngress } = this.#parts;
    const { asked, waypoint } = known;
    const service = state.service(asked.service);
    const policy = this.#policyOf(asked, waypoint);
    if (service === undefined || policy === undefined) return false;
    if (isIngress && !mayGo(service, waypoint)) return false;
    const instances = waypoint && this.#serviceOf(waypoint);
    if (waypoint !== undefined && instances === undefined) return false;
    known.service = service;
    known.policy = policy;
    known.through = instances && {
      waypoint: instances,
      authority: authorityOf(service, this.#parts.network, asked.port),
    };
    known.backends.clear();
    known.sessions.forget();
    const shared = { policy, source: sourceOf(self()), labelsOf };
    if (waypoint !== undefined && instances !== undefined) {
      const { list } = state.endpointView(keyOfService(instances));
      const servicePort = waypoint.hboneMtlsPort;
      known.target.configure({ ...shared, service: instances, servicePort, workloads: list });
      return true;
    }
    const { list } = state.endpointView(asked.service);
    const subset = this.#subsetOf(asked);
    known.target.configure({
      ...{ ...shared, service, servicePort: asked.port },
      workloads: subset === undefined ? list : list.filter((one) => isOfSubset(one, subset)),
      passes: ({ uid }) => health?.isHealthy(asked.service, uid) ?? true,
      adaptiveConcurrency: store.config(asked.service).backend?.adaptiveConcurrency,
    });
    return true;
  }

  #serviceOf(waypoint: GatewayAddress): Service | undefined {
    const found = findGateway(this.#parts.state, waypoint, this.#parts.self()?.namespace ?? '');
    return found?.kind === 'service' ? found.service : undefined;
  }

  /** Between a gateway and a waypoint the policy of the service does not hold; its subsets are not there to be chosen. */
  #policyOf(
    { service, port, subset }: BackendTarget,
    waypoint: GatewayAddress | undefined,
  ): TrafficPolicy | undefined {
    if (waypoint !== undefined) return subset === undefined ? DEFAULT_TRAFFIC_POLICY : undefined;
    return trafficPolicyOf(this.#parts.store.config(service).traffic, port, subset);
  }

  #subsetOf({ service, subset }: BackendTarget): Subset | undefined {
    const { traffic } = this.#parts.store.config(service);
    return subset === undefined ? undefined : traffic?.subsets.find(({ name }) => name === subset);
  }
}

/** Whether a gateway may reach the service by this way, its share aside. */
function mayGo(service: Service, waypoint: GatewayAddress | undefined): boolean {
  const { kind } = chooseIngressWay(service, Math.random);
  if (waypoint === undefined) return kind === 'direct';
  const known = describeGateway(waypoint);
  return kind === 'waypoint' && waypointsOf(service).some((one) => describeGateway(one) === known);
}

function labelsOf({ labels }: Workload): ReadonlyMap<string, string> {
  return labels ?? NOWHERE.labels;
}

function isOfSubset({ labels }: Workload, subset: Subset): boolean {
  for (const [name, value] of subset.labels) if (labels?.get(name) !== value) return false;
  return true;
}

function sourceOf(self: Workload | undefined): BalancerSource {
  if (self === undefined) return NOWHERE;
  const { network, clusterId, node, locality, labels = NOWHERE.labels } = self;
  return { network, clusterId, node, locality, labels };
}

export function protocolOf(service: Service, port: number): AppProtocol {
  return service.ports.find(({ servicePort }) => servicePort === port)?.appProtocol ?? 'UNKNOWN';
}

/** HTTP/2 where the port or the policy says so; where nobody says anything, what the client speaks. */
function versionOf(
  protocol: AppProtocol,
  { http2, useClientProtocol }: TrafficPolicy,
  downstream: HttpVersion,
): UpstreamVersion {
  const clients = downstream === 'HTTP/2' ? 'HTTP/2' : 'HTTP/1.1';
  if (useClientProtocol) return clients;
  if (http2 === true || protocol === 'HTTP2' || protocol === 'GRPC') return 'HTTP/2';
  return protocol === 'UNKNOWN' ? clients : 'HTTP/1.1';
}
