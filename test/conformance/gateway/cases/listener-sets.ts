import { valueAt } from '../../../../cli/object-fields.ts';
import { expectRequests, type GatewayCase } from '../expected.ts';
import { conditionsOf, gatewayView, listenersView, parentsView } from '../gateway-mesh.ts';
import { APP_BACKEND, INFRA, WEB_BACKEND } from '../namespaces.ts';
import { gateway, grant, httpRoute, routesFrom, to, type Manifest } from '../objects.ts';
import { ask, CA, pairOf, secret, terminate } from '../tls.ts';
import { FINE, LISTENING } from './attaching.ts';
import type { Runs } from './run.ts';

type Names =
  | 'ListenerSetDefaultNotAllowed'
  | 'ListenerSetAllowedNamespaceNone'
  | 'ListenerSetAllowedNamespaceSame'
  | 'ListenerSetAllowedNamespaceSelector'
  | 'ListenerSetHostnameConflict'
  | 'ListenerSetProtocolConflict'
  | 'ListenerSetReferenceGrant'
  | 'ListenerSetAllowedRoutesSupportedKinds'
  | 'ListenerSetHTTPRouting'
  | 'ListenerSetAllowedRoutesNamespaces'
  | 'ListenerSetDualParentRefIndependence'
  | 'ListenerSetGatewayParentSectionNameNotFound'
  | 'ListenerSetRouteStatusScopedToParentRef';

type Fields = Readonly<Record<string, unknown>>;

/** Whose ListenerSets a Gateway takes. */
function takes(from: string | Readonly<Record<string, string>>): Fields {
  const namespaces =
    typeof from === 'string' ? { from } : { from: 'Selector', selector: { matchLabels: from } };
  return { spec: { allowedListeners: { namespaces } } };
}

function listenerSet(
  name: string,
  parent: string,
  listeners: readonly Fields[],
  namespace: string = INFRA,
): Manifest {
  return {
    ...{ apiVersion: 'gateway.networking.k8s.io/v1', kind: 'ListenerSet' },
    metadata: { name, namespace },
    spec: {
      parentRef: { name: parent, namespace: INFRA },
      listeners: listeners.map((listener) => ({ port: 80, protocol: 'HTTP', ...listener })),
    },
  };
}

const setParent = (name: string, more: Fields = {}): Fields => ({
  ...{ group: 'gateway.networking.k8s.io', kind: 'ListenerSet', name, ...more },
});

const READY = { Accepted: 'True Accepted', Programmed: 'True Programmed' };
const REFUSED = { Accepted: 'False NotAllowed', Programmed: 'False NotAllowed' };
const HTTP = { ...LISTENING, kinds: ['HTTPRoute', 'GRPCRoute'], attachedRoutes: 0 };
const SECRETS = { kind: 'Secret' };
const V1 = { by: 'infra-backend-v1' };
const V2 = { by: 'infra-backend-v2' };
const V3 = { by: 'infra-backend-v3' };
const NONE = { status: 404 };
const toV1 = [to('infra-backend-v1')];
const toV2 = [to('infra-backend-v2')];

const conditions = (object: unknown): Record<string, string> => conditionsOf(object);
const attached = (object: unknown): Fields => ({
  sets: valueAt(object, 'status', 'attachedListenerSets'),
});

/** Which ListenerSets of three namespaces a Gateway takes. */
function admission(
  name: string,
  allowed: Readonly<{ spec?: Fields }>,
  taken: readonly string[],
): Runs<Names>['ListenerSetDefaultNotAllowed'] {
  return async (t, mesh) => {
    const homes = [INFRA, APP_BACKEND, WEB_BACKEND];
    const sets = homes.map((home, index) =>
      listenerSet(`set-${index}`, name, [{ name: 'extra', hostname: `${index}.test` }], home),
    );
    const object = gateway(name, [{ name: 'own', hostname: 'own.test' }], allowed);
    await mesh.use(t, object, ...sets);
    for (const [index, set] of sets.entries())
      await mesh.expectStatus(
        ...([t, set, conditions] as const),
        taken.includes(homes[index] ?? '') ? READY : REFUSED,
      );
    await mesh.expectStatus(t, object, attached, { sets: taken.length });
    await mesh.expectStatus(t, object, gatewayView, { ...READY, listeners: { own: HTTP } });
  };
}

