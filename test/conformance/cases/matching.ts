import { expectAll, type Case } from '../expected.ts';
import type { Runs } from './run.ts';

type Names =
  | 'MeshHTTPRouteMatching'
  | 'MeshTrafficSplit'
  | 'MeshHTTPRouteQueryParamMatching'
  | 'MeshHTTPRouteNamedRule';

/** A request for the Service of both versions, and the version that must answer; none: nothing matches. */
function to(by: string | undefined, path: string, headers: Record<string, string> = {}): Case {
  const expected = by === undefined ? { status: 404 } : { by };
  return [{ url: `http://echo${path}`, headers: Object.entries(headers) }, expected];
}

export const matching: Runs<Names> = {
  async MeshHTTPRouteMatching(t, mesh) {
    await mesh.useRoutes(t, 'matching');
    await expectAll(t, mesh, [
      to('echo-v1', '/'),
      to('echo-v1', '/example'),
      to('echo-v1', '/', { Version: 'one' }),
      to('echo-v1', '/v2example'),
      to('echo-v1', '/foo/v2/example'),
      to('echo-v1', '/', { version: 'Two' }),
      to('echo-v2', '/v2'),
      to('echo-v2', '/v2/'),
      to('echo-v2', '/v2/example'),
      to('echo-v2', '/v2?and=query'),
      to('echo-v2', '/', { Version: 'two' }),
      // The longer path goes before the header.
      to('echo-v2', '/v2', { Version: 'one' }),
    ]);
  },

  async MeshTrafficSplit(t, mesh) {
    await mesh.useRoutes(t, 'split');
    await expectAll(t, mesh, [
      to('echo-v1', '/v1'),
      to('echo-v2', '/v2'),
      to('echo-v2', '/v2?and=query'),
      ...['/', '/v1/', '/v2/example', '/V1', '/v3'].map((path) => to(undefined, path)),
      // The parent names no port, so the route is for all of them.
      [{ url: 'http://echo:8080/v2' }, { by: 'echo-v2' }],
      [{ url: 'http://echo:8080/' }, { status: 404 }],
      // Their own Services have no route.
      [{ url: 'http://echo-v1/' }, { by: 'echo-v1' }],
    ]);
  },

  async MeshHTTPRouteQueryParamMatching(t, mesh) {
    await mesh.useRoutes(t, 'query-param-matching');
    await expectAll(t, mesh, [
      to('echo-v1', '/?animal=whale'),
      to('echo-v2', '/?animal=dolphin'),
      to('echo-v1', '/?animal=whale&other=irrelevant'),
      to('echo-v2', '/?other=irrelevant&animal=dolphin'),
      to('echo-v2', '/any/path?animal=dolphin'),
      // Of several values the first counts.
      to('echo-v1', '/?animal=whale&animal=dolphin'),
      ...['/', '/?animal=dog', '/?animal=whaledolphin', '/?animal=', '/?Animal=whale'].map((path) =>
        to(undefined, path),
      ),
      to(undefined, '/?color=whale'),

      to('echo-v1', '/path1?animal=whale'),
      to('echo-v2', '/?animal=whale', { version: 'one' }),
      to('echo-v1', '/path1?animal=whale', { version: 'one' }),

      to('echo-v1', '/path3?animal=shark'),
      to('echo-v1', '/path4?animal=kraken', { version: 'three' }),
      to(undefined, '/?animal=shark'),
      to(undefined, '/path4?animal=kraken'),
      to(undefined, '/path4?animal=shark', { version: 'three' }),
      to(undefined, '/path3', { version: 'three' }),

      to('echo-v1', '/path5'),
      to('echo-v1', '/path5?animal=hydra'),
      to('echo-v2', '/?animal=hydra'),
    ]);
  },

  async MeshHTTPRouteNamedRule(t, mesh) {
    await mesh.useRoutes(t, 'named-rule');
    await expectAll(t, mesh, [
      to('echo-v1', '/named'),
      to('echo-v2', '/unnamed'),
      to(undefined, '/'),
    ]);
  },
};
