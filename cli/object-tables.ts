import type { KubernetesObject } from '../deploy/sandbox/api.ts';
import { formatAge } from './age.ts';
import {
  conditionOf,
  listAt,
  namespaceOf,
  numberAt,
  textAt,
  textsAt,
  valueAt,
} from './object-fields.ts';
import { formatTable, type Cell } from './table.ts';
import type { Terminal } from './terminal.ts';

type Column = readonly [heading: string, cell: (object: KubernetesObject) => Cell];

/** What `halo get` shows of each kind, between the name and the age. */
const COLUMNS: ReadonlyMap<string, readonly Column[]> = new Map<string, readonly Column[]>([
  [
    'Pod',
    [
      ['READY', podReady],
      ['STATUS', podStatus],
      ['RESTARTS', podRestarts],
      ['MESH', podMesh],
      ['IP', (pod) => textAt(pod, 'status', 'podIP')],
      ['NODE', (pod) => textAt(pod, 'spec', 'nodeName')],
    ],
  ],
  [
    'Namespace',
    [['MESH', (namespace) => textAt(namespace.metadata.labels, 'istio.io/dataplane-mode')]],
  ],
  [
    'Node',
    [
      [
        'STATUS',
        (node) => (conditionOf(node, 'Ready') === 'True' ? good('Ready') : bad('NotReady')),
      ],
      ['ADDRESS', nodeAddress],
      ['POD CIDR', (node) => textsAt(node, 'spec', 'podCIDRs').join(',')],
    ],
  ],
  [
    'Service',
    [
      ['TYPE', (service) => textAt(service, 'spec', 'type') || 'ClusterIP'],
      ['CLUSTER-IP', serviceAddress],
      ['PORT(S)', servicePorts],
    ],
  ],
  [
    'Deployment',
    [
      ['READY', deploymentReady],
      ['IMAGES', deploymentImages],
    ],
  ],
  [
    'EndpointSlice',
    [
      ['ADDRESS TYPE', (slice) => textAt(slice, 'addressType')],
      [
        'PORTS',
        (slice) =>
          listAt(slice, 'ports')
            .map((port) => textAt(port, 'port'))
            .join(','),
      ],
      ['ENDPOINTS', sliceEndpoints],
    ],
  ],
  [
    'AuthorizationPolicy',
    [
      ['ACTION', (policy) => textAt(policy, 'spec', 'action') || 'ALLOW'],
      ['RULES', (policy) => listAt(policy, 'spec', 'rules').length],
      ['ACCEPTED', (policy) => conditionCell(policy, 'ZtunnelAccepted')],
    ],
  ],
  ['PeerAuthentication', [['MODE', (peer) => textAt(peer, 'spec', 'mtls', 'mode')]]],
  [
    'Gateway',
    [
      ['CLASS', (gateway) => textAt(gateway, 'spec', 'gatewayClassName')],
      ['PROGRAMMED', (gateway) => conditionCell(gateway, 'Programmed')],
    ],
  ],
  ['HTTPRoute', [['HOSTNAMES', (route) => textsAt(route, 'spec', 'hostnames').join(',')]]],
  ['ServiceEntry', [['HOSTS', (entry) => textsAt(entry, 'spec', 'hosts').join(',')]]],
  ['WorkloadEntry', [['ADDRESS', (entry) => textAt(entry, 'spec', 'address')]]],
]);

/** A table for each kind among the objects, in the order in which the kinds come. */
export function formatObjects(
  terminal: Terminal,
  objects: readonly KubernetesObject[],
  options: Readonly<{ namespaces: boolean; labels: boolean; nowMs: number }>,
): string {
  const kinds = new Map<string, KubernetesObject[]>();
  for (const object of objects) {
    const known = kinds.get(object.kind);
    if (known === undefined) kinds.set(object.kind, [object]);
    else known.push(object);
  }
  return [...kinds]
    .map(([kind, ofKind]) => {
      const namespaced = options.namespaces && ofKind.some((object) => namespaceOf(object) !== '');
      const name = (object: KubernetesObject): string =>
        kinds.size > 1 ? `${kind.toLowerCase()}/${object.metadata.name}` : object.metadata.name;
      const columns: readonly Column[] = [
        ...(namespaced ? [['NAMESPACE', namespaceOf] as const] : []),
        ['NAME', name],
        ...(COLUMNS.get(kind) ?? []),
        ['AGE', (object) => ageOf(object, options.nowMs)],
        ...(options.labels ? [['LABELS', labelsOf] as const] : []),
      ];
      return formatTable(
        terminal,
        columns.map(([heading]) => heading),
        ofKind.map((object) => columns.map(([, cell]) => cell(object))),
      );
    })
    .join('\n');
}

