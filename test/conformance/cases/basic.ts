import { expectAll, type Case } from '../expected.ts';
import type { Runs } from './run.ts';

export const basic: Runs<'MeshBasic' | 'MeshHTTPRouteSimpleSameNamespace'> = {
  /** Every port of a Service is served as it was, whatever is spoken there. */
  async MeshBasic(t, mesh) {
    await expectAll(t, mesh, [
      ...['echo-v1', 'echo-v2'].flatMap((by): Case[] => [
        [{ url: `http://${by}/` }, { by }],
        [{ url: `http://${by}/some/path?and=query` }, { by }],
        [{ url: `http://${by}:8080/`, method: 'POST' }, { by }],
        [{ url: `http://${by}/?responseCode=503` }, { by, status: 503 }],
        [{ url: `https://${by}/` }, { by }],
        [{ url: `grpc://${by}:7070` }, { by }],
      ]),
    ]);
    const [http, grpc, tcp] = await mesh.send([
      { url: 'http://echo/', count: 40 },
      { url: 'grpc://echo:7070', count: 40 },
      { url: 'tcp://echo:9090' },
    ]);
    for (const answers of [http ?? [], grpc ?? []]) {
      t.is(answers.length, 40);
      t.deepEqual([...new Set(answers.map(({ status }) => status))], [200]);
    }
    t.is(tcp?.[0]?.echo?.protocol, 'TCP');
  },

  async MeshHTTPRouteSimpleSameNamespace(t, mesh) {
    await mesh.useRoutes(t, 'simple-same-namespace');
    await expectAll(t, mesh, [
      ...['/', '/any/path', '/?and=query'].map(
        (path): Case => [{ url: `http://echo${path}` }, { by: 'echo-v1' }],
      ),
      [{ url: 'http://echo/', method: 'POST' }, { by: 'echo-v1' }],
    ]);
    const [often = []] = await mesh.send([{ url: 'http://echo/', count: 40 }]);
    t.true(often.every(({ echo }) => echo?.pod.startsWith('echo-v1-')));
  },
};
