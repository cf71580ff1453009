import { CONSUMER_NAMESPACE, MESH_NAMESPACE } from '../echo-mesh.ts';
import { expectAll, type Case } from '../expected.ts';
import type { Runs } from './run.ts';

type Names = 'MeshFrontend' | 'MeshFrontendHostname' | 'MeshPorts' | 'MeshConsumerRoute';

/** A response that came by a route has its mark, once; any other has none. */
const marked = (by: string, mark?: string): Case[1] => ({
  by,
  answered: { 'x-header-set': mark === undefined ? [] : [mark] },
});

/** To which requests a route applies: by the address and port that they were sent to, and by who sent them. */
export const parents: Runs<Names> = {
  async MeshFrontend(t, mesh) {
    await mesh.useRoutes(t, 'frontend');
    const pod = await mesh.mesh.ip(`${MESH_NAMESPACE}/${await mesh.pod('echo-v2')}`);
    await expectAll(t, mesh, [
      [{ url: 'http://echo-v2/' }, marked('echo-v2', 'set')],
      [{ url: `http://${pod}:8080/` }, marked('echo-v2')],
      // Its pods behind another Service.
      [{ url: 'http://echo-v1/' }, marked('echo-v1')],
    ]);
  },

  async MeshFrontendHostname(t, mesh) {
    await mesh.useRoutes(t, 'frontend');
    const as = (host: string): Readonly<{ headers: readonly [readonly [string, string]] }> => ({
      headers: [['host', host]],
    });
    await expectAll(t, mesh, [
      [{ url: 'http://echo-v2/', ...as('echo-v1') }, marked('echo-v2', 'set')],
      [{ url: 'http://echo-v1/', ...as('echo-v2') }, marked('echo-v1')],
    ]);
  },

  async MeshPorts(t, mesh) {
    await mesh.useRoutes(t, 'ports');
    await expectAll(t, mesh, [
      [{ url: 'http://echo-v1/' }, marked('echo-v1', 'v1')],
      [{ url: 'http://echo-v1:8080/' }, marked('echo-v1')],
      [{ url: 'http://echo-v2/' }, marked('echo-v2', 'v2')],
      [{ url: 'http://echo-v2:8080/' }, marked('echo-v2', 'v2')],
    ]);
  },

  async MeshConsumerRoute(t, mesh) {
    await mesh.useRoutes(t, 'consumer-route');
    const url = `http://echo-v1.${MESH_NAMESPACE}/`;
    await expectAll(t, mesh, [[{ url }, marked('echo-v1', 'set')]], CONSUMER_NAMESPACE);
    await expectAll(t, mesh, [[{ url }, marked('echo-v1')]]);
  },
};
