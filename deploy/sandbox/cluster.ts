import { describeError, MeshError } from '../../base/errors.ts';
import { openNetns, prepareNetns } from '../../net/netns.ts';
import {
  CLUSTER_DNS_VIP,
  controlPlaneAddresses,
  nodeAddresses,
  type NodeAddresses,
} from './addresses.ts';
import type {
  ApplyRequest,
  ApplyResponse,
  DeleteRequest,
  DeleteResponse,
  KubernetesObject,
  ObjectReference,
  SandboxPaths,
  SandboxSettings,
} from './api.ts';
import { inNamespace, runCommand } from '../../mesh/runtime/command.ts';
import { parseDeployment, reconcileDeployments } from './deployments.ts';
import { parseDocuments } from './documents.ts';
import { reconcileEndpointSlices } from './endpoint-slices.ts';
import { BUILT_IN_IMAGES } from './images.ts';
import { makeFolder } from './files.ts';
import { GeneratedObjects } from './generated-objects.ts';
import { isClusterScoped, resolveKind } from './kinds.ts';
import {
  FIRST_NAMESPACES,
  makeNamespace,
  makeServiceAccount,
  reconcileNamespaces,
  removeNamespace,
} from './namespaces.ts';
import { createBridge, createNode, createSideNamespaces, hasIpv6, netnsPath } from './networks.ts';
import { podSpecOf } from './pod-spec.ts';
import { PART_ANNOTATION, Pods, type PodsParts } from './pods.ts';
import { mergeApplied, withGeneration } from './merge-applied.ts';
import { reconciler, type Reconciler } from './reconcile.ts';
import { refuseErrors } from './refuse-errors.ts';
import { formatServiceRules, plainServices } from './service-rules.ts';
import { ServiceAddresses } from './services.ts';
import { formatReference, ObjectStore, referenceOf } from './store.ts';

import type { TokenSigner } from './tokens.ts';

export type ClusterParts = Readonly<{
  settings: SandboxSettings;
  paths: SandboxPaths;
  addToMesh: PodsParts['addToMesh'];
  captures: boolean;
  onProblem: (message: string) => void;
  tokens: TokenSigner;
}>;

/** Nodes, pods and Services: what a cluster has below the mesh. */
export class Cluster {
  readonly store: ObjectStore;
  readonly nodes: readonly NodeAddresses[];
  readonly ipv6: boolean;
  readonly images: Map<string, readonly string[]>;
  readonly pods: Pods;
  readonly #parts: ClusterParts;
  readonly #services: ServiceAddresses;
  readonly #objects: Reconciler;
  readonly #rules: Reconciler;
  #generated: GeneratedObjects | undefined;
  #writtenRules = '';
  #closed = false;

