import test from 'ava';
import { startMesh, type Mesh } from '../support/mesh.ts';
import {
  httpServiceYaml,
  namespaceYaml,
  objectsYaml,
  podYaml,
  serverPodYaml,
} from '../support/mesh-yaml.ts';
import { gateway, httpRoute, type Manifest } from '../conformance/gateway/objects.ts';
import { conditionOf, listAt, textAt } from '../../cli/object-fields.ts';

/** Says what it saw of a request. */
const SERVER = `require('node:http').createServer((request, response) => {
  const { url, headers, socket } = request;
  response.end(JSON.stringify({ url, headers, peer: socket.remoteAddress }));
}).listen(8080)`;

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

const mesh = startMesh(test, {
  nodes: 1,
  yaml: [
    namespaceYaml('shop'),
    namespaceYaml('edge', {}),
    serverPodYaml('web', { program: SERVER }),
    httpServiceYaml('web'),
    podYaml('outsider', { namespace: 'edge' }),
  ].join(''),
});

let address = '';

test.serial.before('a gateway runs, with a route to a pod in the mesh', async () => {
  await mesh.apply(
    objectsYaml(
      gateway('public', [{ name: 'http', allowedRoutes: { namespaces: { from: 'All' } } }], {
        namespace: 'edge',
      }),
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

/** A request from outside of the mesh: its status and what it was answered. */
async function ask(
  from: Mesh,
  path: string,
  ...more: readonly string[]
): Promise<Readonly<{ status: string; body: string }>> {
  const command = ['curl', '-s', '-m', '10', '-w', '\n%{http_code}', ...more];
  const { stdout } = await from.exec('edge/outsider', [...command, `http://${address}${path}`]);
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
  await mesh.apply(objectsYaml(only));
  t.is((await ask(mesh, '/')).status, '200');
  await mesh.apply(objectsYaml({ ...only, spec: { ...(only['spec'] as object), rules: [] } }));
  t.is((await ask(mesh, '/')).status, '503');
  await mesh.delete('AuthorizationPolicy', 'only-the-gateway', 'shop');
  t.is((await ask(mesh, '/')).status, '200');
});

test.serial(
  'policies for a gateway, for its pods and for its namespace hold at the gateway',
  async (t) => {
    await mesh.apply(
      objectsYaml(
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
  },
);

test.serial(
  'a service that wants its waypoint between gateways and its pods is not reached past it',
  async (t) => {
    const labels = { 'istio.io/use-waypoint': 'missing', 'istio.io/ingress-use-waypoint': 'true' };
    await mesh.apply(httpServiceYaml('web', { labels }));
    t.is((await ask(mesh, '/')).status, '503');
    await mesh.apply(httpServiceYaml('web'));
    t.is((await ask(mesh, '/')).status, '200');
  },
);