export const listenerSets: Runs<Names> = {
  ListenerSetDefaultNotAllowed: admission('sets-by-default', {}, []),
  ListenerSetAllowedNamespaceNone: admission('sets-none', takes('None'), []),
  ListenerSetAllowedNamespaceSame: admission('sets-same', takes('Same'), [INFRA]),
  ListenerSetAllowedNamespaceSelector: admission(
    ...(['sets-selected', takes({ 'gateway-conformance': 'backend' })] as const),
    [APP_BACKEND, WEB_BACKEND],
  ),

  async ListenerSetHostnameConflict(t, mesh) {
    const name = 'hostname-conflict';
    const own = gateway(name, [{ name: 'own', hostname: 'own.test' }], takes('Same'));
    const older = listenerSet('a-older', name, [
      { name: 'of-gateway', hostname: 'own.test' },
      { name: 'mine', hostname: 'mine.test' },
    ]);
    const younger = listenerSet('b-younger', name, [{ name: 'late', hostname: 'mine.test' }]);
    await mesh.use(t, own, older);
    await mesh.use(t, younger);
    const conflicted = {
      ...{ ...HTTP, Accepted: 'False HostnameConflict', Conflicted: 'True HostnameConflict' },
      Programmed: 'False Invalid',
    };
    await mesh.expectStatus(t, own, listenersView, { own: HTTP });
    await mesh.expectStatus(t, older, gatewayView, {
      ...{ ...READY, Accepted: 'True ListenersNotValid' },
      listeners: { 'of-gateway': conflicted, mine: HTTP },
    });
    await mesh.expectStatus(t, younger, gatewayView, {
      ...{ Accepted: 'False ListenersNotValid', Programmed: 'False ListenersNotValid' },
      listeners: { late: conflicted },
    });
  },

  async ListenerSetProtocolConflict(t, mesh) {
    const name = 'protocol-conflict';
    const own = gateway(name, [{ name: 'own' }], takes('Same'));
    const set = listenerSet('conflicting', name, [
      { name: 'tcp-at-http', protocol: 'TCP' },
      { name: 'tcp', protocol: 'TCP', port: 9000 },
    ]);
    await mesh.use(t, own, set);
    const stream = { ...HTTP, kinds: ['TCPRoute'] };
    await mesh.expectStatus(t, own, listenersView, { own: HTTP });
    await mesh.expectStatus(t, set, listenersView, {
      'tcp-at-http': {
        ...{ ...stream, Accepted: 'False ProtocolConflict', Programmed: 'False Invalid' },
        Conflicted: 'True ProtocolConflict',
      },
      tcp: stream,
    });
  },

  async ListenerSetReferenceGrant(t, mesh) {
    const name = 'set-secrets';
    const ref = { name: 'certificate', namespace: WEB_BACKEND };
    const https = (host: string): Fields => ({
      ...{ name: host, hostname: `${host}.test`, port: 443, protocol: 'HTTPS' },
      ...terminate(ref),
    });
    const names = ['own.test', 'granted.test', 'refused.test'];
    const granted = (kind: string): Manifest =>
      grant(`of-${kind.toLowerCase()}`, WEB_BACKEND, { kind, namespace: INFRA }, SECRETS);
    const set = listenerSet('granted', name, [https('granted')]);
    const other = listenerSet('not-granted', name, [https('refused')], APP_BACKEND);
    await mesh.use(
      ...([t, secret(ref.name, pairOf(CA, ...names), WEB_BACKEND), granted('Gateway')] as const),
      ...[gateway(name, [https('own')], takes('All')), set, other],
      httpRoute('of-granted', [setParent('granted')], toV1),
      httpRoute('of-refused', [setParent('not-granted', { namespace: APP_BACKEND })], toV1),
    );
    const invalid = 'False ListenersNotValid';
    const refused = (host: string): Fields => ({
      ...{ Accepted: invalid, Programmed: invalid },
      listeners: {
        [host]: {
          ...{ ...HTTP, ResolvedRefs: 'False RefNotPermitted', Programmed: 'False Invalid' },
          attachedRoutes: host === 'granted' ? 1 : 0,
        },
      },
    });
    const isServed = async (host: string): Promise<boolean> =>
      (await ask(mesh, { gateway: name, name: `${host}.test` })).status === 200;
    // What the Gateway itself may refer to is nothing for the sets that it takes.
    await mesh.expectStatus(t, set, gatewayView, refused('granted'));
    t.false(await isServed('granted'));
    await mesh.use(t, granted('ListenerSet'));
    await mesh.expectStatus(t, set, gatewayView, {
      ...{ ...READY, listeners: { granted: { ...HTTP, attachedRoutes: 1 } } },
    });
    await mesh.expectStatus(t, other, gatewayView, refused('refused'));
    t.true(await isServed('granted'));
    t.false(await isServed('refused'));
  },

  async ListenerSetAllowedRoutesSupportedKinds(t, mesh) {
    const name = 'set-kinds';
    const kinds = (host: string, ...allowed: readonly string[]): Fields => ({
      ...{ name: host, hostname: `${host}.test` },
      allowedRoutes: { kinds: allowed.map((kind) => ({ kind })) },
    });
    const set = listenerSet('kinds', name, [
      kinds('http-only', 'HTTPRoute'),
      kinds('tls-only', 'TLSRoute'),
      kinds('either', 'TLSRoute', 'HTTPRoute'),
    ]);
    await mesh.use(
      ...([t, gateway(name, [{ name: 'own', hostname: 'own.test' }], takes('All')), set] as const),
      httpRoute('of-kinds', [setParent('kinds')], toV1),
    );
    const unresolved = { ...HTTP, ResolvedRefs: 'False InvalidRouteKinds' };
    const served = { kinds: ['HTTPRoute'], attachedRoutes: 1 };
    await mesh.expectStatus(t, set, gatewayView, {
      ...{ ...READY, Accepted: 'True ListenersNotValid' },
      listeners: {
        'http-only': { ...HTTP, ...served },
        'tls-only': { ...unresolved, Programmed: 'False Invalid', kinds: [] },
        either: { ...unresolved, ...served },
      },
    });
    await expectRequests(t, mesh, [
      [{ at: name, host: 'http-only.test' }, V1],
      [{ at: name, host: 'either.test' }, V1],
      [{ at: name, host: 'tls-only.test' }, NONE],
    ]);
  },

  async ListenerSetHTTPRouting(t, mesh) {
    const name = 'set-routing';
    await mesh.use(
      ...([t, gateway(name, [{ name: 'own', hostname: 'own.test' }], takes('Same'))] as const),
      listenerSet('extra', name, [
        { name: 'one', hostname: 'one.test' },
        { name: 'two', port: 8080, hostname: 'two.test' },
      ]),
      httpRoute('of-gateway', [name], toV1),
      httpRoute('of-set', [setParent('extra')], toV2),
      httpRoute(
        'of-section',
        [setParent('extra', { sectionName: 'two' })],
        [{ matches: [{ path: { value: '/section' } }], ...to('infra-backend-v3') }],
      ),
    );
    const at = (host: string, expected: GatewayCase[1], more: GatewayCase[0] = {}): GatewayCase => [
      { at: name, host, ...more },
      expected,
    ];
    const second = { at: `${name}:8080` };
    await expectRequests(t, mesh, [
      at('own.test', V1),
      at('one.test', V2),
      at('one.test', V2, { path: '/section' }),
      at('two.test', V2, second),
      at('two.test', V3, { ...second, path: '/section' }),
      at('other.test', NONE),
      at('one.test', NONE, second),
    ]);
  },

  async ListenerSetAllowedRoutesNamespaces(t, mesh) {
    const name = 'set-namespaces';
    const own = gateway(name, [{ name: 'own', hostname: 'own.test' }], takes('All'));
    const set = listenerSet(
      'of-apps',
      name,
      [
        { name: 'same', hostname: 'same.test' },
        { name: 'all', hostname: 'all.test', ...routesFrom('All') },
      ],
      APP_BACKEND,
    );
    const parent = [setParent('of-apps', { namespace: APP_BACKEND })];
    const home = { namespace: APP_BACKEND };
    await mesh.use(
      ...([t, own, set] as const),
      httpRoute('from-infra', parent, toV1),
      httpRoute('from-apps', parent, [to('app-backend-v1')], { ...home, hostnames: ['same.test'] }),
    );
    await expectRequests(t, mesh, [
      // "Same" is the namespace of the ListenerSet, not that of the Gateway.
      [
        { at: name, host: 'same.test' },
        { by: 'app-backend-v1', ...home },
      ],
      [{ at: name, host: 'all.test' }, V1],
      [{ at: name, host: 'own.test' }, NONE],
    ]);
  },

  async ListenerSetDualParentRefIndependence(t, mesh) {
    const name = 'dual-parents';
    const route = httpRoute('dual', [{ name }, setParent('dual-set')], toV1, {
      hostnames: ['set.test'],
    });
    await mesh.use(
      ...([t, gateway(name, [{ name: 'own', hostname: 'own.test' }], takes('Same'))] as const),
      listenerSet('dual-set', name, [{ name: 'set', hostname: 'set.test' }]),
      route,
    );
    await mesh.expectStatus(t, route, parentsView, {
      [name]: { ...FINE, Accepted: 'False NoMatchingListenerHostname' },
      'dual-set': FINE,
    });
    await expectRequests(t, mesh, [
      [{ at: name, host: 'set.test' }, V1],
      [{ at: name, host: 'own.test' }, NONE],
    ]);
  },

  async ListenerSetGatewayParentSectionNameNotFound(t, mesh) {
    const name = 'section-of-set';
    const route = httpRoute('by-gateway', [{ name, sectionName: 'extra' }], toV1);
    await mesh.use(
      ...([t, gateway(name, [{ name: 'own', hostname: 'own.test' }], takes('Same'))] as const),
      listenerSet('section-set', name, [{ name: 'extra', hostname: 'extra.test' }]),
      route,
    );
    await mesh.expectStatus(t, route, parentsView, {
      [`${name}/extra`]: { ...FINE, Accepted: 'False NoMatchingParent' },
    });
    await expectRequests(t, mesh, [[{ at: name, host: 'extra.test' }, NONE]]);
  },

  async ListenerSetRouteStatusScopedToParentRef(t, mesh) {
    const name = 'scoped';
    const ofGateway = httpRoute('scoped-gateway', [name], toV1);
    const ofSet = httpRoute('scoped-set', [setParent('scoped-listeners')], toV2);
    const set = listenerSet('scoped-listeners', name, [{ name: 'extra', hostname: 'extra.test' }]);
    const own = gateway(name, [{ name: 'own', hostname: 'own.test' }], takes('Same'));
    await mesh.use(t, own, set, ofGateway, ofSet);
    await mesh.expectStatus(t, ofGateway, parentsView, { [name]: FINE });
    await mesh.expectStatus(t, ofSet, parentsView, { 'scoped-listeners': FINE });
    await mesh.expectStatus(t, own, listenersView, { own: { ...HTTP, attachedRoutes: 1 } });
    await mesh.expectStatus(t, set, listenersView, { extra: { ...HTTP, attachedRoutes: 1 } });
    await expectRequests(t, mesh, [
      [{ at: name, host: 'own.test' }, V1],
      [{ at: name, host: 'extra.test' }, V2],
    ]);
  },
};
