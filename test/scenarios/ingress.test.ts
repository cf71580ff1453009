import test from 'ava';
import { startMesh, type Mesh } from '../support/mesh.ts';
import { waypointReady, waypointYaml } from '../support/mesh-waypoints.ts';
import { namespaceYaml, podYaml } from '../support/mesh-yaml.ts';
import {
  gateway,
  httpRoute,
  route,
  routesFrom,
  type Manifest,
} from '../conformance/gateway/objects.ts';
import { explainConnection } from '../../cli/explain-connection.ts';
import type { Explanation } from '../../cli/explain-text.ts';
import { conditionOf, listAt, textAt } from '../../cli/object-fields.ts';

/** Says what it saw of a request. */
const SERVER = `require('node:http').createServer((request, response) => {
  const { url, headers, socket } = request;
  response.end(JSON.stringify({ url, headers, peer: socket.remoteAddress }));
}).listen(8080)`;

const WEB: Manifest = {
  ...{ apiVersion: 'v1', kind: 'Pod' },
  metadata: { name: 'web', namespace: 'shop', labels: { app: 'web' } },
  spec: {
    containers: [
      {
        ...{ name: 'web', image: 'local/node', command: [process.execPath, '-e', SERVER] },
        readinessProbe: { tcpSocket: { port: 8080 } },
      },
    ],
  },
};

function service(labels: Readonly<Record<string, string>> = {}): Manifest {
  return {
    ...{ apiVersion: 'v1', kind: 'Service', metadata: { name: 'web', namespace: 'shop', labels } },
    spec: {
      selector: { app: 'web' },
      ports: [
        { name: 'http', port: 80, targetPort: 8080 },
        { name: 'tcp', port: 9000, targetPort: 8080 },
      ],
    },
  };
}

const BOUND = { 'istio.io/use-waypoint': 'waypoint' };
const FOR_INGRESS = { ...BOUND, 'istio.io/ingress-use-waypoint': 'true' };

function policy(
  name: string,
  spec: Readonly<Record<string, unknown>>,
  namespace = 'edge',
): Manifest {
  return {
    ...{ apiVersion: 'security.istio.io/v1', kind: 'AuthorizationPolicy' },
    ...{ metadata: { name, namespace }, spec },
  };
}

const denied = (path: string): object => ({
  action: 'DENY',
  rules: [{ to: [{ operation: { paths: [path] } }] }],
});

const yaml = (...objects: readonly Manifest[]): string =>
  objects.map((object) => `---\n${JSON.stringify(object)}\n`).join('');

const mesh = startMesh(test, {
  nodes: 1,
  yaml: [
    namespaceYaml('shop'),
    yaml({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'edge' } }, WEB, service()),
    podYaml('outsider', { namespace: 'edge' }),
  ].join('---\n'),
});

let address = '';

test.serial.before('a gateway runs, with a route to a pod in the mesh', async () => {
  await mesh.apply(
    yaml(
      gateway(
        'public',
        [
          { name: 'http', ...routesFrom('All') },
          { name: 'bytes', port: 9000, protocol: 'TCP', ...routesFrom('All') },
        ],
        { namespace: 'edge' },
      ),
      route(
        ...(['TCPRoute', 'bytes', [{ name: 'public', namespace: 'edge' }]] as const),
        [{ backendRefs: [{ name: 'web', port: 9000 }] }],
        { namespace: 'shop' },
      ),
      httpRoute(
        ...(['web', [{ name: 'public', namespace: 'edge' }]] as const),
        [{ backendRefs: [{ name: 'web', port: 80 }] }],
        { namespace: 'shop' },
      ),
    ),
  );
  const programmed = await mesh.watch(
    'Gateway',
    (object) => object.metadata.name === 'public' && conditionOf(object, 'Programmed') === 'True',
    'the gateway is programmed',
  );
  address = textAt(listAt(programmed, 'status', 'addresses')[0], 'value');
  await mesh.settled();
});

type Seen = Readonly<{ url: string; headers: Readonly<Record<string, string>>; peer: string }>;

/** A request from outside of the mesh, to a path or to `:<port><path>`: its status and what it was answered. */
async function ask(
  from: Mesh,
  path: string,
  ...more: readonly string[]
): Promise<Readonly<{ status: string; body: string }>> {
  const command = ['curl', '-s', '-m', '10', '-w', '\n%{http_code}', ...more];
  const port = path.startsWith(':') ? '' : ':80';
  const { stdout } = await from.exec('edge/outsider', [
    ...command,
    `http://${address}${port}${path}`,
  ]);
  const lines = stdout.split('\n');
  return { status: lines.at(-1) ?? '', body: lines.slice(0, -1).join('\n') };
}

