import { SLICE_SERVICE_NAME } from '../../mesh/kubernetes/labels.ts';
import type { KubernetesObject } from './api.ts';
import { isRecord } from './documents.ts';
import { namedPort, podSpecOf } from './pod-spec.ts';
import { isPodReady, podIps, podPhase } from './pod-status.ts';
import { matchesLabels, plainSelector } from './selector.ts';
import { serviceFamilies, servicePorts, type Family, type ServicePort } from './services.ts';
import { referenceOf, type ObjectStore } from './store.ts';

/** Label of the slices that are made here; those of users are left alone. */
const MANAGED_BY = 'endpointslice.kubernetes.io/managed-by';
const MANAGER = 'endpointslice-controller.k8s.io';

type ResolvedPort = Readonly<{
  name: string;
  protocol: string;
  port: number;
  appProtocol?: string;
}>;

/** Writes, for each Service with a selector, who its endpoints are and which of them are ready. */
export function reconcileEndpointSlices(store: ObjectStore): void {
  const wanted = new Map<string, KubernetesObject>();
  const podsByNamespace = new Map<string, KubernetesObject[]>();
  for (const pod of store.list('Pod')) {
    const { namespace = '' } = pod.metadata;
    const pods = podsByNamespace.get(namespace) ?? [];
    if (pods.push(pod) === 1) podsByNamespace.set(namespace, pods);
  }
  for (const service of store.list('Service'))
    for (const slice of slicesOf(
      service,
      podsByNamespace.get(service.metadata.namespace ?? '') ?? [],
    ))
      wanted.set(`${slice.metadata.namespace}/${slice.metadata.name}`, slice);
  for (const slice of store.list('EndpointSlice')) {
    const { namespace = '', name, labels = {} } = slice.metadata;
    if (labels[MANAGED_BY] === MANAGER && !wanted.has(`${namespace}/${name}`))
      store.remove(referenceOf(slice));
  }
  for (const slice of wanted.values()) store.put(slice);
}

/** The slices of one Service: one for each family, and for each set of ports where pods name theirs differently. */
export function slicesOf(
  service: KubernetesObject,
  pods: readonly KubernetesObject[],
): KubernetesObject[] {
  const spec = isRecord(service['spec']) ? service['spec'] : {};
  const selector = plainSelector(spec['selector']);
  if (selector === undefined || spec['type'] === 'ExternalName') return [];
  const serving = pods
    .filter((pod) => matchesLabels(selector, pod.metadata.labels))
    .filter((pod) => podPhase(pod) === 'Running' || podPhase(pod) === 'Pending')
    .filter((pod) => podIps(pod).length > 0);
  const publishAll = spec['publishNotReadyAddresses'] === true;
  return serviceFamilies(service).flatMap((family) => {
    const groups = groupByPorts(serving, servicePorts(service));
    if (groups.length === 0) return [makeSlice(service, family, 0, [], [], publishAll)];
    return groups.map(({ ports, members }, index) =>
      makeSlice(service, family, index, ports, members, publishAll),
    );
  });
}

function groupByPorts(
  pods: readonly KubernetesObject[],
  ports: readonly ServicePort[],
): { ports: readonly ResolvedPort[]; members: KubernetesObject[] }[] {
  const groups = new Map<string, { ports: readonly ResolvedPort[]; members: KubernetesObject[] }>();
  for (const pod of pods) {
    const resolved = resolvePorts(pod, ports);
    const key = JSON.stringify(resolved);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { ports: resolved, members: [pod] });
    else group.members.push(pod);
  }
  return [...groups.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, group]) => group);
}

function resolvePorts(pod: KubernetesObject, ports: readonly ServicePort[]): ResolvedPort[] {
  return ports.flatMap(({ name, protocol, targetPort, appProtocol }) => {
    const port =
      typeof targetPort === 'number' ? targetPort : namedPort(podSpecOf(pod), targetPort);
    if (port === undefined) return [];
    return [{ name, protocol, port, ...(appProtocol !== undefined && { appProtocol }) }];
  });
}

function makeSlice(
  service: KubernetesObject,
  family: Family,
  index: number,
  ports: readonly ResolvedPort[],
  pods: readonly KubernetesObject[],
  publishAll: boolean,
): KubernetesObject {
  const { name, namespace = '', uid } = service.metadata;
  const suffix = `${family === 'IPv4' ? 'v4' : 'v6'}${index === 0 ? '' : `-${index}`}`;
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name: `${name}-${suffix}`,
      namespace,
      labels: { [SLICE_SERVICE_NAME]: name, [MANAGED_BY]: MANAGER },
      annotations: {},
      ownerReferences: [{ apiVersion: 'v1', kind: 'Service', name, uid, controller: true }],
    },
    addressType: family,
    ports,
    endpoints: pods.flatMap((pod) => makeEndpoint(pod, family, publishAll)),
  };
}

function makeEndpoint(
  pod: KubernetesObject,
  family: Family,
  publishAll: boolean,
): Readonly<Record<string, unknown>>[] {
  const ip = podIps(pod).find((address) => address.includes(':') === (family === 'IPv6'));
  if (ip === undefined) return [];
  const { name, namespace, uid, deletionTimestamp } = pod.metadata;
  const spec = podSpecOf(pod);
  const terminating = deletionTimestamp !== undefined;
  return [
    {
      addresses: [ip],
      conditions: {
        ready: publishAll || isPodReady(pod),
        serving: publishAll || isPodReady(pod),
        terminating,
      },
      ...(spec.hostname !== '' && { hostname: spec.hostname }),
      nodeName: spec.nodeName,
      targetRef: { kind: 'Pod', name, namespace, uid },
    },
  ];
}
