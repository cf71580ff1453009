import type { IpAddress } from '../../../base/address.ts';
import type { AuthorizationPolicy, PolicyKey } from '../../model/authorization.ts';
import type { Decision, PolicyConnection } from '../../model/authorize.ts';
import { CompiledPolicies, type PolicyTarget } from '../../model/compiled-policies.ts';
import type { Service, ServiceKey } from '../../model/service.ts';
import type { Workload, WorkloadUid } from '../../model/workload.ts';
import type { AnsweredKeys } from './answered.ts';
import { EndpointSet, type EndpointView } from './endpoint-set.ts';
import { Sharer } from './share.ts';
import { keyOfService, preferService, VipIndex } from './vips.ts';

/** The names by which a node agent knows a pod. */
export type PodName = Readonly<{ name: string; namespace: string; serviceAccount: string }>;

/** Policies that a workload names and that have not arrived: nothing can be allowed yet. */
export type MissingPolicies = Readonly<{ kind: 'wait'; policies: readonly PolicyKey[] }>;

const NO_ENDPOINTS = new EndpointSet();

/** What a proxy knows of the mesh: compact, indexed by every key that connections ask for. */
export class ProxyState {
  readonly #sharer = new Sharer();
  readonly #workloads = new Map<WorkloadUid, Workload>();
  /** By network, then address; the one that answers for the address comes first. */
  readonly #byAddress = new Map<string, Map<IpAddress, Workload | readonly Workload[]>>();
  readonly #byHostname = new Map<string, readonly Workload[]>();
  /** Workloads of our node, by `<namespace>/<name>`. */
  readonly #local = new Map<string, readonly Workload[]>();
  readonly #services = new Map<ServiceKey, Service>();
  readonly #servicesByHost = new Map<string, readonly Service[]>();
  readonly #vips = new VipIndex();
  /** Healthy or not, and also of services that have not arrived. */
  readonly #endpoints = new Map<ServiceKey, EndpointSet>();
  readonly #policies = new CompiledPolicies();
  readonly #node: string | undefined;
  /** Absent where everything is subscribed to: then what is not here does not exist. */
  readonly answered: AnsweredKeys | undefined;

  /**
   * @param node the node whose pods localWorkload() finds; all of them when left out.
   * @param answered where the control plane is asked on demand.
   */
  constructor(node?: string, answered?: AnsweredKeys) {
    this.#node = node;
    this.answered = answered;
  }

  // Workloads

  setWorkload(given: Workload): void {
    const workload = this.#sharer.workload(given);
    const before = this.#workloads.get(workload.uid);
    this.#workloads.set(workload.uid, workload);
    if (before !== undefined) this.#unindexWorkload(before, workload);
    this.#indexWorkload(workload, before);
  }

  /** @returns whether it was there. */
  deleteWorkload(uid: WorkloadUid): boolean {
    const before = this.#workloads.get(uid);
    if (before === undefined) return false;
    this.#workloads.delete(uid);
    this.#unindexWorkload(before);
    return true;
  }

  workload(uid: WorkloadUid): Workload | undefined {
    return this.#workloads.get(uid);
  }

  /** Of workloads that claim one address, a pod before others, then one that speaks HBONE, then the latest. */
  workloadAt(network: string, ip: IpAddress): Workload | undefined {
    const found = this.#byAddress.get(network)?.get(ip);
    return isOne(found) ? found : found?.[0];
  }

  workloadByHostname(namespace: string, hostname: string): Workload | undefined {
    return this.#byHostname.get(`${namespace}/${hostname}`)?.[0];
  }

  /** The workload of a pod of this node; the account must be the one that the node agent has seen. */
  localWorkload(pod: PodName): Workload | undefined {
    return this.#local
      .get(`${pod.namespace}/${pod.name}`)
      ?.find((workload) => workload.serviceAccount === pod.serviceAccount);
  }

  workloads(): Iterable<Workload> {
    return this.#workloads.values();
  }

  // Services