test.serial(
  'a gateway tells backends who the client is, and believes nothing that the client says of it',
  async (t) => {
    const { status, body } = await ask(
      ...([
        mesh,
        '/a?b=c',
        '-H',
        'x-forwarded-proto: https',
        '-H',
        'x-forwarded-for: 1.2.3.4',
      ] as const),
      ...['-H', 'x-forwarded-client-cert: By=me', '-H', 'x-envoy-original-path: /other'],
    );
    t.is(status, '200');
    const { url, headers } = JSON.parse(body) as Seen;
    t.is(url, '/a?b=c');
    t.is(headers['x-forwarded-proto'], 'http');
    t.is(headers['x-forwarded-client-cert'], undefined);
    t.is(headers['x-envoy-original-path'], undefined);
    // What came before is kept, and the address that we know stands behind it.
    t.is(headers['x-forwarded-for'], `1.2.3.4,${await mesh.ip('edge/outsider')}`);
  },
);

test.serial('a RateLimitPolicy for a gateway lets so many requests of one client in', async (t) => {
  await mesh.apply(
    yaml({
      ...{ apiVersion: 'halo.dev/v1alpha1', kind: 'RateLimitPolicy' },
      metadata: { name: 'two', namespace: 'edge' },
      spec: {
        targetRefs: [{ group: 'gateway.networking.k8s.io', kind: 'Gateway', name: 'public' }],
        rules: [
          {
            ...{ name: 'limited', match: { path: { type: 'Exact', value: '/limited' } } },
            ...{ key: [{ type: 'ClientAddress' }], limit: { requests: 2, per: '1h' } },
          },
        ],
      },
    }),
  );
  const statuses: string[] = [];
  for (let count = 0; count < 3; count++) statuses.push((await ask(mesh, '/limited')).status);
  t.deepEqual(statuses, ['200', '200', '429']);
  t.is((await ask(mesh, '/other')).status, '200');
  await mesh.watch(
    'RateLimitPolicy',
    (object) => conditionOf(object, 'Accepted') === 'True',
    'the policy is accepted',
  );
  await mesh.delete('RateLimitPolicy', 'two', 'edge');
  t.is((await ask(mesh, '/limited')).status, '200');
});

/** What `halo explain` says of a request by the gateway, for a host that only the test knows. */
async function explain(path: string, port = 80): Promise<Explanation> {
  const request = { method: 'GET', path, headers: [] };
  const to = `shop.example.com:${port}`;
  return explainConnection(mesh.sandbox, 'gateway/public', to, 'edge', { request });
}

function found({ gateway }: Explanation, step: string): string | undefined {
  return gateway?.steps.find((one) => one.step === step)?.found;
}

test.serial(
  'halo explain tells what a gateway and those behind it do with a request',
  async (t) => {
    const story = await explain('/a');
    t.true(story.allowed, story.verdict);
    t.is(story.source, 'gateway edge/public');
    t.is(found(story, 'listener'), 'http, port 80, http, for every name');
    t.is(found(story, 'rule'), 'HTTPRoute/shop/web/0');
    const [backend] = story.gateway?.backends ?? [];
    t.is(backend?.backend, 'shop/web.shop.svc.cluster.local:80');
    t.is(backend?.endpoints[0]?.workload, 'Kubernetes//Pod/shop/web');
    t.is(story.waypoint, undefined);
    t.is(story.inbound?.peer.identity, 'spiffe://cluster.local/ns/edge/sa/public-istio');
    t.is(story.inbound?.outcome.kind, 'admit');

    const bytes = await explain('/', 9000);
    t.is(bytes.gateway?.outcome.kind, 'bytes');
    t.is(bytes.inbound?.outcome.kind, 'admit', bytes.verdict);
    const nowhere = await explain('/', 81);
    t.false(nowhere.allowed);
    t.is(nowhere.verdict, 'Refused by gateway edge/public: no listener is for port 81');
  },
);

test.serial('a gateway reaches pods in the mesh under its own identity', async (t) => {
  const only = policy(
    'only-the-gateway',
    {
      selector: { matchLabels: { app: 'web' } },
      action: 'ALLOW',
      rules: [{ from: [{ source: { principals: ['cluster.local/ns/edge/sa/public-istio'] } }] }],
    },
    'shop',
  );
  await mesh.apply(yaml(only));
  t.is((await ask(mesh, '/')).status, '200');
  await mesh.apply(yaml({ ...only, spec: { ...(only['spec'] as object), rules: [] } }));
  t.is((await ask(mesh, '/')).status, '503');
  t.regex((await explain('/')).verdict, /^Refused by the ztunnel of node-1: /);
  await mesh.delete('AuthorizationPolicy', 'only-the-gateway', 'shop');
  t.is((await ask(mesh, '/')).status, '200');
});

