import { each, expectRequests, type GatewayCase } from '../expected.ts';
import { parentsView } from '../gateway-mesh.ts';
import { gateway, headers, httpRoute, path, routesFrom, to, when } from '../objects.ts';
import { FINE } from './attaching.ts';
import type { Runs } from './run.ts';

type Names =
  | 'HTTPRouteExactPathMatching'
  | 'HTTPRoutePathMatchOrder'
  | 'HTTPRouteHeaderMatching'
  | 'HTTPRouteMatching'
  | 'HTTPRouteMatchingAcrossRoutes'
  | 'HTTPRouteHostnameIntersection'
  | 'HTTPRouteListenerHostnameMatching'
  | 'GatewayHTTPListenerIsolation'
  | 'HTTPRouteMethodMatching'
  | 'HTTPRouteQueryParamMatching'
  | 'HTTPRouteNamedRule';

const V1 = { by: 'infra-backend-v1' };
const V2 = { by: 'infra-backend-v2' };
const V3 = { by: 'infra-backend-v3' };
const NONE = { status: 404 };
const SAME = ['same-namespace'];

const v1 = to('infra-backend-v1');
const v2 = to('infra-backend-v2');
const v3 = to('infra-backend-v3');

function withHeaders(expected: GatewayCase[1], ...fields: [string, string][]): GatewayCase {
  return [{ headers: fields }, expected];
}

