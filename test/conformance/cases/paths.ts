import { expectAll, type Case } from '../expected.ts';
import type { Runs } from './run.ts';

type Names =
  | 'MeshHTTPRouteRedirectHostAndStatus'
  | 'MeshHTTPRouteRedirectPath'
  | 'MeshHTTPRouteRedirectPort'
  | 'MeshHTTPRouteSchemeRedirect'
  | 'MeshHTTPRouteRewritePath'
  | 'MeshHTTPRoute303Redirect'
  | 'MeshHTTPRoute307Redirect'
  | 'MeshHTTPRoute308Redirect';

/** The waypoint itself answers, with the whole URL. */
function redirect(path: string, status: number, location: string): Case {
  return [{ url: `http://echo${path}` }, { status, answered: { location: [location] } }];
}

/** echo-v1 answers, and sees another path. */
function rewrite(path: string, seenPath: string): Case {
  return [{ url: `http://echo${path}` }, { by: 'echo-v1', path: seenPath }];
}

function rewriteWithHeaders(path: string, seenPath: string): Case {
  const sent = {
    ...{ 'X-Header-Remove': 'remove-val', 'X-Header-Add-Append': 'append-val-1' },
    'X-Header-Set': 'set-val',
  };
  const seen = {
    ...{ 'X-Header-Set': ['set-overwrites-values'], 'X-Header-Add': ['header-val-1'] },
    ...{ 'X-Header-Add-Append': ['append-val-1', 'header-val-2'], 'X-Header-Remove': [] },
  };
  const request = { url: `http://echo${path}`, headers: Object.entries(sent) };
  return [request, { by: 'echo-v1', path: seenPath, seen }];
}

export const paths: Runs<Names> = {
  async MeshHTTPRouteRedirectHostAndStatus(t, mesh) {
    await mesh.useRoutes(t, 'redirect-host-and-status');
    await expectAll(t, mesh, [
      redirect('/hostname-redirect', 302, 'http://example.org/hostname-redirect'),
      redirect(
        '/hostname-redirect/on?and=query',
        302,
        'http://example.org/hostname-redirect/on?and=query',
      ),
      redirect('/host-and-status', 301, 'http://example.org/host-and-status'),
      [{ url: 'http://echo/' }, { status: 404 }],
    ]);
  },

  async MeshHTTPRouteRedirectPath(t, mesh) {
    await mesh.useRoutes(t, 'redirect-path');
    await expectAll(t, mesh, [
      redirect('/original-prefix/lemon', 302, 'http://echo/replacement-prefix/lemon'),
      redirect('/original-prefix', 302, 'http://echo/replacement-prefix'),
      redirect('/original-prefix/?a=b', 302, 'http://echo/replacement-prefix/?a=b'),
      redirect('/full/path/original', 302, 'http://echo/full-path-replacement'),
      redirect('/path-and-host/lemon', 302, 'http://example.org/replacement-prefix/lemon'),
      redirect('/path-and-status/lemon', 301, 'http://echo/replacement-prefix/lemon'),
      redirect('/full-path-and-host/lemon', 302, 'http://example.org/replacement-full'),
      redirect('/full-path-and-status/lemon', 301, 'http://echo/replacement-full'),
    ]);
  },

  async MeshHTTPRouteRedirectPort(t, mesh) {
    await mesh.useRoutes(t, 'redirect-port');
    await expectAll(t, mesh, [
      redirect('/port', 302, 'http://echo:8083/port'),
      redirect('/port-and-host', 302, 'http://example.org:8083/port-and-host'),
      redirect('/port-and-status', 301, 'http://echo:8083/port-and-status'),
      redirect(
        '/port-and-host-and-status',
        302,
        'http://example.org:8083/port-and-host-and-status',
      ),
    ]);
  },

  async MeshHTTPRouteSchemeRedirect(t, mesh) {
    await mesh.useRoutes(t, 'redirect-scheme');
    await expectAll(t, mesh, [
      redirect('/scheme', 302, 'https://echo/scheme'),
      redirect('/scheme-and-host', 302, 'https://example.org/scheme-and-host'),
      redirect('/scheme-and-status', 301, 'https://echo/scheme-and-status'),
      redirect(
        '/scheme-and-host-and-status',
        302,
        'https://example.org/scheme-and-host-and-status',
      ),
    ]);
  },

  async MeshHTTPRouteRewritePath(t, mesh) {
    await mesh.useRoutes(t, 'rewrite-path');
    await expectAll(t, mesh, [
      rewrite('/prefix/one/two', '/one/two'),
      rewrite('/prefix/one', '/one'),
      rewrite('/prefix/one/two?and=query', '/one/two?and=query'),
      rewrite('/strip-prefix/three', '/three'),
      rewrite('/strip-prefix', '/'),
      rewrite('/full/one/two', '/one'),
      rewrite('/full/one/two?and=query', '/one?and=query'),
      rewriteWithHeaders('/full/rewrite-path-and-modify-headers/test', '/test'),
      rewriteWithHeaders('/prefix/rewrite-path-and-modify-headers/one', '/prefix/one'),
    ]);
  },

  async MeshHTTPRoute303Redirect(t, mesh) {
    await mesh.useRoutes(t, 'redirect-303');
    await expectAll(t, mesh, [redirect('/redirect', 303, 'http://echo/redirect')]);
  },

  async MeshHTTPRoute307Redirect(t, mesh) {
    await mesh.useRoutes(t, 'redirect-307');
    await expectAll(t, mesh, [redirect('/temporary', 307, 'http://echo/temporary')]);
  },

  async MeshHTTPRoute308Redirect(t, mesh) {
    await mesh.useRoutes(t, 'redirect-308');
    await expectAll(t, mesh, [redirect('/permanent', 308, 'http://echo/permanent')]);
  },
};
