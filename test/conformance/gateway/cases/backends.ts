import type { ExecutionContext } from 'ava';
import { ask, each, expectRequests } from '../expected.ts';
import { parentsView, type GatewayMesh } from '../gateway-mesh.ts';
import { APP_BACKEND, INFRA, WEB_BACKEND } from '../namespaces.ts';
import { grant, httpRoute, path, service, to, when, type Manifest } from '../objects.ts';
import { FINE } from './attaching.ts';
import type { Runs } from './run.ts';

type Names =
  | 'HTTPRouteInvalidBackendRefUnknownKind'
  | 'HTTPRouteInvalidNonExistentBackendRef'
  | 'HTTPRouteInvalidCrossNamespaceBackendRef'
  | 'HTTPRouteInvalidReferenceGrant'
  | 'HTTPRoutePartiallyInvalidViaInvalidReferenceGrant'
  | 'HTTPRouteReferenceGrant'
  | 'HTTPRouteNoBackendRefs'
  | 'HTTPRouteServiceTypes'
  | 'HTTPRouteWeight';

const SAME = ['same-namespace'];
const FROM = { kind: 'HTTPRoute', namespace: INFRA };

/** One rule cannot be followed: the reason is told, its requests are answered with 500, and none goes elsewhere. */
async function expectUnresolved(
  t: ExecutionContext,
  mesh: GatewayMesh,
  route: Manifest,
  reason: string,
): Promise<void> {
  await mesh.expectStatus(t, route, parentsView, {
    'same-namespace': { ...FINE, ResolvedRefs: `False ${reason}` },
  });
  await expectRequests(t, mesh, each(['/', '/any'], { status: 500 }));
}

