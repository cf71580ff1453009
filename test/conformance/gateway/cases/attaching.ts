import { expectRequests } from '../expected.ts';
import { gatewayView, parentsView } from '../gateway-mesh.ts';
import { APP_BACKEND, INFRA, WEB_BACKEND } from '../namespaces.ts';
import { gateway, httpRoute, path, routesFrom, to, when } from '../objects.ts';
import type { Runs } from './run.ts';

type Names =
  | 'HTTPRouteSimpleSameNamespace'
  | 'HTTPRouteCrossNamespace'
  | 'HTTPRouteMultipleGateways'
  | 'HTTPRouteInvalidCrossNamespaceParentRef'
  | 'HTTPRouteInvalidParentRefNotMatchingSectionName'
  | 'HTTPRouteInvalidParentRefNotMatchingListenerPort'
  | 'HTTPRouteInvalidParentRefSectionNameNotMatchingPort'
  | 'HTTPRouteListenerPortMatching'
  | 'HTTPRouteDisallowedKind'
  | 'HTTPRouteObservedGenerationBump'
  | 'GatewayWithAttachedRoutes'
  | 'GatewayWithAttachedRoutesWithPort8080';

export const FINE = { Accepted: 'True Accepted', ResolvedRefs: 'True ResolvedRefs' };
export const LISTENING = {
  ...{ Accepted: 'True Accepted', Conflicted: 'False NoConflicts', Programmed: 'True Programmed' },
  ResolvedRefs: 'True ResolvedRefs',
};
const REQUESTS = { kinds: ['HTTPRoute', 'GRPCRoute'] };
const toV1 = [to('infra-backend-v1')];

