import test from 'ava';
import { stringify } from 'yaml';
import { DEFAULT_TRUST_DOMAIN } from '../../../mesh/model/identity.ts';
import type { HttpRoutes } from '../../../mesh/model/http-route.ts';
import { decodeServiceRoutes, SERVICE_ROUTES_TYPE } from '../../../mesh/xds/codec-routes.ts';
import { SERVICE_TRAFFIC_TYPE } from '../../../mesh/xds/codec-traffic.ts';
import { Snapshot } from '../../../istiod-lite/snapshot.ts';
import { FileSet } from '../../../istiod-lite/sources/file-set.ts';
import type { MeshSettings } from '../../../istiod-lite/translate/settings.ts';
import { Translator } from '../../../istiod-lite/translate/translator.ts';
import { VipAllocator } from '../../../istiod-lite/translate/vips.ts';
import { RouteTable } from '../../../waypoint/match.ts';
import { seededRandom } from '../../faults/soak/shuffle.ts';
import { makeRequest, toHeaders } from '../../support/route-cases.ts';

const settings: MeshSettings = {
  ...{ clusterId: 'Kubernetes', clusterDomain: 'cluster.local', rootNamespace: 'istio-system' },
  ...{ trustDomain: DEFAULT_TRUST_DOMAIN, trustDomainAliases: [], network: '' },
  dryRunPolicies: false,
};

const BACKENDS = ['b0', 'b1', 'b2', 'b3', 'b4', 'b5'] as const;

const service = (name: string, namespace = 'shop'): object => ({
  ...{ apiVersion: 'v1', kind: 'Service', metadata: { name, namespace } },
  spec: { clusterIP: 'None', ports: [{ name: 'http', port: 80 }] },
});

const MESH: readonly object[] = [
  {
    ...{ apiVersion: 'v1', kind: 'Namespace' },
    metadata: { name: 'shop', labels: { 'istio.io/use-waypoint': 'wp' } },
  },
  {
    ...{ apiVersion: 'gateway.networking.k8s.io/v1', kind: 'Gateway' },
    metadata: { name: 'wp', namespace: 'shop' },
    spec: {
      gatewayClassName: 'istio-waypoint',
      listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }],
    },
    status: { addresses: [{ type: 'Hostname', value: 'wp.shop.svc.cluster.local' }] },
  },
  {
    ...{ apiVersion: 'v1', kind: 'Service', metadata: { name: 'web', namespace: 'shop' } },
    spec: { clusterIP: '10.96.0.1', ports: [{ name: 'http', port: 80 }] },
  },
  ...BACKENDS.map((name) => service(name)),
];

/** A mesh whose files can change. */
class Mesh {
  readonly #files = new FileSet();
  readonly #snapshot = new Snapshot();
  readonly #translator = new Translator(settings, new VipAllocator());

  constructor() {
    this.set('mesh.yaml', ...MESH);
  }

  set(file: string, ...objects: readonly object[]): void {
    this.#files.setFile(file, objects.map((each) => stringify(each)).join('---\n'));
    const [problem] = this.#files.problems();
    if (problem !== undefined) throw new Error(`${problem.field}: ${problem.message}`);
    const change = this.#snapshot.apply(this.#files.takeChanges());
    if (change !== undefined) this.#translator.apply(this.#snapshot, change);
  }

