import { SLICE_SERVICE_NAME } from './labels.ts';
import type { ObjectBase } from './object.ts';
import type { FieldPath, Report } from './problem.ts';
import {
  bool,
  dictionary,
  fields,
  integer,
  list,
  oneOf,
  optional,
  port,
  portOrName,
  required,
  text,
  withDefault,
  type Decoded,
} from './schema.ts';
import { validateLabels } from './selector.ts';

// Of the kinds of the core group the mesh reads a part, so fields it does not know are left alone.

const condition = fields({ type: text(), status: text(), reason: text() }, 'ignore');

export const namespaceSchema = fields({ status: fields({ phase: text() }, 'ignore') }, 'ignore');

export const nodeSchema = fields(
  {
    spec: fields({ podCIDR: text(), podCIDRs: list(text()) }, 'ignore'),
    status: fields(
      {
        addresses: list(fields({ type: text(), address: text() }, 'ignore')),
        conditions: list(condition),
      },
      'ignore',
    ),
  },
  'ignore',
);

export const serviceAccountSchema = fields({}, 'ignore');

export const configMapSchema = fields({ data: dictionary(text()) }, 'ignore');

const container = fields(
  {
    name: text(),
    restartPolicy: text(),
    ports: list(
      fields(
        {
          name: text(),
          containerPort: port(),
          protocol: withDefault(oneOf(['TCP', 'UDP', 'SCTP'], 'TCP'), 'TCP'),
        },
        'ignore',
      ),
    ),
  },
  'ignore',
);

const podSpecSchema = fields(
  {
    nodeName: text(),
    hostNetwork: bool(),
    /** Kubernetes fills in `default`. */
    serviceAccountName: text(),
    containers: list(container),
    initContainers: list(container),
  },
  'ignore',
);

export const podSchema = fields(
  {
    spec: podSpecSchema,
    status: fields(
      {
        phase: text(),
        podIP: text(),
        podIPs: list(fields({ ip: text() }, 'ignore')),
        hostIP: text(),
        conditions: list(condition),
      },
      'ignore',
    ),
  },
  'ignore',
);

const SERVICE_SPEC_FIELDS = [
  ...['sessionAffinityConfig', 'externalIPs', 'loadBalancerIP'],
  ...['loadBalancerSourceRanges', 'loadBalancerClass', 'externalTrafficPolicy'],
  ...['healthCheckNodePort', 'allocateLoadBalancerNodePorts'],
];

export const serviceSchema = fields(
  {
    spec: required(
      fields(
        {
          type: withDefault(
            oneOf(['ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName'], 'ClusterIP'),
            'ClusterIP',
          ),
          selector: optional(dictionary(text())),
          clusterIP: text(),
          clusterIPs: list(text()),
          externalName: text(),
          ipFamilies: list(oneOf(['IPv4', 'IPv6'], 'IPv4')),
          ipFamilyPolicy: text(),
          internalTrafficPolicy: withDefault(oneOf(['Cluster', 'Local'], 'Cluster'), 'Cluster'),
          sessionAffinity: withDefault(oneOf(['None', 'ClientIP'], 'None'), 'None'),
          trafficDistribution: text(),
          publishNotReadyAddresses: bool(),
          ports: list(
            fields(
              {
                name: text(),
                port: required(port()),
                targetPort: portOrName(),
                protocol: withDefault(oneOf(['TCP', 'UDP', 'SCTP'], 'TCP'), 'TCP'),
                appProtocol: text(),
              },
              'error',
              ['nodePort'],
            ),
          ),
        },
        'error',
        SERVICE_SPEC_FIELDS,
      ),
    ),
    status: fields(
      {
        loadBalancer: fields(
          { ingress: list(fields({ ip: text(), hostname: text() }, 'ignore')) },
          'ignore',
        ),
      },
      'ignore',
    ),
  },
  'ignore',
);

