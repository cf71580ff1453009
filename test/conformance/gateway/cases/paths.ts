import { expectRequests, type GatewayCase } from '../expected.ts';
import { gateway, httpRoute, path, to, when } from '../objects.ts';
import type { Runs } from './run.ts';

type Names =
  | 'HTTPRouteRedirectHostAndStatus'
  | 'HTTPRouteRedirectPath'
  | 'HTTPRouteRedirectPort'
  | 'HTTPRouteRedirectScheme'
  | 'HTTPRouteRedirectPortAndScheme'
  | 'HTTPRoute303Redirect'
  | 'HTTPRoute307Redirect'
  | 'HTTPRoute308Redirect'
  | 'HTTPRouteRewriteHost'
  | 'HTTPRouteRewritePath'
  | 'HTTPRouteBackendURLRewrite'
  | 'HTTPRouteBackendRequestRedirect';

type Fields = Readonly<Record<string, unknown>>;

const SAME = ['same-namespace'];
const HOST = 'any.example.test';

function redirect(requestRedirect: Fields): Fields {
  return { filters: [{ type: 'RequestRedirect', requestRedirect }] };
}

function rewrite(urlRewrite: Fields): Fields {
  return { type: 'URLRewrite', urlRewrite };
}

const full = (replaceFullPath: string): Fields => ({
  path: { type: 'ReplaceFullPath', replaceFullPath },
});
const prefix = (replacePrefixMatch: string): Fields => ({
  path: { type: 'ReplacePrefixMatch', replacePrefixMatch },
});

/** The gateway itself answers, with the whole URL. */
function answers(
  asked: string,
  location: string,
  status = 302,
  more: GatewayCase[0] = {},
): GatewayCase {
  return [
    { path: asked, ...more },
    { status, answered: { location: [location] } },
  ];
}

async function statusRedirect(
  t: Parameters<Runs<Names>['HTTPRoute303Redirect']>[0],
  mesh: Parameters<Runs<Names>['HTTPRoute303Redirect']>[1],
  statusCode: number,
): Promise<void> {
  const rule = when([path('/redirect')], redirect({ statusCode, scheme: 'https' }));
  await mesh.use(t, httpRoute('redirect-status', SAME, [rule]));
  await expectRequests(t, mesh, [
    answers('/redirect', `https://${HOST}/redirect`, statusCode),
    answers('/redirect?a=b', `https://${HOST}/redirect?a=b`, statusCode, { method: 'POST' }),
  ]);
}