export const backends: Runs<Names> = {
  async HTTPRouteInvalidBackendRefUnknownKind(t, mesh) {
    const ref = { group: 'unknownkind.example.com', kind: 'NonExistent' };
    const route = httpRoute('unknown-kind', SAME, [to('infra-backend-v1', ref)]);
    await mesh.use(t, route);
    await expectUnresolved(t, mesh, route, 'InvalidKind');
  },

  async HTTPRouteInvalidNonExistentBackendRef(t, mesh) {
    const route = httpRoute('nonexistent', SAME, [to('nonexistent')]);
    await mesh.use(t, route);
    await expectUnresolved(t, mesh, route, 'BackendNotFound');
  },

  async HTTPRouteInvalidCrossNamespaceBackendRef(t, mesh) {
    const route = httpRoute('cross-namespace', SAME, [
      to('web-backend', { namespace: WEB_BACKEND }),
    ]);
    await mesh.use(t, route);
    await expectUnresolved(t, mesh, route, 'RefNotPermitted');
  },

  async HTTPRouteInvalidReferenceGrant(t, mesh) {
    const route = httpRoute('no-grant', SAME, [to('web-backend', { namespace: WEB_BACKEND })]);
    const service = { kind: 'Service', name: 'web-backend' };
    await mesh.use(
      ...([t, route] as const),
      // Each is wrong in one thing: where it is, from whom, to what.
      grant('wrong-namespace', APP_BACKEND, FROM, service),
      grant('wrong-kind', WEB_BACKEND, { ...FROM, kind: 'GRPCRoute' }, service),
      grant('wrong-from', WEB_BACKEND, { ...FROM, namespace: APP_BACKEND }, service),
      grant('wrong-to', WEB_BACKEND, FROM, { kind: 'Secret' }),
      grant('wrong-name', WEB_BACKEND, FROM, { ...service, name: 'other' }),
    );
    await expectUnresolved(t, mesh, route, 'RefNotPermitted');
  },

  async HTTPRoutePartiallyInvalidViaInvalidReferenceGrant(t, mesh) {
    const route = httpRoute('partially-invalid', SAME, [
      when([path('/v1')], to('app-backend-v1', { namespace: APP_BACKEND })),
      when([path('/v2')], to('app-backend-v2', { namespace: APP_BACKEND })),
    ]);
    const service = { kind: 'Service', name: 'app-backend-v2' };
    await mesh.use(t, route, grant('of-v2', APP_BACKEND, FROM, service));
    await mesh.expectStatus(t, route, parentsView, {
      'same-namespace': { ...FINE, ResolvedRefs: 'False RefNotPermitted' },
    });
    await expectRequests(t, mesh, [
      ...each(['/v1'], { status: 500 }),
      ...each(['/v2'], { by: 'app-backend-v2', namespace: APP_BACKEND }),
    ]);
  },

  async HTTPRouteReferenceGrant(t, mesh) {
    const route = httpRoute('granted', SAME, [to('web-backend', { namespace: WEB_BACKEND })]);
    const permission = grant('granted', WEB_BACKEND, FROM, {
      kind: 'Service',
      name: 'web-backend',
    });
    await mesh.use(t, route, permission);
    await mesh.expectStatus(t, route, parentsView, { 'same-namespace': FINE });
    await expectRequests(t, mesh, each(['/'], { by: 'web-backend', namespace: WEB_BACKEND }));
    await mesh.remove(permission);
    await expectUnresolved(t, mesh, route, 'RefNotPermitted');
  },

  async HTTPRouteNoBackendRefs(t, mesh) {
    await mesh.use(
      t,
      httpRoute('no-backends', SAME, [
        when([path('/absent')], {}),
        when([path('/empty')], { backendRefs: [] }),
        when([path('/weightless')], to('infra-backend-v1', { weight: 0 })),
      ]),
    );
    await expectRequests(t, mesh, each(['/absent', '/empty', '/weightless'], { status: 500 }));
  },

  async HTTPRouteServiceTypes(t, mesh) {
    const address = await mesh.mesh.ip(`${INFRA}/${await mesh.pod('infra-backend-v1')}`);
    const slice = (of: string): Manifest => ({
      ...{ apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', addressType: 'IPv4' },
      metadata: {
        ...{ name: `${of}-ip4`, namespace: INFRA },
        labels: { 'kubernetes.io/service-name': of },
      },
      ports: [{ name: 'first-port', port: 8080, protocol: 'TCP' }],
      endpoints: [{ addresses: [address], conditions: { ready: true } }],
    });
    const ports = [{ name: 'first-port', protocol: 'TCP', port: 8080 }];
    const names = ['manual-endpointslices', 'headless', 'headless-manual-endpointslices'];
    const [manual = '', headless = '', both = ''] = names;
    await mesh.use(
      t,
      service(manual, { ports }),
      service(headless, { ports, clusterIP: 'None', selector: { app: 'infra-backend-v1' } }),
      service(both, { ports, clusterIP: 'None' }),
      ...[manual, both].map(slice),
      httpRoute(
        'service-types',
        SAME,
        names.map((name) => when([path(`exact:/${name}`)], to(name))),
      ),
    );
    await expectRequests(
      ...([t, mesh] as const),
      each(
        names.map((name) => `/${name}`),
        { by: 'infra-backend-v1' },
      ),
    );
  },

  async HTTPRouteWeight(t, mesh) {
    const weighted = [70, 30, 0].map((weight, index) => ({
      ...{ name: `infra-backend-v${index + 1}`, port: 8080, weight },
    }));
    await mesh.use(t, httpRoute('weighted', SAME, [{ backendRefs: weighted }]));
    const requests = 2000;
    const [answers = []] = await mesh.send([{ ...ask({}), count: requests }]);
    const counts = new Map<string, number>();
    for (const { echo, status } of answers) {
      const by = echo?.pod.slice(0, 'infra-backend-v1'.length) ?? `status ${status}`;
      counts.set(by, (counts.get(by) ?? 0) + 1);
    }
    t.log(Object.fromEntries(counts));
    t.deepEqual([...counts.keys()].sort(), ['infra-backend-v1', 'infra-backend-v2']);
    // 4.9 standard deviations of a fair choice.
    const share = (counts.get('infra-backend-v1') ?? 0) / requests;
    t.true(Math.abs(share - 0.7) < 0.05, `${share} of the requests went to infra-backend-v1`);
  },
};
