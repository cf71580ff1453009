import type { ExecutionContext } from 'ava';
import type { EchoMesh } from '../echo-mesh.ts';
import type { Runs } from './run.ts';

/**
 * Upstream takes 500 requests, allows 5 points, and tries up to ten times. So many, and the same margin is 4.9 standard
 * deviations of a fair choice: one run in a million fails by chance, and a share that is off by 8 points does not pass.
 */
const REQUESTS = 2000;
const MARGIN = 0.05;

async function expectShares(t: ExecutionContext, mesh: EchoMesh, url: string): Promise<void> {
  const [answers = []] = await mesh.send([{ url, count: REQUESTS }]);
  const counts = new Map<string, number>();
  for (const { status, grpcStatus = 0, echo } of answers) {
    const by = echo?.pod.slice(0, 'echo-v1'.length) ?? `status ${status}, gRPC ${grpcStatus}`;
    counts.set(by, (counts.get(by) ?? 0) + 1);
  }
  t.log(Object.fromEntries(counts));
  t.deepEqual([...counts.keys()].sort(), ['echo-v1', 'echo-v2']);
  const share = (counts.get('echo-v1') ?? 0) / REQUESTS;
  t.true(Math.abs(share - 0.7) < MARGIN, `${share} of the requests went to echo-v1`);
}

export const weights: Runs<'MeshHTTPRouteWeight' | 'MeshGRPCRouteWeight'> = {
  async MeshHTTPRouteWeight(t, mesh) {
    await mesh.useRoutes(t, 'weight');
    await expectShares(t, mesh, 'http://echo/');
  },

  async MeshGRPCRouteWeight(t, mesh) {
    await mesh.useRoutes(t, 'grpc-weight');
    await expectShares(t, mesh, 'grpc://echo:7070');
  },
};