  setService(given: Service): void {
    const service = this.#sharer.service(given);
    const key = keyOfService(service);
    const before = this.#services.get(key);
    if (before !== undefined) this.#unindexService(before);
    this.#services.set(key, service);
    this.#vips.add(service);
    addTo(this.#servicesByHost, service.hostname, service);
  }

  /** @returns whether it was there. Its endpoints stay: they are the workloads' to say. */
  deleteService(key: ServiceKey): boolean {
    const before = this.#services.get(key);
    if (before === undefined) return false;
    this.#services.delete(key);
    this.#unindexService(before);
    return true;
  }

  service(key: ServiceKey): Service | undefined {
    return this.#services.get(key);
  }

  /** The service at a VIP as a client of `clientNamespace` sees it. */
  serviceAt(network: string, ip: IpAddress, clientNamespace: string): Service | undefined {
    return this.#vips.find(network, ip, clientNamespace);
  }

  servicesByHost(hostname: string): readonly Service[] {
    return this.#servicesByHost.get(hostname) ?? [];
  }

  /** Of services with one host name, the one that a client of `clientNamespace` means. */
  serviceByHost(hostname: string, clientNamespace: string): Service | undefined {
    return preferService(this.servicesByHost(hostname), clientNamespace);
  }

  services(): Iterable<Service> {
    return this.#services.values();
  }

  /** Every workload that says it serves `key`, unhealthy ones too. */
  endpoints(key: ServiceKey): ReadonlyMap<WorkloadUid, Workload> {
    return (this.#endpoints.get(key) ?? NO_ENDPOINTS).byUid;
  }

  /** As endpoints(), in the form that selectEndpoint() takes. */
  endpointView(key: ServiceKey): EndpointView {
    return (this.#endpoints.get(key) ?? NO_ENDPOINTS).view;
  }

  // Policies

  setPolicy(policy: AuthorizationPolicy): void {
    this.#policies.set(this.#sharer.policy(policy));
  }

  /** @returns whether it was there. */
  deletePolicy(key: PolicyKey): boolean {
    return this.#policies.delete(key);
  }

  policy(key: PolicyKey): AuthorizationPolicy | undefined {
    return this.#policies.get(key);
  }

  policies(): Iterable<AuthorizationPolicy> {
    return this.#policies.values();
  }

  /** The policies that concern a workload, in the order of their keys, and the keys it names that have not arrived. */
  policiesFor(target: PolicyTarget): {
    policies: readonly AuthorizationPolicy[];
    missing: readonly PolicyKey[];
  } {
    return { policies: this.#policies.applying(target), missing: this.#policies.missing(target) };
  }

  /** Decides on a connection to `target`. What is denied already is denied; else every named policy must be there. */
  authorize(target: PolicyTarget, connection: PolicyConnection): Decision | MissingPolicies {
    const decision = this.#policies.decide(target, connection);
    if (decision.kind === 'deny' && decision.by !== undefined) return decision;
    const missing = this.#policies.missing(target);
    return missing.length === 0 ? decision : { kind: 'wait', policies: missing };
  }

  get sizes(): Readonly<{ workloads: number; services: number; policies: number }> {
    return {
      workloads: this.#workloads.size,
      services: this.#services.size,
      policies: this.#policies.size,
    };
  }

  #indexWorkload(workload: Workload, before: Workload | undefined): void {
    // Many host-network workloads share their node's address, so none of them answers for it.
    if (!workload.hostNetwork) {
      for (const ip of workload.addresses) this.#addAddress(workload, ip, before);
    }
    if (workload.hostname !== '')
      addTo(this.#byHostname, `${workload.namespace}/${workload.hostname}`, workload);
    if (this.#isLocal(workload))
      addTo(this.#local, `${workload.namespace}/${workload.name}`, workload);
    for (const key of workload.services.keys()) {
      const endpoints = this.#endpoints.get(key) ?? new EndpointSet();
      endpoints.set(workload);
      this.#endpoints.set(key, endpoints);
    }
  }

  /** @param after what takes its place, so that it keeps its turn among others of one address. */
  #unindexWorkload(before: Workload, after?: Workload): void {
    const keepsAddress = (ip: IpAddress): boolean =>
      after !== undefined &&
      !after.hostNetwork &&
      after.network === before.network &&
      after.addresses.includes(ip);
    if (!before.hostNetwork) {
      for (const ip of before.addresses) {
        if (!keepsAddress(ip)) this.#removeAddress(before, ip);
      }
    }
    if (before.hostname !== '')
      removeFrom(this.#byHostname, `${before.namespace}/${before.hostname}`, before);
    if (this.#isLocal(before))
      removeFrom(this.#local, `${before.namespace}/${before.name}`, before);
    for (const key of before.services.keys()) {
      if (after?.services.has(key)) continue;
      const endpoints = this.#endpoints.get(key);
      endpoints?.delete(before.uid);
      if (endpoints?.byUid.size === 0) this.#endpoints.delete(key);
    }
  }

  #addAddress(workload: Workload, ip: IpAddress, before: Workload | undefined): void {
    const byIp: Map<IpAddress, Workload | readonly Workload[]> =
      this.#byAddress.get(workload.network) ?? new Map<IpAddress, Workload | readonly Workload[]>();
    this.#byAddress.set(workload.network, byIp);
    const found = byIp.get(ip);
    if (found === undefined || found === before) {
      byIp.set(ip, workload);
      return;
    }
    const others = isOne(found) ? [found] : found;
    const replaced = others.map((other) => (other === before ? workload : other));
    const all = replaced.includes(workload) ? replaced : [workload, ...replaced];
    // The sort is stable: among equals the order stays, the latest in front.
    byIp.set(
      ip,
      all.sort((a, b) => addressRank(b) - addressRank(a)),
    );
  }

  #removeAddress(workload: Workload, ip: IpAddress): void {
    const byIp = this.#byAddress.get(workload.network);
    const found = byIp?.get(ip);
    if (byIp === undefined || found === undefined) return;
    const left = isOne(found)
      ? found === workload
        ? []
        : [found]
      : found.filter((other) => other !== workload);
    const [first, ...others] = left;
    if (first === undefined) byIp.delete(ip);
    else byIp.set(ip, others.length === 0 ? first : left);
    if (byIp.size === 0) this.#byAddress.delete(workload.network);
  }

  #unindexService(service: Service): void {
    this.#vips.remove(service);
    removeFrom(this.#servicesByHost, service.hostname, service);
  }

  #isLocal(workload: Workload): boolean {
    return this.#node === undefined || workload.node === this.#node;
  }
}

/** As istio/ztunnel weighs workloads that share an address: a pod's uid, then the tunnel. */
function addressRank(workload: Workload): number {
  const pod = workload.uid.includes('//Pod/') ? 2 : 0;
  return pod + (workload.tunnelProtocol === 'HBONE' ? 1 : 0);
}

function isOne(found: Workload | readonly Workload[] | undefined): found is Workload {
  return found !== undefined && !Array.isArray(found);
}

function addTo<T>(index: Map<string, readonly T[]>, key: string, value: T): void {
  index.set(key, [...(index.get(key) ?? []), value]);
}

function removeFrom<T>(index: Map<string, readonly T[]>, key: string, value: T): void {
  const left = index.get(key)?.filter((other) => other !== value) ?? [];
  if (left.length === 0) index.delete(key);
  else index.set(key, left);
}