export const endpointSliceSchema = fields(
  {
    addressType: required(oneOf(['IPv4', 'IPv6', 'FQDN'], 'IPv4')),
    endpoints: list(
      fields(
        {
          addresses: list(text()),
          conditions: fields(
            {
              ready: optional(bool()),
              serving: optional(bool()),
              terminating: optional(bool()),
            },
            'ignore',
          ),
          targetRef: optional(
            fields({ kind: text(), namespace: text(), name: text(), uid: text() }, 'ignore'),
          ),
          nodeName: text(),
          zone: text(),
        },
        'ignore',
      ),
    ),
    ports: list(
      fields(
        {
          name: text(),
          port: port(),
          protocol: withDefault(oneOf(['TCP', 'UDP', 'SCTP'], 'TCP'), 'TCP'),
        },
        'ignore',
      ),
    ),
  },
  'ignore',
);

/** Deployment and ReplicaSet, as far as the sandbox runs them; the pod template stays in `raw`. */
export const replicasSchema = fields(
  {
    spec: fields(
      {
        replicas: withDefault(integer(0, 100_000), 1),
        selector: fields({ matchLabels: dictionary(text()) }, 'ignore'),
        template: fields(
          {
            metadata: fields(
              { labels: dictionary(text()), annotations: dictionary(text()) },
              'ignore',
            ),
            spec: podSpecSchema,
          },
          'ignore',
        ),
      },
      'ignore',
    ),
    status: fields({ readyReplicas: integer(0, 100_000), replicas: integer(0, 100_000) }, 'ignore'),
  },
  'ignore',
);

export type Namespace = ObjectBase &
  Readonly<{ kind: 'Namespace' }> &
  Decoded<typeof namespaceSchema>;
export type Node = ObjectBase & Readonly<{ kind: 'Node' }> & Decoded<typeof nodeSchema>;
export type ConfigMap = ObjectBase &
  Readonly<{ kind: 'ConfigMap' }> &
  Decoded<typeof configMapSchema>;
export type ServiceAccount = ObjectBase & Readonly<{ kind: 'ServiceAccount' }>;
export type Pod = ObjectBase & Readonly<{ kind: 'Pod' }> & Decoded<typeof podSchema>;
export type Service = ObjectBase & Readonly<{ kind: 'Service' }> & Decoded<typeof serviceSchema>;
export type EndpointSlice = ObjectBase &
  Readonly<{ kind: 'EndpointSlice' }> &
  Decoded<typeof endpointSliceSchema>;
export type Deployment = ObjectBase &
  Readonly<{ kind: 'Deployment' }> &
  Decoded<typeof replicasSchema>;
export type ReplicaSet = ObjectBase &
  Readonly<{ kind: 'ReplicaSet' }> &
  Decoded<typeof replicasSchema>;

/** The Service that a slice belongs to. */
export function serviceOfSlice(slice: EndpointSlice): string | undefined {
  return slice.metadata.labels.get(SLICE_SERVICE_NAME);
}

/** What the Kubernetes API refuses in a Service, as far as the mesh relies on it. */
export function validateService(service: Decoded<typeof serviceSchema>, report: Report): void {
  const { spec } = service;
  const at: FieldPath = ['spec'];
  if (spec.type === 'ExternalName') {
    if (spec.externalName === '') report.error([...at, 'externalName'], 'is required');
    return;
  }
  const headless = spec.clusterIP === 'None';
  if (spec.ports.length === 0 && !headless)
    report.error([...at, 'ports'], 'is required', 'list at least one port');
  const names = new Set<string>();
  const numbers = new Set<string>();
  spec.ports.forEach((each, index) => {
    const path = [...at, 'ports', index];
    if (spec.ports.length > 1 && each.name === '')
      report.error([...path, 'name'], 'is required where a Service has several ports');
    if (each.name !== '' && names.has(each.name))
      report.error([...path, 'name'], `is used twice: found ${JSON.stringify(each.name)}`);
    names.add(each.name);
    const number = `${each.port}/${each.protocol}`;
    if (numbers.has(number)) report.error([...path, 'port'], `is used twice: found ${number}`);
    numbers.add(number);
  });
  if (spec.selector !== undefined) validateLabels(spec.selector, [...at, 'selector'], report);
}