export const paths: Runs<Names> = {
  async HTTPRouteRedirectHostAndStatus(t, mesh) {
    await mesh.use(
      t,
      httpRoute('redirect-host-and-status', SAME, [
        when([path('/hostname')], redirect({ hostname: 'example.org' })),
        when([path('/both')], redirect({ hostname: 'example.org', statusCode: 301 })),
        when([path('/status')], redirect({ statusCode: 301 })),
      ]),
    );
    await expectRequests(t, mesh, [
      answers('/hostname/on?and=query', 'http://example.org/hostname/on?and=query'),
      answers('/both', 'http://example.org/both', 301),
      answers('/status', `http://${HOST}/status`, 301),
      [{ path: '/' }, { status: 404 }],
    ]);
  },

  async HTTPRouteRedirectPath(t, mesh) {
    await mesh.use(
      t,
      httpRoute('redirect-path', SAME, [
        when([path('/original-prefix')], redirect(prefix('/replacement-prefix'))),
        when([path('/full')], redirect(full('/full-path-replacement'))),
        when([path('/with-host')], redirect({ hostname: 'example.org', ...prefix('/new') })),
        when([path('/with-status')], redirect({ statusCode: 301, ...full('/new') })),
        when([path('/stripped')], redirect(prefix('/'))),
      ]),
    );
    await expectRequests(t, mesh, [
      answers('/original-prefix/lemon', `http://${HOST}/replacement-prefix/lemon`),
      answers('/original-prefix', `http://${HOST}/replacement-prefix`),
      answers('/original-prefix/?a=b', `http://${HOST}/replacement-prefix/?a=b`),
      answers('/full/path/original?a=b', `http://${HOST}/full-path-replacement?a=b`),
      answers('/with-host/lemon', 'http://example.org/new/lemon'),
      answers('/with-status/lemon', `http://${HOST}/new`, 301),
      answers('/stripped/lemon', `http://${HOST}/lemon`),
      answers('/stripped', `http://${HOST}/`),
    ]);
  },

  async HTTPRouteRedirectPort(t, mesh) {
    await mesh.use(
      t,
      httpRoute('redirect-port', SAME, [
        when([path('/port')], redirect({ port: 8083 })),
        when([path('/port-and-host')], redirect({ port: 8083, hostname: 'example.org' })),
        when([path('/port-and-status')], redirect({ port: 8083, statusCode: 301 })),
        when([path('/all')], redirect({ port: 8083, hostname: 'example.org', statusCode: 301 })),
      ]),
    );
    await expectRequests(t, mesh, [
      answers('/port', `http://${HOST}:8083/port`),
      answers('/port-and-host', 'http://example.org:8083/port-and-host'),
      answers('/port-and-status', `http://${HOST}:8083/port-and-status`, 301),
      answers('/all', 'http://example.org:8083/all', 301),
    ]);
  },

  async HTTPRouteRedirectScheme(t, mesh) {
    await mesh.use(
      t,
      httpRoute('redirect-scheme', SAME, [
        when([path('/scheme')], redirect({ scheme: 'https' })),
        when([path('/scheme-and-host')], redirect({ scheme: 'https', hostname: 'example.org' })),
        when([path('/scheme-and-status')], redirect({ scheme: 'https', statusCode: 301 })),
      ]),
    );
    await expectRequests(t, mesh, [
      answers('/scheme', `https://${HOST}/scheme`),
      answers('/scheme-and-host', 'https://example.org/scheme-and-host'),
      answers('/scheme-and-status', `https://${HOST}/scheme-and-status`, 301),
    ]);
  },

  /** Of plain listeners; those of listeners with TLS stand beside the other tests of TLS. */
  async HTTPRouteRedirectPortAndScheme(t, mesh) {
    const name = 'redirects-8080';
    const rules = [
      when([path('/nil')], redirect({ hostname: 'example.org' })),
      when([path('/nil-80')], redirect({ hostname: 'example.org', port: 80 })),
      when([path('/nil-8080')], redirect({ hostname: 'example.org', port: 8080 })),
      when([path('/http')], redirect({ hostname: 'example.org', scheme: 'http' })),
      when([path('/http-80')], redirect({ hostname: 'example.org', scheme: 'http', port: 80 })),
      when([path('/http-8080')], redirect({ hostname: 'example.org', scheme: 'http', port: 8080 })),
      when([path('/https')], redirect({ hostname: 'example.org', scheme: 'https' })),
      when([path('/https-443')], redirect({ hostname: 'example.org', scheme: 'https', port: 443 })),
      when(
        [path('/https-8443')],
        redirect({ hostname: 'example.org', scheme: 'https', port: 8443 }),
      ),
    ];
    await mesh.use(
      t,
      gateway(name, [{ name: 'http', port: 8080 }]),
      httpRoute('redirect-port-and-scheme', ['same-namespace', name], rules),
    );
    const everywhere: readonly (readonly [asked: string, location: string])[] = [
      ['/nil-80', 'http://example.org/nil-80'],
      ['/nil-8080', 'http://example.org:8080/nil-8080'],
      ['/http', 'http://example.org/http'],
      ['/http-80', 'http://example.org/http-80'],
      ['/http-8080', 'http://example.org:8080/http-8080'],
      ['/https', 'https://example.org/https'],
      ['/https-443', 'https://example.org/https-443'],
      ['/https-8443', 'https://example.org:8443/https-8443'],
    ];
    const at = `${name}:8080`;
    await expectRequests(t, mesh, [
      answers('/nil', 'http://example.org/nil'),
      answers('/nil', 'http://example.org:8080/nil', 302, { at }),
      ...everywhere.flatMap(([asked, location]) => [
        answers(asked, location),
        answers(asked, location, 302, { at }),
      ]),
    ]);
  },

  HTTPRoute303Redirect: (t, mesh) => statusRedirect(t, mesh, 303),
  HTTPRoute307Redirect: (t, mesh) => statusRedirect(t, mesh, 307),
  HTTPRoute308Redirect: (t, mesh) => statusRedirect(t, mesh, 308),

  async HTTPRouteRewriteHost(t, mesh) {
    const change = {
      type: 'RequestHeaderModifier',
      requestHeaderModifier: { set: [{ name: 'X-Header-Set', value: 'set-overwrites-values' }] },
    };
    await mesh.use(
      t,
      httpRoute(
        'rewrite-host',
        SAME,
        [
          when([path('/one')], {
            filters: [rewrite({ hostname: 'one.example.org' })],
            ...to('infra-backend-v1'),
          }),
          { filters: [rewrite({ hostname: 'example.org' })], ...to('infra-backend-v2') },
          when([path('/with-headers')], {
            filters: [rewrite({ hostname: 'test.example.org' }), change],
            ...to('infra-backend-v2'),
          }),
        ],
        { hostnames: ['rewrite.example'] },
      ),
    );
    const host = 'rewrite.example';
    await expectRequests(t, mesh, [
      [
        { host, path: '/one' },
        { by: 'infra-backend-v1', host: 'one.example.org' },
      ],
      [
        { host, path: '/two' },
        { by: 'infra-backend-v2', host: 'example.org' },
      ],
      [
        { host, path: '/with-headers' },
        {
          ...{ by: 'infra-backend-v2', host: 'test.example.org' },
          seen: { 'X-Header-Set': ['set-overwrites-values'] },
        },
      ],
    ]);
  },

  async HTTPRouteRewritePath(t, mesh) {
    const rule = (asked: string, change: Fields): Fields =>
      when([path(asked)], { filters: [rewrite(change)], ...to('infra-backend-v1') });
    await mesh.use(
      t,
      httpRoute('rewrite-path', SAME, [
        rule('/prefix/one', prefix('/one')),
        rule('/strip-prefix', prefix('/')),
        rule('/full/one', full('/one')),
        rule('/both', { hostname: 'example.org', ...full('/new') }),
      ]),
    );
    const seen = (asked: string, seenPath: string): GatewayCase => [
      { path: asked },
      { by: 'infra-backend-v1', path: seenPath },
    ];
    await expectRequests(t, mesh, [
      seen('/prefix/one/two', '/one/two'),
      seen('/prefix/one?a=b', '/one?a=b'),
      seen('/strip-prefix/three', '/three'),
      seen('/strip-prefix', '/'),
      seen('/strip-prefix/', '/'),
      seen('/full/one/two?a=b', '/one?a=b'),
      [{ path: '/both/on' }, { by: 'infra-backend-v1', path: '/new', host: 'example.org' }],
    ]);
  },

  async HTTPRouteBackendURLRewrite(t, mesh) {
    const backend = (change: Fields): Fields =>
      to('infra-backend-v1', { filters: [rewrite(change)] });
    await mesh.use(
      t,
      httpRoute('backend-rewrite', SAME, [
        when([path('/prefix')], backend(prefix('/new'))),
        when([path('/full')], backend(full('/new'))),
        when([path('/host')], backend({ hostname: 'example.org' })),
      ]),
    );
    await expectRequests(t, mesh, [
      [{ path: '/prefix/on?a=b' }, { by: 'infra-backend-v1', path: '/new/on?a=b' }],
      [{ path: '/full/on' }, { by: 'infra-backend-v1', path: '/new' }],
      [{ path: '/host' }, { by: 'infra-backend-v1', host: 'example.org' }],
    ]);
  },

  async HTTPRouteBackendRequestRedirect(t, mesh) {
    const backend = (requestRedirect: Fields): Fields =>
      to('infra-backend-v1', { filters: [{ type: 'RequestRedirect', requestRedirect }] });
    await mesh.use(
      t,
      httpRoute('backend-redirect', SAME, [
        when([path('/host')], backend({ hostname: 'example.org', statusCode: 301 })),
        when([path('/scheme')], backend({ scheme: 'https' })),
        when([path('/plain')], to('infra-backend-v1')),
      ]),
    );
    await expectRequests(t, mesh, [
      answers('/host/on', 'http://example.org/host/on', 301),
      answers('/scheme', `https://${HOST}/scheme`),
      [{ path: '/plain' }, { by: 'infra-backend-v1' }],
    ]);
  },
};
