import { systemClock } from '../../../certs/clock.ts';
import type { HttpRule } from '../../../mesh/model/http-route.ts';
import { serviceKey, type Service } from '../../../mesh/model/service.ts';
import { DEFAULT_TRAFFIC_POLICY } from '../../../mesh/model/traffic-policy.ts';
import type { Workload } from '../../../mesh/model/workload.ts';
import type { Backend } from '../../../waypoint/backend.ts';
import { DEFAULT_BACKOFF_MS } from '../../../waypoint/retry.ts';
import { SessionEndpoints } from '../../../waypoint/session-endpoints.ts';
import { UpstreamTarget } from '../../../waypoint/upstream-target.ts';
import { TargetBackend } from '../../../waypoint/upstream/target-backend.ts';
import { hostOf, SERVICE_PORT, type AppEndpoint } from '../../ambient/application.ts';
import type { EndpointsFile } from '../halo-files.ts';
import { makeService, makeWorkload } from './mesh-objects.ts';

/** A service as this sidecar sends to it. */
type Destination = Readonly<{ service: Service; target: UpstreamTarget; rule: HttpRule }>;

type Known = {
  readonly of: AppEndpoint;
  workloads: readonly Workload[];
  /** Made when it is first asked for: of all services a pod calls few. */
  made: Destination | undefined;
};

/** Nobody here prefers an endpoint for where it is. */
const SOURCE = {
  ...{ network: '', clusterId: '', node: '', labels: new Map<string, string>() },
  locality: { region: '', zone: '', subzone: '' },
};
/** One that only goes forward. */
const CLOCK = { ...systemClock, now: () => performance.now() };

/** Every service of the mesh by the hosts that requests name. */
export class Targets implements Disposable {
  readonly #byHost = new Map<string, Known>();
  readonly #byName = new Map<string, Known>();
  readonly #backends = new Map<HttpRule, Backend>();

  constructor(services: readonly AppEndpoint[]) {
    for (const service of services) {
      const known: Known = { of: service, workloads: [], made: undefined };
      this.#byName.set(service.name, known);
      const { name, vip } = service;
      for (const host of [hostOf(name), name, vip]) this.#byHost.set(host, known);
    }
  }

  /** The rule for requests to a host. @param host in lower case, without a port. */
  find(host: string): HttpRule | undefined {
    const known = this.#byHost.get(host);
    return known && (known.made ?? this.#make(known)).rule;
  }

  /** Where a rule leads. @throws {Error} for one that is not from here. */
  backend(rule: HttpRule): Backend {
    const found = this.#backends.get(rule);
    if (found === undefined) throw new Error(`Cannot follow ${rule.name}: it leads nowhere`);
    return found;
  }

  /** Takes where the pods of a service are now; what was learnt of those that stay is kept. */
  setEndpoints(service: string, ips: EndpointsFile): void {
    const known = this.#byName.get(service);
    if (known === undefined) return;
    const before = new Map(known.workloads.map((workload) => [workload.addresses[0], workload]));
    known.workloads = ips.map((ip) => {
      const workload = makeWorkload(ip, known.of);
      return before.get(workload.addresses[0]) ?? workload;
    });
    this.#configure(known);
  }

  [Symbol.dispose](): void {
    for (const { made } of this.#byName.values()) made?.target[Symbol.dispose]();
  }

  #make(known: Known): Destination {
    const service = makeService(known.of);
    const name = `outbound|${SERVICE_PORT}||${service.hostname}`;
    const target = new UpstreamTarget(CLOCK);
    const backend = new TargetBackend({
      ...{ name, version: 'HTTP/1.1', service, target, random: Math.random },
      sessions: new SessionEndpoints(name, () => target.endpoints()),
      policy: DEFAULT_TRAFFIC_POLICY,
      ...{ retryPolicy: undefined, fallback: undefined },
    });
    const made = { service, target, rule: ruleTo(service) };
    this.#backends.set(made.rule, backend);
    known.made = made;
    this.#configure(known);
    return made;
  }

  #configure({ made, workloads }: Known): void {
    if (made === undefined) return;
    const { service, target } = made;
    const policy = DEFAULT_TRAFFIC_POLICY;
    target.configure({ service, servicePort: SERVICE_PORT, policy, workloads, source: SOURCE });
  }
}

function ruleTo({ namespace, hostname }: Service): HttpRule {
  const target = { service: serviceKey(namespace, hostname), port: SERVICE_PORT };
  return {
    ...{ name: 'default', matches: [], filters: [] },
    backends: [{ target, weight: 1, filters: [] }],
    // Istio's default for every route.
    retry: {
      attempts: 2,
      conditions: [
        ...(['connect-failure', 'refused-stream', 'unavailable', 'cancelled'] as const),
        ...(['retriable-status-codes'] as const),
      ],
      statusCodes: [503],
      backoffMs: DEFAULT_BACKOFF_MS,
    },
  };
}
