import { listenersView, parentsView } from '../gateway-mesh.ts';
import { APP_BACKEND, INFRA } from '../namespaces.ts';
import { gateway, grant, route, type Manifest, type RouteOptions } from '../objects.ts';
import { ask, CA, pairOf, PASSTHROUGH, secret, terminate, tlsBackend } from '../tls.ts';
import { FINE, LISTENING } from './attaching.ts';
import type { Runs } from './run.ts';

type Names =
  | 'TLSRouteSimpleSameNamespace'
  | 'TLSRouteHostnameIntersection'
  | 'TLSRouteInvalidBackendRefNonexistent'
  | 'TLSRouteInvalidBackendRefUnknownKind'
  | 'TLSRouteInvalidNoMatchingListener'
  | 'TLSRouteInvalidNoMatchingListenerHostname'
  | 'TLSRouteInvalidReferenceGrant'
  | 'TLSRouteListenerPassthroughSupportedKinds'
  | 'TLSRouteListenerTerminateSupportedKinds'
  | 'TLSRouteTerminateSimpleSameNamespace'
  | 'TLSRouteMixedTerminationSameNamespace';

const TLS = { name: 'tls', port: 443, protocol: 'TLS' };
const SERVED = { ...LISTENING, kinds: ['TLSRoute'], attachedRoutes: 0 };

function tlsRoute(
  name: string,
  parent: string,
  backend: Readonly<Record<string, unknown>>,
  options: RouteOptions,
): Manifest {
  return route('TLSRoute', name, [parent], [{ backendRefs: [{ port: 443, ...backend }] }], options);
}

const named = (...hostnames: readonly string[]): RouteOptions => ({ hostnames });