  private constructor(parts: ClusterParts, nodes: readonly NodeAddresses[], ipv6: boolean) {
    this.#parts = parts;
    this.nodes = nodes;
    this.ipv6 = ipv6;
    this.store = new ObjectStore(parts.paths);
    this.images = new Map([
      ...Object.entries(BUILT_IN_IMAGES),
      ...Object.entries(parts.settings.images),
    ]);
    this.#services = new ServiceAddresses(this.store, ipv6);
    this.pods = new Pods({
      ...{ store: this.store, paths: parts.paths, images: this.images },
      nodes: nodes.map((node) => ({ ...node, netns: openNetns(netnsPath(node.name)) })),
      ...{ addToMesh: parts.addToMesh, captures: parts.captures, tokens: parts.tokens },
      waypointEnvironment: parts.settings.partEnvironment['waypoint'] ?? {},
      whenRulesStand: async () => {
        await this.#objects.whenIdle();
        await this.#rules.whenIdle();
      },
    });
    const fail = (error: unknown): void => {
      parts.onProblem(describeError(error));
    };
    this.#objects = reconciler(() => {
      this.#reconcile();
    }, fail);
    this.#rules = reconciler(() => this.#writeRules(), fail);
  }

  /** Makes the nodes and the objects that every cluster has. */
  static async create(parts: ClusterParts): Promise<Cluster> {
    await prepareNetns();
    const ipv6 = hasIpv6();
    const nodes = Array.from({ length: parts.settings.nodes }, (_, index) =>
      nodeAddresses(index + 1, ipv6),
    );
    await createBridge(ipv6);
    await Promise.all([
      createSideNamespaces(nodes, ipv6),
      ...nodes.map((node) => createNode(node, nodes)),
    ]);
    const cluster = new Cluster(parts, nodes, ipv6);
    cluster.#putFirstObjects();
    cluster.store.onChange(() => {
      if (!cluster.#closed) cluster.#objects.trigger();
    });
    if (parts.captures) cluster.#followControlPlane();
    cluster.#objects.trigger();
    return cluster;
  }

  /** Whether the controllers have nothing left to do. */
  get busy(): boolean {
    return this.#objects.busy() || this.#rules.busy();
  }

  /** @throws {MeshError} for documents that cannot be applied; none of them is then. */
  apply(request: ApplyRequest): ApplyResponse {
    const objects = parseDocuments(request);
    // A caller need not be our own command, which looks before it asks.
    refuseErrors(request.documents);
    const coming = new Set(
      objects.filter(({ kind }) => kind === 'Namespace').map(({ metadata }) => metadata.name),
    );
    for (const object of objects) this.#check(object, coming);
    const results = objects.map((object) => {
      const { kind, metadata } = object;
      const before = this.store.get(kind, metadata.namespace ?? '', metadata.name);
      const after = this.store.put(
        before === undefined ? withGeneration(object, 1) : mergeApplied(before, object),
      );
      const action =
        before === undefined ? 'created' : before === after ? 'unchanged' : 'configured';
      return { object: referenceOf(after), action } as const;
    });
    return { results };
  }

  delete(request: DeleteRequest): DeleteResponse {
    const deleted: ObjectReference[] = [];
    const missing: ObjectReference[] = [];
    for (const asked of request.objects) {
      const reference = { ...asked, kind: resolveKind(asked.kind) };
      const object = this.store.get(reference.kind, reference.namespace ?? '', reference.name);
      if (object === undefined) missing.push(reference);
      else {
        this.remove(object);
        deleted.push(reference);
      }
    }
    return { deleted, missing };
  }

  /** Removes an object, or begins to where something runs behind it. */
  remove(object: KubernetesObject): void {
    if (object.metadata.annotations?.[PART_ANNOTATION] !== undefined) return;
    if (object.kind === 'Pod') this.pods.remove(object);
    else if (object.kind === 'Namespace') removeNamespace(this.store, object);
    else this.store.remove(referenceOf(object));
  }

  async close(graceMs: number): Promise<void> {
    this.#closed = true;
    this.#generated?.[Symbol.dispose]();
    await this.pods.stopAll(graceMs);
    this.store.flush();
  }

  #check(object: KubernetesObject, coming: ReadonlySet<string>): void {
    const { kind, metadata } = object;
    const { namespace = '' } = metadata;
    const reference = formatReference(referenceOf(object));
    if (!isClusterScoped(kind) && !coming.has(namespace)) {
      const home = this.store.get('Namespace', '', namespace);
      if (home === undefined || home.metadata.deletionTimestamp !== undefined)
        throw new MeshError(
          'ERR_NO_NAMESPACE',
          'local',
          `Cannot apply ${reference}: there is no namespace ${namespace}; apply a Namespace first`,
        );
    }
    try {
      if (kind === 'Pod') podSpecOf(object);
      if (kind === 'Deployment') parseDeployment(object);
    } catch (cause) {
      const message = `Cannot apply ${reference}: ${describeError(cause)}`;
      throw new MeshError('ERR_OBJECT', 'local', message, { cause });
    }
  }

  /** Waypoints are run as the control plane asks. */
  #followControlPlane(): void {
    const { paths, onProblem } = this.#parts;
    makeFolder(paths.generatedObjects);
    this.#generated = new GeneratedObjects(
      paths.generatedObjects,
      () => {
        this.#objects.trigger();
      },
      onProblem,
    );
  }

  #reconcile(): void {
    if (this.#closed) return;
    const { store } = this;
    reconcileNamespaces(store, (object) => {
      this.remove(object);
    });
    this.#generated?.reconcile(store, (object) => {
      this.remove(object);
    });
    for (const problem of this.#services.reconcile()) this.#parts.onProblem(problem);
    reconcileDeployments(store, (pod) => {
      this.pods.remove(pod);
    });
    this.pods.reconcile();
    reconcileEndpointSlices(store);
    this.#rules.trigger();
  }

  async #writeRules(): Promise<void> {
    if (this.#closed) return;

    const services = plainServices(this.store.list('Service'), this.store.list('EndpointSlice'));
    const texts = this.nodes.map((node) => formatServiceRules(services, node.name));
    const all = texts.join('');
    if (all === this.#writtenRules) return;
    await Promise.all(
      this.nodes.map(({ name }, index) =>
        runCommand(inNamespace(netnsPath(name), ['nft', '-f', '-']), { input: texts[index] ?? '' }),
      ),
    );
    this.#writtenRules = all;
  }

  #putFirstObjects(): void {
    const { store } = this;
    for (const name of FIRST_NAMESPACES) store.put(makeNamespace(name));
    for (const account of ['ztunnel', 'istiod'])
      store.put(makeServiceAccount('istio-system', account));
    for (const [index, node] of this.nodes.entries()) store.put(makeNode(node, index));
    const [ip = ''] = controlPlaneAddresses(this.ipv6);
    const dns = [
      { name: 'dns', protocol: 'UDP', port: 53 },
      { name: 'dns-tcp', protocol: 'TCP', port: 53 },
    ];
    putSelectorless(store, 'kube-system', 'kube-dns', dns, ip, CLUSTER_DNS_VIP);
    const istiod = [
      { name: 'https-dns', protocol: 'TCP', port: 15012 },
      { name: 'http-monitoring', protocol: 'TCP', port: 15014 },
    ];
    if (this.#parts.settings.mesh) putSelectorless(store, 'istio-system', 'istiod', istiod, ip);
  }
}