test.serial(
  'policies for a gateway, for its pods and for its namespace hold at the gateway',
  async (t) => {
    await mesh.apply(
      yaml(
        policy('by-target', {
          targetRefs: [{ group: 'gateway.networking.k8s.io', kind: 'Gateway', name: 'public' }],
          ...denied('/by-target'),
        }),
        policy('by-labels', {
          selector: { matchLabels: { 'gateway.networking.k8s.io/gateway-name': 'public' } },
          ...denied('/by-labels'),
        }),
        policy('by-namespace', denied('/by-namespace') as Readonly<Record<string, unknown>>),
        policy('of-others', {
          selector: { matchLabels: { app: 'other' } },
          ...denied('/of-others'),
        }),
      ),
    );
    for (const path of ['/by-target', '/by-labels', '/by-namespace']) {
      const { status, body } = await ask(mesh, path);
      t.deepEqual([status, body], ['403', 'RBAC: access denied'], path);
    }
    t.is((await ask(mesh, '/of-others')).status, '200');
    const story = await explain('/by-target');
    t.false(story.allowed);
    t.like(story.gateway?.outcome, { kind: 'refuse', status: 403, policy: 'edge/by-target' });
    // In bytes there is no path to see, so what denies one path denies them all.
    const bytes = await explain('/', 9000);
    t.is(bytes.gateway?.outcome.kind, 'refuse', bytes.verdict);
    t.is((await ask(mesh, ':9000/')).status, '000');
    for (const name of ['by-target', 'by-labels', 'by-namespace', 'of-others'])
      await mesh.delete('AuthorizationPolicy', name, 'edge');
    t.is((await ask(mesh, ':9000/')).status, '200');
  },
);

test.serial(
  'a service that wants its waypoint between gateways and its pods is not reached past it',
  async (t) => {
    await mesh.apply(yaml(service({ ...FOR_INGRESS, 'istio.io/use-waypoint': 'missing' })));
    t.is((await ask(mesh, '/')).status, '503');
    t.is((await ask(mesh, ':9000/')).status, '000');
    const { allowed, verdict } = await explain('/');
    t.false(allowed);
    t.regex(
      verdict,
      /the waypoint of web\..* cannot be used: waypoint shop\/missing does not exist/,
    );
    await mesh.apply(yaml(service()));
    t.is((await ask(mesh, '/')).status, '200');
    t.is((await ask(mesh, ':9000/')).status, '200');
  },
);

test.serial(
  'a service that wants its waypoint there is reached through it, and its routes and policies hold once',
  async (t) => {
    await mesh.apply(
      [
        yaml(
          service(FOR_INGRESS),
          httpRoute(
            ...(['mesh', [{ group: '', kind: 'Service', name: 'web', port: 80 }]] as const),
            [
              {
                backendRefs: [{ name: 'web', port: 80 }],
                filters: [
                  {
                    type: 'RequestHeaderModifier',
                    requestHeaderModifier: { add: [{ name: 'x-rule', value: 'of-the-service' }] },
                  },
                ],
              },
            ],
            { namespace: 'shop' },
          ),
          policy(
            'of-the-service',
            {
              targetRefs: [{ group: '', kind: 'Service', name: 'web' }],
              action: 'DENY',
              rules: [{ to: [{ operation: { paths: ['/secret'], ports: ['80'] } }] }],
            },
            'shop',
          ),
          policy(
            'only-the-waypoint',
            {
              selector: { matchLabels: { app: 'web' } },
              rules: [
                { from: [{ source: { principals: ['cluster.local/ns/shop/sa/waypoint'] } }] },
              ],
            },
            'shop',
          ),
        ),
        waypointYaml('waypoint'),
      ].join(''),
    );
    await waypointReady(mesh, 'waypoint');
    const { status, body } = await ask(mesh, '/open');
    t.is(status, '200', body);
    const { headers } = JSON.parse(body) as Seen;
    t.is(headers['x-rule'], 'of-the-service');
    t.true(headers['x-forwarded-for']?.startsWith(`${await mesh.ip('edge/outsider')},`));
    t.is((await ask(mesh, '/secret')).status, '403');
    t.is((await ask(mesh, ':9000/')).status, '200');

    const story = await explain('/open');
    t.true(story.allowed, story.verdict);
    const [backend] = story.gateway?.backends ?? [];
    t.is(backend?.waypoint, 'shop/waypoint.shop.svc.cluster.local');
    t.is(story.waypoint?.source.identity, 'spiffe://cluster.local/ns/edge/sa/public-istio');
    t.is(story.waypoint?.outcome.kind, 'forward');
    t.is(story.inbound?.peer.identity, 'spiffe://cluster.local/ns/shop/sa/waypoint');
    t.like((await explain('/secret')).waypoint?.outcome, {
      ...{ kind: 'refuse', status: 403, policy: 'shop/of-the-service' },
    });
  },
);

test.serial('without that label a gateway goes past the waypoint, as in Istio', async (t) => {
  await mesh.apply(yaml(service(BOUND)));
  t.is((await ask(mesh, '/open')).status, '503', 'the pod admits nobody but the waypoint');
  t.is((await ask(mesh, ':9000/')).status, '000');
  await mesh.delete('AuthorizationPolicy', 'only-the-waypoint', 'shop');
  const { status, body } = await ask(mesh, '/secret');
  t.is(status, '200');
  t.is((JSON.parse(body) as Seen).headers['x-rule'], undefined);
  await mesh.apply(yaml(service()));
});

test.serial('the label of a namespace holds for its services', async (t) => {
  const owner = { apiVersion: 'v1', kind: 'Namespace' } as const;
  const labels = { 'istio.io/dataplane-mode': 'ambient', ...FOR_INGRESS };
  await mesh.apply(yaml({ ...owner, metadata: { name: 'shop', labels } }));
  t.is((await ask(mesh, '/secret')).status, '403');
});