export const tlsRoutes: Runs<Names> = {
  async TLSRouteSimpleSameNamespace(t, mesh) {
    await mesh.use(
      ...([t, gateway('passthrough', [{ ...TLS, ...PASSTHROUGH }])] as const),
      ...tlsBackend('passed', pairOf(CA, 'abc.example.com')),
    );
    const object = tlsRoute('passed', 'passthrough', { name: 'passed' }, named('abc.example.com'));
    await mesh.use(t, object);
    await mesh.expectStatus(t, object, parentsView, { passthrough: FINE });
    const question = { gateway: 'passthrough', name: 'abc.example.com' };
    const found = await ask(mesh, question);
    t.like(found, { code: 0, status: 200 });
    t.like(JSON.parse(found.body), {
      backend: 'passed',
      sni: 'abc.example.com',
      authorized: false,
    });
    // The client's certificate is for the backend, and comes there.
    const proved = await ask(mesh, { ...question, certificate: pairOf(CA, 'client') });
    t.like(JSON.parse(proved.body), { authorized: true });
    t.not((await ask(mesh, { ...question, name: 'other.example.com' })).code, 0);
  },

  async TLSRouteHostnameIntersection(t, mesh) {
    const listener = (name: string, hostname: string) => ({
      ...TLS,
      ...PASSTHROUGH,
      name,
      hostname,
    });
    const names = ['a.example.com', 'b.example.com', 'c.other.com', 'd.other.com'];
    await mesh.use(
      ...([t] as const),
      gateway('intersection', [
        listener('exact', 'a.example.com'),
        listener('wild', '*.other.com'),
      ]),
      ...tlsBackend('passed', pairOf(CA, ...names)),
    );
    const options = named('*.example.com', 'c.other.com');
    const object = tlsRoute('intersection', 'intersection', { name: 'passed' }, options);
    await mesh.use(t, object);
    await mesh.expectStatus(t, object, parentsView, { intersection: FINE });
    const code = async (name: string): Promise<boolean> =>
      (await ask(mesh, { gateway: 'intersection', name })).code === 0;
    t.deepEqual(await Promise.all(names.map(code)), [true, false, true, false]);
  },

  async TLSRouteInvalidBackendRefNonexistent(t, mesh) {
    await mesh.use(t, gateway('passthrough', [{ ...TLS, ...PASSTHROUGH }]));
    const object = tlsRoute('nobody', 'passthrough', { name: 'absent' }, named('a.example.com'));
    await mesh.use(t, object);
    await mesh.expectStatus(t, object, parentsView, {
      passthrough: { ...FINE, ResolvedRefs: 'False BackendNotFound' },
    });
    t.not((await ask(mesh, { gateway: 'passthrough', name: 'a.example.com' })).code, 0);
  },

  async TLSRouteInvalidBackendRefUnknownKind(t, mesh) {
    await mesh.use(t, gateway('passthrough', [{ ...TLS, ...PASSTHROUGH }]));
    const backend = { group: 'unknown.io', kind: 'NonExistent', name: 'x' };
    const object = tlsRoute('unknown', 'passthrough', backend, named('a.example.com'));
    await mesh.use(t, object);
    await mesh.expectStatus(t, object, parentsView, {
      passthrough: { ...FINE, ResolvedRefs: 'False InvalidKind' },
    });
    t.not((await ask(mesh, { gateway: 'passthrough', name: 'a.example.com' })).code, 0);
  },

  async TLSRouteInvalidNoMatchingListener(t, mesh) {
    const object = tlsRoute('unmatched', 'same-namespace', { name: 'x' }, named('a.example.com'));
    await mesh.use(t, object);
    await mesh.expectStatus(t, object, parentsView, {
      'same-namespace': {
        ...{ Accepted: 'False NotAllowedByListeners', ResolvedRefs: 'False BackendNotFound' },
      },
    });
  },

  async TLSRouteInvalidNoMatchingListenerHostname(t, mesh) {
    const listener = { ...TLS, ...PASSTHROUGH, hostname: '*.example.com' };
    await mesh.use(
      ...([t, gateway('hostname', [listener])] as const),
      ...tlsBackend('passed', pairOf(CA, 'a.other.com')),
    );
    const object = tlsRoute('hostname', 'hostname', { name: 'passed' }, named('a.other.com'));
    await mesh.use(t, object);
    await mesh.expectStatus(t, object, parentsView, {
      hostname: { ...FINE, Accepted: 'False NoMatchingListenerHostname' },
    });
  },

  async TLSRouteInvalidReferenceGrant(t, mesh) {
    const from = { kind: 'HTTPRoute', namespace: INFRA };
    await mesh.use(
      ...([t, gateway('passthrough', [{ ...TLS, ...PASSTHROUGH }])] as const),
      ...tlsBackend('granted', pairOf(CA, 'a.example.com'), APP_BACKEND),
      grant('of-another-kind', APP_BACKEND, from, { kind: 'Service' }),
    );
    const backend = { name: 'granted', namespace: APP_BACKEND };
    const object = tlsRoute('granted', 'passthrough', backend, named('a.example.com'));
    await mesh.use(t, object);
    await mesh.expectStatus(t, object, parentsView, {
      passthrough: { ...FINE, ResolvedRefs: 'False RefNotPermitted' },
    });
    const question = { gateway: 'passthrough', name: 'a.example.com' };
    t.not((await ask(mesh, question)).code, 0);
    await mesh.use(
      ...([t] as const),
      grant('of-this-kind', APP_BACKEND, { ...from, kind: 'TLSRoute' }, { kind: 'Service' }),
    );
    t.is((await ask(mesh, question)).code, 0);
  },

  async TLSRouteListenerPassthroughSupportedKinds(t, mesh) {
    const object = gateway('passthrough', [{ ...TLS, ...PASSTHROUGH }]);
    await mesh.use(t, object);
    await mesh.expectStatus(t, object, listenersView, { tls: SERVED });
  },

  async TLSRouteListenerTerminateSupportedKinds(t, mesh) {
    const object = gateway('terminate', [{ ...TLS, ...terminate('terminate') }]);
    await mesh.use(t, secret('terminate', pairOf(CA, 'abc.example.com')), object);
    await mesh.expectStatus(t, object, listenersView, { tls: SERVED });
  },

  async TLSRouteTerminateSimpleSameNamespace(t, mesh) {
    await mesh.use(
      ...([t, secret('terminate', pairOf(CA, 'abc.example.com'))] as const),
      gateway('terminate', [{ ...TLS, ...terminate('terminate') }]),
    );
    const backend = { name: 'infra-backend-v1', port: 8080 };
    const object = tlsRoute('terminate', 'terminate', backend, named('abc.example.com'));
    await mesh.use(t, object);
    await mesh.expectStatus(t, object, parentsView, { terminate: FINE });
    const found = await ask(mesh, { gateway: 'terminate', name: 'abc.example.com' });
    t.like(found, { code: 0, status: 200 });
    t.regex(found.body, /infra-backend-v1/);
  },

  async TLSRouteMixedTerminationSameNamespace(t, mesh) {
    await mesh.use(
      ...([t, secret('terminate', pairOf(CA, 'ends.example.com'))] as const),
      gateway('mixed', [
        { ...TLS, ...terminate('terminate'), name: 'ends', hostname: 'ends.example.com' },
        { ...TLS, ...PASSTHROUGH, name: 'passes', hostname: 'passes.example.com' },
      ]),
      ...tlsBackend('passed', pairOf(CA, 'passes.example.com')),
    );
    const plain = { name: 'infra-backend-v1', port: 8080 };
    await mesh.use(
      ...([t, tlsRoute('ends', 'mixed', plain, named('ends.example.com'))] as const),
      tlsRoute('passes', 'mixed', { name: 'passed' }, named('passes.example.com')),
    );
    const ends = await ask(mesh, { gateway: 'mixed', name: 'ends.example.com' });
    t.regex(ends.body, /infra-backend-v1/);
    const passes = await ask(mesh, { gateway: 'mixed', name: 'passes.example.com' });
    t.like(JSON.parse(passes.body), { backend: 'passed', sni: 'passes.example.com' });
  },
};