function makeNode(node: NodeAddresses, index: number): KubernetesObject {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name: node.name,
      labels: {
        'kubernetes.io/hostname': node.name,
        'kubernetes.io/os': 'linux',
        'topology.kubernetes.io/region': 'region-1',
        'topology.kubernetes.io/zone': `zone-${index + 1}`,
      },
      annotations: {},
    },
    spec: {
      podCIDR: `${node.podCidrs[0]?.ip}/${node.podCidrs[0]?.prefix}`,
      podCIDRs: node.podCidrs.map((cidr) => `${cidr.ip}/${cidr.prefix}`),
    },
    status: {
      addresses: node.ips.map((address) => ({ type: 'InternalIP', address })),
      conditions: [{ type: 'Ready', status: 'True' }],
    },
  };
}

/** A Service whose endpoint is one of the sandbox's own programs, which are no pods. */
function putSelectorless(
  store: ObjectStore,
  namespace: string,
  name: string,
  ports: readonly Readonly<{ name: string; protocol: string; port: number }>[],
  ip: string,
  vip?: string,
): void {
  store.put({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace, labels: { app: name }, annotations: {} },
    spec: { ports, ...(vip !== undefined && { clusterIP: vip }) },
  });
  store.put({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      ...{ name: `${name}-sandbox`, namespace, annotations: {} },
      labels: { 'kubernetes.io/service-name': name },
    },
    addressType: 'IPv4',
    ports,
    endpoints: [{ addresses: [ip], conditions: { ready: true } }],
  });
}