/** How long an object has existed, in its two largest units. */
function ageOf(object: KubernetesObject, nowMs: number): string {
  const created = Date.parse(object.metadata.creationTimestamp ?? '');
  return Number.isNaN(created)
    ? ''
    : formatAge(Math.max(0, nowMs - created - ((nowMs - created) % 1000)));
}

function labelsOf(object: KubernetesObject): string {
  return Object.entries(object.metadata.labels ?? {})
    .map(([key, value]) => `${key}=${value}`)
    .join(',');
}

const good = (text: string): Cell => ({ text, style: 'good' });
const bad = (text: string): Cell => ({ text, style: 'bad' });

function conditionCell(object: KubernetesObject, type: string): Cell {
  const status = conditionOf(object, type);
  return status === 'True' ? good(status) : status === 'False' ? bad(status) : status;
}

function podReady(pod: KubernetesObject): Cell {
  const statuses = listAt(pod, 'status', 'containerStatuses');
  const ready = statuses.filter((status) => valueAt(status, 'ready') === true).length;
  const all = Math.max(statuses.length, listAt(pod, 'spec', 'containers').length);
  const text = `${ready}/${all}`;
  return ready === all ? text : { text, style: 'warning' };
}

function podStatus(pod: KubernetesObject): Cell {
  if (pod.metadata.deletionTimestamp !== undefined)
    return { text: 'Terminating', style: 'warning' };
  const waiting = listAt(pod, 'status', 'containerStatuses')
    .map((status) => textAt(status, 'state', 'waiting', 'reason'))
    .find((reason) => reason !== '');
  const phase = textAt(pod, 'status', 'phase') || 'Pending';
  if (waiting !== undefined) return bad(waiting);
  if (phase === 'Running' || phase === 'Succeeded') return good(phase);
  return phase === 'Failed' ? bad(phase) : { text: phase, style: 'warning' };
}

function podRestarts(pod: KubernetesObject): number {
  return listAt(pod, 'status', 'containerStatuses')
    .map((status) => numberAt(status, 'restartCount'))
    .reduce((sum, count) => sum + count, 0);
}

/** `ambient.istio.io/redirection` is what the node agent writes once a pod is captured. */
function podMesh(pod: KubernetesObject): string {
  return textAt(pod.metadata.annotations, 'ambient.istio.io/redirection');
}

function nodeAddress(node: KubernetesObject): string {
  return listAt(node, 'status', 'addresses')
    .filter((address) => textAt(address, 'type') === 'InternalIP')
    .map((address) => textAt(address, 'address'))
    .join(',');
}

function serviceAddress(service: KubernetesObject): string {
  const addresses = textsAt(service, 'spec', 'clusterIPs');
  return addresses.length > 0 ? addresses.join(',') : textAt(service, 'spec', 'clusterIP');
}

function servicePorts(service: KubernetesObject): string {
  return listAt(service, 'spec', 'ports')
    .map((port) => `${textAt(port, 'port')}/${textAt(port, 'protocol') || 'TCP'}`)
    .join(',');
}

function deploymentReady(deployment: KubernetesObject): Cell {
  const wanted = valueAt(deployment, 'spec', 'replicas');
  const ready = numberAt(deployment, 'status', 'readyReplicas');
  const all = typeof wanted === 'number' ? wanted : 1;
  const text = `${ready}/${all}`;
  return ready === all ? text : { text, style: 'warning' };
}

function deploymentImages(deployment: KubernetesObject): string {
  return listAt(deployment, 'spec', 'template', 'spec', 'containers')
    .map((container) => textAt(container, 'image'))
    .join(',');
}

function sliceEndpoints(slice: KubernetesObject): string {
  return listAt(slice, 'endpoints')
    .flatMap((endpoint) => textsAt(endpoint, 'addresses'))
    .join(',');
}