export const matching: Runs<Names> = {
  async HTTPRouteExactPathMatching(t, mesh) {
    await mesh.use(
      t,
      httpRoute('exact-matching', SAME, [
        when([path('exact:/one')], v1),
        when([path('exact:/two')], v2),
      ]),
    );
    await expectRequests(t, mesh, [
      ...each(['/one', '/one?and=query'], V1),
      ...each(['/two'], V2),
      ...each(['/', '/one/', '/one/example', '/One', '/two/', '/Two', '/onetwo'], NONE),
    ]);
  },

  async HTTPRoutePathMatchOrder(t, mesh) {
    // The least exact last and first: the order in the route says nothing.
    await mesh.use(
      t,
      httpRoute('path-matching-order', SAME, [
        when([path('exact:/match')], v3),
        when([path('exact:/match/exact')], v2),
        when([path('exact:/match/exact/one')], v1),
        when([path('/match/')], v1),
        when([path('/match/prefix/')], v2),
        when([path('/match/prefix/one')], v3),
      ]),
    );
    await expectRequests(t, mesh, [
      ...each(['/match/exact/one', '/match/any', '/match/prefixx', '/match/'], V1),
      ...each(['/match/exact', '/match/prefix', '/match/prefix/', '/match/prefix/any'], V2),
      ...each(['/match', '/match/prefix/one', '/match/prefix/one/any'], V3),
      ...each(['/', '/matched'], NONE),
    ]);
  },

  async HTTPRouteHeaderMatching(t, mesh) {
    await mesh.use(
      t,
      httpRoute('header-matching', SAME, [
        when([headers(['version', 'one'])], v1),
        when([headers(['version', 'two'])], v2),
        when([headers(['version', 'two'], ['color', 'orange'])], v1),
        when([headers(['color', 'blue']), headers(['color', 'green'])], v1),
        when([headers(['color', 'red']), headers(['color', 'yellow'])], v2),
      ]),
    );
    await expectRequests(t, mesh, [
      withHeaders(V1, ['Version', 'one']),
      withHeaders(V2, ['Version', 'two']),
      withHeaders(V1, ['Version', 'two'], ['Color', 'orange']),
      withHeaders(V1, ['COLOR', 'blue']),
      withHeaders(V1, ['Color', 'green']),
      withHeaders(V2, ['Color', 'red']),
      withHeaders(V2, ['Color', 'yellow']),
      withHeaders(NONE, ['Color', 'purple']),
      withHeaders(NONE, ['Color', 'orange']),
      withHeaders(NONE, ['Version', 'One']),
      withHeaders(NONE),
    ]);
  },

  async HTTPRouteMatching(t, mesh) {
    await mesh.use(
      t,
      httpRoute('matching', SAME, [
        when([path('/'), headers(['version', 'one'])], v1),
        when([path('/v2'), headers(['version', 'two'])], v2),
      ]),
    );
    await expectRequests(t, mesh, [
      ...each(['/', '/example', '/v2example', '/foo/v2/example'], V1),
      withHeaders(V1, ['Version', 'one']),
      ...each(['/v2', '/v2/', '/v2/example'], V2),
      withHeaders(V2, ['Version', 'two']),
      [{ path: '/v2', headers: [['Version', 'one']] }, V2],
    ]);
  },

  async HTTPRouteMatchingAcrossRoutes(t, mesh) {
    await mesh.use(
      t,
      httpRoute('matching-part1', SAME, [when([path('/'), headers(['version', 'one'])], v1)], {
        hostnames: ['example.com', 'example.net'],
      }),
      httpRoute('matching-part2', SAME, [when([path('/v2'), headers(['version', 'two'])], v2)], {
        hostnames: ['example.com'],
      }),
    );
    const at = (host: string, expected: GatewayCase[1], paths: readonly string[]): GatewayCase[] =>
      paths.map((each) => [{ host, path: each }, expected]);
    await expectRequests(t, mesh, [
      ...at('example.com', V1, ['/', '/example', '/v2example', '/foo/v2/example']),
      ...at('example.com', V2, ['/v2', '/v2/', '/v2/example']),
      ...at('example.net', V1, ['/', '/v2', '/v2/example']),
      [{ host: 'example.net', headers: [['Version', 'two']] }, V1],
      [{ host: 'example.com', headers: [['Version', 'two']] }, V2],
      ...at('example.org', NONE, ['/', '/v2']),
    ]);
  },

  async HTTPRouteHostnameIntersection(t, mesh) {
    const name = 'intersection';
    const routes = [
      httpRoute('specific', [name], [when([path('/s1')], v1)], {
        hostnames: ['non.matching.com', '*.nonmatchingwildcard.io', 'very.specific.com'],
      }),
      httpRoute('under-wildcard', [name], [when([path('/s2')], v2)], {
        hostnames: ['wildcard.io', 'foo.wildcard.io', 'bar.wildcard.io', 'foo.bar.wildcard.io'],
      }),
      httpRoute('wildcard-to-specific', [name], [when([path('/s3')], v3)], {
        hostnames: ['*.specific.com'],
      }),
      httpRoute('wildcard-to-wildcard', [name], [when([path('/s4')], v1)], {
        hostnames: ['*.anotherwildcard.io'],
      }),
      httpRoute('none', [name], [when([path('/s5')], v1)], {
        hostnames: ['specific.but.wrong.com', 'wildcard.io'],
      }),
    ] as const;
    await mesh.use(
      t,
      gateway(name, [
        { name: 'one', hostname: 'very.specific.com' },
        { name: 'two', hostname: '*.wildcard.io' },
        { name: 'three', hostname: '*.anotherwildcard.io' },
      ]),
      ...routes,
    );
    for (const route of routes.slice(0, 4))
      await mesh.expectStatus(t, route, parentsView, { [name]: FINE });
    await mesh.expectStatus(t, routes[4], parentsView, {
      [name]: { ...FINE, Accepted: 'False NoMatchingListenerHostname' },
    });
    const at = (host: string, asked: string, expected: GatewayCase[1]): GatewayCase => [
      { at: name, host, path: asked },
      expected,
    ];
    await expectRequests(t, mesh, [
      at('very.specific.com', '/s1', V1),
      at('very.specific.com:1234', '/s1', V1),
      at('non.matching.com', '/s1', NONE),
      at('foo.nonmatchingwildcard.io', '/s1', NONE),
      at('foo.wildcard.io', '/s1', NONE),
      at('very.specific.com', '/non-matching-prefix', NONE),
      at('foo.wildcard.io', '/s2', V2),
      at('bar.wildcard.io', '/s2', V2),
      at('foo.bar.wildcard.io', '/s2', V2),
      at('wildcard.io', '/s2', NONE),
      at('other.wildcard.io', '/s2', NONE),
      at('very.specific.com', '/s2', NONE),
      at('very.specific.com', '/s3', V3),
      at('non.specific.com', '/s3', NONE),
      at('one.anotherwildcard.io', '/s4', V1),
      at('one.two.anotherwildcard.io', '/s4', V1),
      at('anotherwildcard.io', '/s4', NONE),
      at('specific.but.wrong.com', '/s5', NONE),
    ]);
  },

  async HTTPRouteListenerHostnameMatching(t, mesh) {
    const name = 'listener-hostnames';
    await mesh.use(
      t,
      gateway(name, [
        { name: 'one', hostname: 'bar.com' },
        { name: 'two', hostname: 'foo.bar.com' },
        { name: 'three', hostname: '*.bar.com' },
        { name: 'four', hostname: '*.foo.com' },
      ]),
      httpRoute('v1', [{ name, sectionName: 'one' }], [v1]),
      httpRoute('v2', [{ name, sectionName: 'two' }], [v2]),
      httpRoute(
        'v3',
        [
          { name, sectionName: 'three' },
          { name, sectionName: 'four' },
        ],
        [v3],
      ),
    );
    const at = (host: string, expected: GatewayCase[1]): GatewayCase => [
      { at: name, host },
      expected,
    ];
    await expectRequests(t, mesh, [
      at('bar.com', V1),
      at('BAR.com', { ...V1, host: 'bar.com' }),
      at('foo.bar.com', V2),
      at('baz.bar.com', V3),
      at('boo.bar.com', V3),
      at('multiple.prefixes.bar.com', V3),
      at('multiple.prefixes.foo.com', V3),
      at('foo.com', NONE),
      at('no.matching.host', NONE),
    ]);
  },

  async GatewayHTTPListenerIsolation(t, mesh) {
    const name = 'isolation';
    const sections = [
      ['empty-hostname', ''],
      ['wildcard-example-com', '*.example.com'],
      ['wildcard-foo-example-com', '*.foo.example.com'],
      ['abc-foo-example-com', 'abc.foo.example.com'],
    ] as const;
    const only = (section: string) =>
      httpRoute(
        `at-${section}`,
        [{ name, sectionName: section }],
        [when([path(`/${section}`)], v1)],
      );
    await mesh.use(
      t,
      gateway(
        name,
        sections.map(([section, hostname]) => ({
          ...{ name: section, ...routesFrom('All') },
          ...(hostname !== '' && { hostname }),
        })),
      ),
      ...sections.map(([section]) => only(section)),
    );
    // The host name alone says which listener a request is for: no other one is asked.
    const hosts = [
      ['bar.com', 'empty-hostname'],
      ['bar.example.com', 'wildcard-example-com'],
      ['bar.foo.example.com', 'wildcard-foo-example-com'],
      ['abc.foo.example.com', 'abc-foo-example-com'],
    ] as const;
    await expectRequests(
      t,
      mesh,
      hosts.flatMap(([host, owner]) =>
        sections.map(
          ([section]): GatewayCase => [
            { at: name, host, path: `/${section}` },
            section === owner ? V1 : NONE,
          ],
        ),
      ),
    );
  },

  async HTTPRouteMethodMatching(t, mesh) {
    await mesh.use(
      t,
      httpRoute('method-matching', SAME, [
        when([{ method: 'POST' }], v1),
        when([{ method: 'GET' }], v2),
        when([{ ...path('/path1'), method: 'GET' }], v1),
        when([{ ...headers(['version', 'one']), method: 'PUT' }], v2),
        when([{ ...path('/path2'), ...headers(['version', 'two']), method: 'POST' }], v3),
        when(
          [
            { ...path('/path3'), method: 'PATCH' },
            { ...path('/path4'), ...headers(['version', 'three']), method: 'DELETE' },
          ],
          v1,
        ),
        when([path('/path5')], v1),
        when([{ method: 'PATCH' }], v2),
        when([headers(['version', 'four'])], v3),
      ]),
    );
    const by = (
      method: string,
      asked: string,
      expected: GatewayCase[1],
      version?: string,
    ): GatewayCase => [
      { method, path: asked, ...(version !== undefined && { headers: [['version', version]] }) },
      expected,
    ];
    await expectRequests(t, mesh, [
      by('POST', '/', V1),
      by('GET', '/', V2),
      by('HEAD', '/', NONE),
      by('DELETE', '/', NONE),
      by('GET', '/path1', V1),
      by('PUT', '/', V2, 'one'),
      by('PUT', '/', NONE, 'two'),
      by('POST', '/path2', V3, 'two'),
      by('PATCH', '/path3', V1),
      by('DELETE', '/path4', V1, 'three'),
      by('DELETE', '/path4', NONE),
      // A longer path goes before a method, and a method before headers.
      by('PATCH', '/path5', V1),
      by('PATCH', '/', V2, 'four'),
      by('PUT', '/', V3, 'four'),
    ]);
  },

  async HTTPRouteQueryParamMatching(t, mesh) {
    const query = (...params: [string, string][]): Readonly<Record<string, unknown>> => ({
      queryParams: params.map(([name, value]) => ({ name, value })),
    });
    await mesh.use(
      t,
      httpRoute('query-param-matching', SAME, [
        when([query(['animal', 'whale'])], v1),
        when([query(['animal', 'dolphin'])], v2),
        when([query(['animal', 'dolphin'], ['color', 'blue'])], v3),
        when([query(['ANIMAL', 'Whale'])], v3),
        when([{ ...path('/path1'), ...query(['animal', 'whale']) }], v2),
        when([{ ...headers(['version', 'one']), ...query(['animal', 'whale']) }], v3),
        when([path('/path5')], v1),
        when([{ ...path('/path5'), ...query(['animal', 'hydra']) }], v2),
      ]),
    );
    await expectRequests(t, mesh, [
      ...each(['/?animal=whale', '/?animal=whale&otherparam=irrelevant'], V1),
      ...each(['/?animal=dolphin', '/?animal=dolphin&color=yellow'], V2),
      ...each(['/?animal=dolphin&color=blue', '/?ANIMAL=Whale'], V3),
      ...each(['/path1?animal=whale', '/path5?animal=hydra'], V2),
      [{ path: '/?animal=whale', headers: [['version', 'one']] }, V3],
      ...each(['/path5', '/path5?animal=whale'], V1),
      ...each(['/', '/?animal=shark', '/?color=blue', '/?animal=whale%20', '/?nimal=whale'], NONE),
    ]);
  },

  async HTTPRouteNamedRule(t, mesh) {
    await mesh.use(
      t,
      httpRoute('named-rule', SAME, [
        { name: 'named-rule', ...when([path('/named')], v1) },
        when([path('/unnamed')], v2),
      ]),
    );
    await expectRequests(t, mesh, [
      ...each(['/named', '/named/on'], V1),
      ...each(['/unnamed'], V2),
      ...each(['/'], NONE),
    ]);
  },
};