  /** Services of a namespace whose traffic policies the waypoint is told of, though none of them uses it. */
  knownOf(namespace: string): string[] {
    return [...(this.#translator.resources(SERVICE_TRAFFIC_TYPE)?.values() ?? [])]
      .filter(({ name, readers }) => name.startsWith(`${namespace}/`) && readers?.has('shop/wp'))
      .map(({ name }) => name.slice(namespace.length + 1, name.indexOf('.')))
      .sort();
  }

  /** The routes of port 80 of Service web, as its waypoint is told. */
  routes(): HttpRoutes | undefined {
    const key = 'shop/web.shop.svc.cluster.local';
    const resource = this.#translator.resources(SERVICE_ROUTES_TYPE)?.get(key);
    if (resource === undefined) throw new Error('the waypoint is not told of web');
    const found = decodeServiceRoutes(resource.bytes).producer.get(80);
    return found?.kind === 'http' ? found.routes : undefined;
  }
}

test('a waypoint is told how to use the services that a VirtualService makes it send to, by each way it names them', (t) => {
  const mesh = new Mesh();
  mesh.set('out.yaml', ...['a', 'b', 'c', 'd'].map((name) => service(name, 'out')));
  t.deepEqual(mesh.knownOf('out'), []);
  const to = (host: string): object => ({ destination: { host } });
  const full = (name: string): string => `${name}.out.svc.cluster.local`;
  const http = [
    { route: [to(full('a'))], mirrors: [to(full('b'))] },
    { delegate: { name: 'leaf', namespace: 'out' } },
  ];
  mesh.set('web.yaml', virtual({ hosts: ['*.shop.svc.cluster.local'], http }));
  t.deepEqual(mesh.knownOf('out'), ['a', 'b']);
  mesh.set('leaf.yaml', virtual({ http: [{ route: [to('c')] }] }, 'leaf', 'out'));
  t.deepEqual(mesh.knownOf('out'), ['a', 'b', 'c']);
  mesh.set('web.yaml');
  t.deepEqual(mesh.knownOf('out'), []);
});

const virtual = (spec: object, name = 'web', namespace = 'shop'): object => ({
  ...{ apiVersion: 'networking.istio.io/v1', kind: 'VirtualService' },
  ...{ metadata: { name, namespace }, spec },
});
const answer = (status: number): object => ({ directResponse: { status } });
const statusesOf = (routes: HttpRoutes | undefined): unknown[] | undefined =>
  routes?.rules.map(({ filters: [filter] }) => filter?.kind === 'respond' && filter.status);

test('a waypoint is told anew when a VirtualService, or one that it delegates to, comes, changes or goes', (t) => {
  const mesh = new Mesh();
  t.is(mesh.routes(), undefined);
  mesh.set(
    'root.yaml',
    virtual({ hosts: ['web'], http: [{ delegate: { name: 'leaf', namespace: 'team' } }] }),
  );
  t.deepEqual(statusesOf(mesh.routes()), [500], 'to nobody yet');
  mesh.set('leaf.yaml', virtual({ http: [answer(403)] }, 'leaf', 'team'));
  t.deepEqual(statusesOf(mesh.routes()), [403]);
  mesh.set('leaf.yaml', virtual({ http: [answer(404)] }, 'leaf', 'team'));
  t.deepEqual(statusesOf(mesh.routes()), [404]);
  mesh.set('more.yaml', virtual({ hosts: ['web'], http: [answer(418)] }, 'more'));
  t.deepEqual(statusesOf(mesh.routes()), [418, 404]);
  mesh.set('route.yaml', {
    ...{ apiVersion: 'gateway.networking.k8s.io/v1', kind: 'HTTPRoute' },
    metadata: { name: 'web', namespace: 'shop' },
    spec: { parentRefs: [{ group: '', kind: 'Service', name: 'web' }] },
  });
  t.is(mesh.routes()?.choice, 'precedence', 'a route of the Gateway API goes first');
  mesh.set('route.yaml');
  mesh.set('root.yaml');
  t.deepEqual(statusesOf(mesh.routes()), [418]);
  mesh.set('more.yaml');
  t.is(mesh.routes(), undefined);
});

type Match = Readonly<{
  path: Readonly<{ type: 'Exact' | 'PathPrefix' | 'RegularExpression'; value: string }>;
  method?: string;
  headers: readonly Value[];
  queryParams: readonly Value[];
}>;
type Value = Readonly<{ type: 'Exact' | 'RegularExpression'; name: string; value: string }>;

type Pick = (below: number) => number;

function oneOf<T>(pick: Pick, items: readonly [T, ...T[]]): T {
  return items[pick(items.length)] ?? items[0];
}

function makeMatch(pick: Pick): Match {
  const type = oneOf(pick, ['Exact', 'PathPrefix', 'PathPrefix', 'RegularExpression'] as const);
  const value =
    type === 'RegularExpression'
      ? oneOf(pick, ['/a.*', '/(a|ab)', '/[a-c]+/b', '/.*'])
      : oneOf(pick, ['/', '/a', '/ab', '/a/b', '/a/', '/A', '/abc']);
  const values = (names: readonly [string, ...string[]]): Value[] =>
    names
      .filter(() => pick(5) === 0)
      .map((name) =>
        pick(3) === 0
          ? { type: 'RegularExpression', name, value: oneOf(pick, ['one|1', '[a-z]+', '.*']) }
          : { type: 'Exact', name, value: oneOf(pick, ['1', '2', 'one']) },
      );
  return {
    path: { type, value },
    ...(pick(4) === 0 && { method: oneOf(pick, ['GET', 'POST']) }),
    headers: values(['x', 'y']),
    queryParams: values(['x', 'y']),
  };
}

/** What says the same in a VirtualService: a prefix of segments is the path itself, or what has a slash after it. */
function uris({ path: { type, value } }: Match): object[] {
  if (type === 'Exact') return [{ exact: value }];
  if (type === 'RegularExpression') return [{ regex: value }];
  const segments = value.replace(/\/$/, '');
  return [...(segments === '' ? [] : [{ exact: segments }]), { prefix: `${segments}/` }];
}

function virtualMatch(match: Match): object[] {
  const values = (list: readonly Value[]): object =>
    Object.fromEntries(
      list.map(({ type, name, value }) => [
        name,
        type === 'Exact' ? { exact: value } : { regex: value },
      ]),
    );
  return uris(match).map((uri) => ({
    uri,
    ...(match.method !== undefined && { method: { exact: match.method } }),
    headers: values(match.headers),
    queryParams: values(match.queryParams),
  }));
}

/** By Gateway API's precedence, which a VirtualService has to write down. */
function precedence({ path, method, headers, queryParams }: Match): number[] {
  return [
    { Exact: 2, PathPrefix: 1, RegularExpression: 0 }[path.type],
    path.type === 'Exact'
      ? 0
      : path.type === 'PathPrefix'
        ? path.value.replace(/\/$/, '').length
        : path.value.length,
    Number(method !== undefined),
    headers.length,
    queryParams.length,
  ];
}

function before(one: Match, other: Match): number {
  const [mine, theirs] = [precedence(one), precedence(other)];
  const first = mine.findIndex((value, index) => value !== theirs[index]);
  return (theirs[first] ?? 0) - (mine[first] ?? 0);
}

test('an HTTPRoute and a VirtualService that says the same choose the same backend, for 60,000 random requests', (t) => {
  const outcomes = { none: 0, one: 0 };
  const [http, istio] = [new Mesh(), new Mesh()];
  for (let seed = 1; seed <= 300; seed++) {
    const random = seededRandom(seed);
    const pick: Pick = (below) => Math.floor(random() * below);
    const rules = BACKENDS.map((backend) => ({
      ...{ backend, matches: Array.from({ length: 1 + pick(3) }, () => makeMatch(pick)) },
    }));
    http.set('web.yaml', {
      ...{ apiVersion: 'gateway.networking.k8s.io/v1', kind: 'HTTPRoute' },
      metadata: { name: 'web', namespace: 'shop' },
      spec: {
        parentRefs: [{ group: '', kind: 'Service', name: 'web' }],
        rules: rules.map(({ backend, matches }) => ({
          ...{ matches, backendRefs: [{ name: backend, port: 80 }] },
        })),
      },
    });
    const ordered = rules
      .flatMap(({ backend, matches }) => matches.map((match) => ({ backend, match })))
      .sort((a, b) => before(a.match, b.match));
    istio.set(
      'web.yaml',
      virtual({
        hosts: ['web'],
        http: ordered.map(({ backend, match }) => ({
          ...{ match: virtualMatch(match), route: [{ destination: { host: backend } }] },
        })),
      }),
    );
    const [one, other] = [http.routes(), istio.routes()];
    if (one === undefined || other === undefined) {
      t.fail(`seed ${seed}: no routes`);
      return;
    }
    t.deepEqual([one.choice, other.choice], ['precedence', 'order']);
    const tables = [new RouteTable(one), new RouteTable(other)];
    for (let round = 0; round < 200; round++) {
      const request = makeRequest(pick);
      if (!request.path.startsWith('/')) continue;
      const headers = toHeaders(request);
      const [found, expected] = tables.map(
        (table) => table.find(headers, request.namespace)?.rule.backends[0]?.target?.service,
      );
      if (found !== expected) {
        const text = `seed ${seed}: ${JSON.stringify(request)} by ${JSON.stringify(rules)}`;
        t.is(found, expected, text);
        return;
      }
      outcomes[found === undefined ? 'none' : 'one']++;
    }
  }
  t.log(outcomes);
  t.true(outcomes.none > 5000 && outcomes.one > 5000);
});
