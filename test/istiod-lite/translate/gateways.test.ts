import test from 'ava';
import { Snapshot } from '../../../istiod-lite/snapshot.ts';
import { FileSet } from '../../../istiod-lite/sources/file-set.ts';
import type { GeneratedObject, MeshSettings } from '../../../istiod-lite/translate/settings.ts';
import { Translator, type ObjectStatus } from '../../../istiod-lite/translate/translator.ts';
import { VipAllocator } from '../../../istiod-lite/translate/vips.ts';
import { listAt, textAt, valueAt } from '../../../cli/object-fields.ts';
import { DEFAULT_TRUST_DOMAIN } from '../../../mesh/model/identity.ts';
import { waypointYaml } from '../../support/mesh-waypoints.ts';

const settings: MeshSettings = {
  ...{ clusterId: 'Kubernetes', clusterDomain: 'cluster.local', rootNamespace: 'istio-system' },
  ...{ trustDomain: DEFAULT_TRUST_DOMAIN, trustDomainAliases: [], network: '' },
  dryRunPolicies: false,
};

class Plane {
  readonly #files = new FileSet();
  readonly #snapshot = new Snapshot();
  readonly #translator = new Translator(settings, new VipAllocator());

  constructor(yaml: string) {
    this.write('in.yaml', yaml);
  }

  write(file: string, yaml: string): void {
    this.#files.setFile(file, yaml);
    const change = this.#snapshot.apply(this.#files.takeChanges());
    if (change !== undefined) this.#translator.apply(this.#snapshot, change);
  }

