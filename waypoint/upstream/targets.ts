import type { Clock } from '../../certs/clock.ts';
import type { BackendTarget } from '../../mesh/model/http-filter.ts';
import type { AppProtocol, Service, ServiceKey } from '../../mesh/model/service.ts';
import {
  trafficPolicyOf,
  type Subset,
  type TrafficPolicy,
} from '../../mesh/model/traffic-policy.ts';
import type { Workload } from '../../mesh/model/workload.ts';
import type { ProxyState } from '../../mesh/proxy/state/store.ts';
import type { WaypointStore } from '../../mesh/proxy/state/waypoint-store.ts';
import type { BalancerSource } from '../balance/levels.ts';
import type { HttpVersion } from '../downstream.ts';
import type { CheckedHealth, HealthResult } from '../health/checked-health.ts';
import type { OutlierEvent } from '../outlier.ts';
import { SessionEndpoints } from '../session-endpoints.ts';
import { UpstreamTarget } from '../upstream-target.ts';
import type { UpstreamVersion } from './endpoint-pool.ts';
import { TargetBackend } from './target-backend.ts';

export type TargetsParts = Readonly<{
  state: ProxyState;
  store: WaypointStore;
  /** One that only goes forward. */
  clock: Clock;
  /** This waypoint, as the control plane knows it now. */
  self: () => Workload | undefined;
  health?: CheckedHealth;
  onOutlierEvent?: (target: string, event: OutlierEvent) => void;
}>;

/** Why there is no backend for a request. */
export type NoBackend = Readonly<{
  problem: 'unknown service' | 'unknown subset' | 'refused';
  reason: string;
}>;

type Known = {
  readonly asked: BackendTarget;
  readonly name: string;
  readonly target: UpstreamTarget;
  readonly sessions: SessionEndpoints;
  service: Service;
  policy: TrafficPolicy;
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
    const key = `${asked.service} ${asked.port} ${asked.subset ?? ''}`;
    const known = this.#known.get(key) ?? this.#make(key, asked);
    if ('problem' in known) return known;
    const { policy, service } = known;
    if (policy.problem !== undefined) return { problem: 'refused', reason: policy.problem };
    const version = versionOf(protocolOf(service, asked.port), policy, downstream);
    let backend = known.backends.get(version);
    if (backend === undefined) {
      const { name, target, sessions } = known;
      const { random } = this.#parts.clock;
      const { retries: retryPolicy, fallback } =
        this.#parts.store.config(asked.service).backend ?? {};
      backend = new TargetBackend({
        ...{ name, version, service, target, sessions, policy, retryPolicy, random },
        fallback: fallback && ((from) => this.#fallback(fallback, from)),
      });
      known.backends.set(version, backend);
    }
    return backend;
  }

  #fallback(target: BackendTarget, downstream: HttpVersion): TargetBackend | undefined {
    const found = this.backend(target, downstream);
    return 'problem' in found ? undefined : found;
  }

  /** Takes what has changed of these services: what was learnt of their endpoints stays. */
  onChange(services: ReadonlySet<ServiceKey>): void {
    for (const [key, known] of this.#known)
      if (services.has(known.asked.service) && !this.#configure(known)) {
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

  #make(key: string, asked: BackendTarget): Known | NoBackend {
    const { state, clock, onOutlierEvent } = this.#parts;
    const service = state.service(asked.service);
    if (service === undefined)
      return { problem: 'unknown service', reason: `${asked.service} is not known` };
    const policy = this.#policyOf(asked);
    if (policy === undefined)
      return {
        problem: 'unknown subset',
        reason: `${asked.service} has no subset ${asked.subset ?? ''}`,
      };
    const subset = asked.subset === undefined ? '' : `/${asked.subset}`;
    const name = `inbound-vip|${asked.port}|http${subset}|${service.hostname}`;
    const target = new UpstreamTarget(
      clock,
      onOutlierEvent &&
        ((event) => {
          onOutlierEvent(name, event);
        }),
    );
    const sessions = new SessionEndpoints(key, () => target.endpoints());
    const known = { asked, name, target, sessions, service, policy, backends: new Map() };
    this.#configure(known);
    this.#known.set(key, known);
    return known;
  }

  /** @returns false when the target is gone. */
  #configure(known: Known): boolean {
    const { state, self, store, health } = this.#parts;
    const { asked } = known;
    const service = state.service(asked.service);
    const policy = this.#policyOf(asked);
    if (service === undefined || policy === undefined) return false;
    known.service = service;
    known.policy = policy;
    known.backends.clear();
    known.sessions.forget();
    const { list } = state.endpointView(asked.service);
    const subset = this.#subsetOf(asked);
    known.target.configure({
      ...{ service, servicePort: asked.port, policy },
      workloads: subset === undefined ? list : list.filter((one) => isOfSubset(one, subset)),
      source: sourceOf(self()),
      passes: ({ uid }) => health?.isHealthy(asked.service, uid) ?? true,
      adaptiveConcurrency: store.config(asked.service).backend?.adaptiveConcurrency,
      labelsOf: ({ labels }) => labels ?? NOWHERE.labels,
    });
    return true;
  }

  #policyOf({ service, port, subset }: BackendTarget): TrafficPolicy | undefined {
    return trafficPolicyOf(this.#parts.store.config(service).traffic, port, subset);
  }

  #subsetOf({ service, subset }: BackendTarget): Subset | undefined {
    const { traffic } = this.#parts.store.config(service);
    return subset === undefined ? undefined : traffic?.subsets.find(({ name }) => name === subset);
  }
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