export const attaching: Runs<Names> = {
  async HTTPRouteSimpleSameNamespace(t, mesh) {
    const route = httpRoute('gateway-conformance-infra-test', ['same-namespace'], toV1);
    await mesh.use(t, route);
    await mesh.expectStatus(t, route, parentsView, { 'same-namespace': FINE });
    await expectRequests(t, mesh, [
      [{ path: '/' }, { by: 'infra-backend-v1' }],
      [{ path: '/any/path?and=query', method: 'POST' }, { by: 'infra-backend-v1' }],
      // No route is for this gateway.
      [{ at: 'all-namespaces' }, { status: 404 }],
    ]);
  },

  async HTTPRouteCrossNamespace(t, mesh) {
    const rules = [to('web-backend')];
    const options = { namespace: WEB_BACKEND };
    const route = httpRoute('cross-namespace', ['backend-namespaces'], rules, options);
    await mesh.use(t, route);
    await mesh.expectStatus(t, route, parentsView, { 'backend-namespaces': FINE });
    await expectRequests(t, mesh, [
      [{ at: 'backend-namespaces' }, { by: 'web-backend', namespace: WEB_BACKEND }],
    ]);
  },

  async HTTPRouteMultipleGateways(t, mesh) {
    const named = (name: string, parents: readonly string[], route: string) =>
      httpRoute(name, parents, [when([path(`exact:${route}`)], to('infra-backend-v1'))]);
    await mesh.use(
      ...([t, named('shared', ['same-namespace', 'all-namespaces'], '/shared')] as const),
      named('first', ['same-namespace'], '/first'),
      named('second', ['all-namespaces'], '/second'),
    );
    const served = { by: 'infra-backend-v1' };
    const not = { status: 404 };
    await expectRequests(t, mesh, [
      [{ path: '/shared' }, served],
      [{ at: 'all-namespaces', path: '/shared' }, served],
      [{ path: '/first' }, served],
      [{ at: 'all-namespaces', path: '/first' }, not],
      [{ path: '/second' }, not],
      [{ at: 'all-namespaces', path: '/second' }, served],
    ]);
  },

  async HTTPRouteInvalidCrossNamespaceParentRef(t, mesh) {
    const route = httpRoute('invalid', ['same-namespace'], [to('web-backend')], {
      namespace: WEB_BACKEND,
    });
    await mesh.use(t, route);
    await mesh.expectStatus(t, route, parentsView, {
      'same-namespace': { ...FINE, Accepted: 'False NotAllowedByListeners' },
    });
    await expectRequests(t, mesh, [[{}, { status: 404 }]]);
  },

  async HTTPRouteInvalidParentRefNotMatchingSectionName(t, mesh) {
    const route = httpRoute(
      ...(['not-matching', [{ name: 'same-namespace', sectionName: 'none' }], toV1] as const),
    );
    await mesh.use(t, route);
    await mesh.expectStatus(t, route, parentsView, {
      'same-namespace/none': { ...FINE, Accepted: 'False NoMatchingParent' },
    });
    await expectRequests(t, mesh, [[{}, { status: 404 }]]);
  },

  async HTTPRouteInvalidParentRefNotMatchingListenerPort(t, mesh) {
    const route = httpRoute('not-matching', [{ name: 'same-namespace', port: 81 }], toV1);
    await mesh.use(t, route);
    await mesh.expectStatus(t, route, parentsView, {
      'same-namespace/81': { ...FINE, Accepted: 'False NoMatchingParent' },
    });
    await expectRequests(t, mesh, [[{}, { status: 404 }]]);
  },

  async HTTPRouteInvalidParentRefSectionNameNotMatchingPort(t, mesh) {
    const parents = [{ name: 'same-namespace', sectionName: 'http', port: 8080 }];
    const route = httpRoute('not-matching', parents, toV1);
    await mesh.use(t, route);
    await mesh.expectStatus(t, route, parentsView, {
      'same-namespace/http/8080': { ...FINE, Accepted: 'False NoMatchingParent' },
    });
    await expectRequests(t, mesh, [[{}, { status: 404 }]]);
  },

  async HTTPRouteListenerPortMatching(t, mesh) {
    const name = 'port-matching';
    const marked = (backend: string, parent: Readonly<Record<string, unknown>>) =>
      httpRoute(
        backend,
        [{ name, ...parent }],
        [when([path(`exact:/${Object.values(parent).join('-')}`)], to(backend))],
      );
    const routes = [
      marked('infra-backend-v1', { port: 80 }),
      marked('infra-backend-v2', { port: 8080 }),
      marked('infra-backend-v3', { sectionName: 'other', port: 8080 }),
    ];
    await mesh.use(
      t,
      gateway(name, [
        { name: 'first', port: 80 },
        { name: 'second', port: 8080, hostname: 'a.test' },
        { name: 'other', port: 8080, hostname: 'b.test' },
      ]),
      ...routes,
    );
    const not = { status: 404 };
    await expectRequests(t, mesh, [
      [{ at: name, path: '/80' }, { by: 'infra-backend-v1' }],
      [{ at: `${name}:8080`, path: '/80', host: 'a.test' }, not],
      [{ at: name, path: '/8080' }, not],
      [{ at: `${name}:8080`, path: '/8080', host: 'a.test' }, { by: 'infra-backend-v2' }],
      [{ at: `${name}:8080`, path: '/8080', host: 'b.test' }, { by: 'infra-backend-v2' }],
      [{ at: `${name}:8080`, path: '/other-8080', host: 'b.test' }, { by: 'infra-backend-v3' }],
      [{ at: `${name}:8080`, path: '/other-8080', host: 'a.test' }, not],
    ]);
  },

  async HTTPRouteDisallowedKind(t, mesh) {
    const name = 'grpc-only';
    const kinds = [{ kind: 'GRPCRoute' }];
    const route = httpRoute('disallowed-kind', [name], toV1);
    await mesh.use(t, gateway(name, [{ name: 'http', allowedRoutes: { kinds } }]), route);
    await mesh.expectStatus(t, route, parentsView, {
      [name]: { ...FINE, Accepted: 'False NotAllowedByListeners' },
    });
    await expectRequests(t, mesh, [[{ at: name }, { status: 404 }]]);
  },

  async HTTPRouteObservedGenerationBump(t, mesh) {
    const route = (backend: string) =>
      httpRoute('observed-generation-bump', ['same-namespace'], [to(backend)]);
    await mesh.use(t, route('infra-backend-v1'));
    const view = { 'same-namespace': FINE };
    const before = await mesh.expectStatus(t, route(''), parentsView, view);
    await mesh.apply(route('infra-backend-v2'));
    // A condition of an older generation would be told as one.
    const after = await mesh.expectStatus(t, route(''), parentsView, view);
    t.is(after.metadata.generation, (before.metadata.generation ?? 0) + 1);
    await expectRequests(t, mesh, [[{}, { by: 'infra-backend-v2' }]]);
  },

  async GatewayWithAttachedRoutes(t, mesh) {
    const name = 'attached';
    const object = gateway(name, [
      { name: 'one', ...routesFrom('All'), hostname: 'one.test' },
      { name: 'none', ...routesFrom('None'), hostname: 'none.test' },
      {
        name: 'of-apps',
        hostname: 'apps.test',
        ...routesFrom({ 'gateway-conformance': 'backend' }),
      },
      // It is not served, and counts what would be there.
      { name: 'unknown', protocol: 'HTTPX', port: 81, ...routesFrom('All') },
    ]);
    const fromApps = { namespace: APP_BACKEND };
    await mesh.use(
      ...([t, object, httpRoute('first', [name], toV1)] as const),
      httpRoute('second', [name], [to('app-backend-v1')], fromApps),
      httpRoute('elsewhere', ['same-namespace'], toV1),
    );
    await mesh.expectStatus(t, object, gatewayView, {
      ...{ Accepted: 'True ListenersNotValid', Programmed: 'True Programmed' },
      listeners: {
        one: { ...LISTENING, ...REQUESTS, attachedRoutes: 2 },
        none: { ...LISTENING, ...REQUESTS, attachedRoutes: 0 },
        'of-apps': { ...LISTENING, ...REQUESTS, attachedRoutes: 1 },
        unknown: {
          ...{ ...LISTENING, Accepted: 'False UnsupportedProtocol', Programmed: 'False Invalid' },
          ...{ kinds: [], attachedRoutes: 0 },
        },
      },
    });
  },

  async GatewayWithAttachedRoutesWithPort8080(t, mesh) {
    const name = 'attached-8080';
    const object = gateway(name, [{ name: 'http', port: 8080, ...routesFrom('All') }]);
    const route = httpRoute('at-8080', [{ name, namespace: INFRA, port: 8080 }], toV1);
    await mesh.use(t, object, route);
    await mesh.expectStatus(t, object, gatewayView, {
      ...{ Accepted: 'True Accepted', Programmed: 'True Programmed' },
      listeners: { http: { ...LISTENING, ...REQUESTS, attachedRoutes: 1 } },
    });
    await expectRequests(t, mesh, [[{ at: `${name}:8080` }, { by: 'infra-backend-v1' }]]);
  },
};