  get generated(): readonly GeneratedObject[] {
    return [...this.#translator.generated()];
  }

  object(kind: string): GeneratedObject {
    const found = this.generated.find((object) => object.kind === kind);
    if (found === undefined) throw new Error(`no ${kind} is asked for`);
    return found;
  }

  get kinds(): readonly string[] {
    return this.generated.map(({ kind, metadata }) => `${kind} ${metadata.name}`);
  }

  status(): ObjectStatus {
    for (const status of this.#translator.statuses())
      if (status.ref.kind === 'Gateway') return status;
    throw new Error('the Gateway has no status');
  }

  condition(type: string): string {
    const found = this.status().conditions.find((one) => one.type === type);
    return `${found?.status} ${found?.reason}`;
  }
}

const CLASSES = ['GatewayClass istio-waypoint', 'GatewayClass istio'];
const ALL = [...CLASSES, 'ServiceAccount waypoint', 'Deployment waypoint', 'Service waypoint'];

const SERVICE = `---
apiVersion: v1
kind: Service
metadata:
  name: waypoint
  namespace: shop
  labels: { gateway.networking.k8s.io/gateway-name: waypoint }
spec: { clusterIP: 10.96.0.9, ports: [{ port: 15008 }] }
`;

function pod(ready: boolean): string {
  return `---
apiVersion: v1
kind: Pod
metadata:
  name: waypoint-1
  namespace: shop
  labels: { gateway.networking.k8s.io/gateway-name: waypoint }
spec: { nodeName: node-1, serviceAccountName: waypoint }
status:
  phase: Running
  podIP: 10.0.0.9
  conditions: [{ type: Ready, status: "${ready ? 'True' : 'False'}" }]
`;
}

test('a waypoint is run by objects named like its Gateway, which owns them', (t) => {
  const plane = new Plane(waypointYaml('waypoint'));
  t.deepEqual([...plane.kinds].sort(), [...ALL].sort());
  for (const kind of ['ServiceAccount', 'Deployment', 'Service']) {
    const { labels, namespace } = plane.object(kind).metadata;
    t.is(namespace, 'shop', kind);
    t.like(labels, {
      'gateway.networking.k8s.io/gateway-name': 'waypoint',
      'gateway.networking.k8s.io/gateway-class-name': 'istio-waypoint',
      'gateway.istio.io/managed': 'istio.io-mesh-controller',
    });
    t.is(textAt(listAt(plane.object(kind), 'metadata', 'ownerReferences')[0], 'kind'), 'Gateway');
  }
  const deployment = plane.object('Deployment');
  t.is(valueAt(deployment, 'spec', 'replicas'), undefined, 'whoever scales it has the last word');
  const template = valueAt(deployment, 'spec', 'template');
  t.is(textAt(template, 'metadata', 'labels', 'istio.io/dataplane-mode'), 'none');
  t.is(textAt(template, 'spec', 'serviceAccountName'), 'waypoint');
  const ports = listAt(plane.object('Service'), 'spec', 'ports');
  t.deepEqual(
    ports.map((port) => `${textAt(port, 'name')} ${textAt(port, 'port')}`),
    ['status-port 15021', 'mesh 15008'],
  );
});

test('infrastructure labels and annotations are on all that is made, and on the pods', (t) => {
  const infrastructure = { labels: { team: 'a' }, annotations: { note: 'b' } };
  const plane = new Plane(waypointYaml('waypoint', { spec: { infrastructure } }));
  for (const kind of ['ServiceAccount', 'Deployment', 'Service'])
    t.like(plane.object(kind).metadata, { labels: { team: 'a' }, annotations: { note: 'b' } });
  t.is(textAt(plane.object('Deployment'), 'spec', 'template', 'metadata', 'labels', 'team'), 'a');
});

test('a Gateway has an address while a replica is ready', (t) => {
  const plane = new Plane(waypointYaml('waypoint'));
  t.is(plane.condition('Programmed'), 'False AddressNotAssigned');
  plane.write('service.yaml', SERVICE);
  t.is(plane.condition('Programmed'), 'False Pending');
  plane.write('pod.yaml', pod(false));
  t.is(plane.condition('Programmed'), 'False Pending');
  t.deepEqual(plane.status().gateway?.addresses, []);
  plane.write('pod.yaml', pod(true));
  t.is(plane.condition('Programmed'), 'True Programmed');
  t.deepEqual(plane.status().gateway?.addresses, [
    { type: 'Hostname', value: 'waypoint.shop.svc.cluster.local' },
    { type: 'IPAddress', value: '10.96.0.9' },
  ]);
  plane.write('pod.yaml', pod(false));
  t.is(plane.condition('Programmed'), 'False Pending');
});

test('a Service that only has the name of a waypoint is not its address', (t) => {
  const strangers = SERVICE.replace(/labels: .*\n/, 'labels: {}\n');
  const plane = new Plane(waypointYaml('waypoint') + strangers + pod(true));
  t.is(plane.condition('Programmed'), 'False AddressNotAssigned');
  const { conditions } = plane.status();
  t.regex(conditions[1]?.message ?? '', /^Service shop\/waypoint is somebody else's/);
});

test('a Gateway of another shape runs nothing, and its status says why', (t) => {
  const listeners = [{ name: 'web', port: 80, protocol: 'HTTP' }];
  const plane = new Plane(waypointYaml('waypoint', { spec: { listeners } }));
  t.deepEqual(plane.kinds, CLASSES);
  t.is(plane.condition('Accepted'), 'False ListenersNotValid');
  t.is(plane.condition('Programmed'), 'False Invalid');
  const [listener] = plane.status().gateway?.listeners ?? [];
  t.like(listener?.conditions[0], {
    ...{ type: 'Accepted', status: 'False', reason: 'UnsupportedProtocol' },
    message: 'a waypoint has one listener, protocol HBONE on port 15008: found web: HTTP on 80',
  });
});

test('a Gateway with a host name of its own is somebody else’s to run', (t) => {
  const addresses = [{ type: 'Hostname', value: 'waypoint.example' }];
  const plane = new Plane(waypointYaml('waypoint', { spec: { addresses } }));
  t.deepEqual(plane.kinds, CLASSES);
  t.is(plane.condition('Programmed'), 'True Programmed');
  t.deepEqual(plane.status().gateway?.addresses, addresses);
});

test('a Gateway of another class is not ours', (t) => {
  const plane = new Plane(waypointYaml('waypoint', { spec: { gatewayClassName: 'nginx' } }));
  t.deepEqual(plane.kinds, CLASSES);
  t.throws(() => plane.status());
});

test('the objects go with their Gateway', (t) => {
  const plane = new Plane(waypointYaml('waypoint'));
  plane.write('in.yaml', '');
  t.deepEqual(plane.kinds, CLASSES);
});

function parameters(name: string, data: object, labels: object = {}, namespace = 'shop'): string {
  const metadata = { name, namespace, labels };
  return `---\n${JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata, data })}\n`;
}

function withParameters(name: string, kind = 'ConfigMap'): string {
  const infrastructure = { parametersRef: { group: '', kind, name } };
  return waypointYaml('waypoint', { spec: { infrastructure } });
}

test('a ConfigMap changes the objects: mappings merge, named things in lists too', (t) => {
  const deployment = `
spec:
  replicas: 3
  template:
    spec:
      containers:
        - name: waypoint
          env: [{ name: LOG_LEVEL, value: debug }]
          resources: null
        - { name: beside, image: other }
`;
  const plane = new Plane(withParameters('mine') + parameters('mine', { deployment }));
  const made = plane.object('Deployment');
  t.is(textAt(made, 'spec', 'replicas'), '3');
  const [waypoint, beside] = listAt(made, 'spec', 'template', 'spec', 'containers');
  t.is(textAt(waypoint, 'image'), 'halo/waypoint');
  t.is(valueAt(waypoint, 'resources'), undefined);
  const names = listAt(waypoint, 'env').map((entry) => textAt(entry, 'name'));
  t.true(names.includes('AUTH_TOKEN') && names.includes('LOG_LEVEL'));
  t.is(textAt(beside, 'image'), 'other');
});

test('what holds for the class comes first, and an overlay renames nothing', (t) => {
  const ofClass = parameters(
    'defaults',
    { deployment: 'spec: { replicas: 2, paused: true }' },
    { 'gateway.istio.io/defaults-for-class': 'istio-waypoint' },
    'istio-system',
  );
  const own = parameters('mine', {
    deployment: 'metadata: { name: else, namespace: else }\nspec: { replicas: 4 }',
  });
  const plane = new Plane(withParameters('mine') + ofClass + own);
  t.like(plane.object('Deployment'), {
    metadata: { name: 'waypoint', namespace: 'shop' },
    spec: { replicas: 4, paused: true },
  });
});

const invalid: readonly (readonly [string, string, RegExp])[] = [
  [
    'names a ConfigMap that is not there',
    withParameters('mine'),
    /there is no ConfigMap shop\/mine/,
  ],
  ['names something else', withParameters('mine', 'Secret'), /must name a ConfigMap/],
  [
    'has a key that is none',
    withParameters('mine') + parameters('mine', { pod: '{}' }),
    /only serviceAccount, deployment, service can be changed/,
  ],
  [
    'is no mapping',
    withParameters('mine') + parameters('mine', { service: '[]' }),
    /found no mapping/,
  ],
  [
    'is no YAML',
    withParameters('mine') + parameters('mine', { service: '{' }),
    /ConfigMap shop\/mine: service/,
  ],
];

for (const [what, yaml, reason] of invalid)
  test(`a waypoint is not run when its parametersRef ${what}`, (t) => {
    const plane = new Plane(yaml);
    t.deepEqual(plane.kinds, CLASSES);
    t.is(plane.condition('Accepted'), 'False InvalidParameters');
    t.regex(plane.status().conditions[0]?.message ?? '', reason);
  });
