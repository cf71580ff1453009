import { ask } from '../expected.ts';
import type { GatewayMesh } from '../gateway-mesh.ts';
import { httpRoute, path, to, when } from '../objects.ts';
import type { ExecutionContext } from 'ava';
import type { Runs } from './run.ts';

type Names =
  | 'HTTPRouteRequestMirror'
  | 'HTTPRouteRequestMultipleMirrors'
  | 'HTTPRouteRequestPercentageMirror';

type Fields = Readonly<Record<string, unknown>>;

const SAME = ['same-namespace'];
const v1 = to('infra-backend-v1');
const CHANGE: Fields = {
  type: 'RequestHeaderModifier',
  requestHeaderModifier: { set: [{ name: 'X-Header-Set', value: 'set-overwrites-values' }] },
};

function mirror(name: string, share: Fields = {}): Fields {
  return { type: 'RequestMirror', requestMirror: { backendRef: { name, port: 8080 }, ...share } };
}

let count = 0;

/** Sends requests with a mark of their own, and waits until each backend has seen as many as it must. */
async function expectSeen(
  t: ExecutionContext,
  mesh: GatewayMesh,
  asked: string,
  backends: Readonly<Record<string, number | readonly [least: number, most: number]>>,
  requests = 1,
): Promise<void> {
  const mark = `${process.pid}-mirror-${count++}`;
  const request = ask({ path: asked, method: 'POST', headers: [['x-mark', mark]] });
  const [answers = []] = await mesh.send([{ ...request, count: requests }]);
  t.true(answers.every(({ echo }) => echo?.pod.startsWith('infra-backend-v1-')));
  for (const [backend, wanted] of Object.entries(backends)) {
    const [least, most] = typeof wanted === 'number' ? [wanted, wanted] : wanted;
    const seen = await mesh.seen(backend, mark, least);
    t.true(seen.length >= least && seen.length <= most, `${backend}: ${seen.length}`);
    for (const { path: seenPath, method } of seen)
      t.deepEqual({ method, path: seenPath }, { method: 'POST', path: asked });
    if (asked.includes('headers'))
      for (const { headers } of seen)
        t.deepEqual(
          headers
            .filter(([name]) => name.toLowerCase() === 'x-header-set')
            .map(([, value]) => value),
          ['set-overwrites-values'],
        );
  }
}

export const mirrors: Runs<Names> = {
  async HTTPRouteRequestMirror(t, mesh) {
    await mesh.use(
      t,
      httpRoute('request-mirror', SAME, [
        when([path('/mirror')], { filters: [mirror('infra-backend-v2')], ...v1 }),
        when([path('/headers')], { filters: [CHANGE, mirror('infra-backend-v2')], ...v1 }),
        when([path('/plain')], v1),
      ]),
    );
    const both = { 'infra-backend-v1': 1, 'infra-backend-v2': 1, 'infra-backend-v3': 0 };
    await expectSeen(t, mesh, '/mirror/on?and=query', both);
    await expectSeen(t, mesh, '/headers', both);
    await expectSeen(t, mesh, '/plain', { 'infra-backend-v1': 1, 'infra-backend-v2': 0 });
  },

  async HTTPRouteRequestMultipleMirrors(t, mesh) {
    const twice = [mirror('infra-backend-v2'), mirror('infra-backend-v3')];
    await mesh.use(
      t,
      httpRoute('multiple-mirrors', SAME, [
        when([path('/mirror')], { filters: twice, ...v1 }),
        when([path('/headers')], { filters: [CHANGE, ...twice], ...v1 }),
      ]),
    );
    const all = { 'infra-backend-v1': 1, 'infra-backend-v2': 1, 'infra-backend-v3': 1 };
    await expectSeen(t, mesh, '/mirror', all);
    await expectSeen(t, mesh, '/headers', all);
  },

  async HTTPRouteRequestPercentageMirror(t, mesh) {
    const rule = (asked: string, share: Fields): Fields =>
      when([path(asked)], { filters: [mirror('infra-backend-v2', share)], ...v1 });
    await mesh.use(
      t,
      httpRoute('percentage-mirror', SAME, [
        rule('/percent', { percent: 20 }),
        rule('/fraction', { fraction: { numerator: 25, denominator: 50 } }),
        rule('/none', { percent: 0 }),
      ]),
    );
    // 4.9 standard deviations of a fair choice: 0.2 and 0.5 of 1000.
    const all = { 'infra-backend-v1': 1000 };
    await expectSeen(t, mesh, '/percent', { ...all, 'infra-backend-v2': [138, 262] }, 1000);
    await expectSeen(t, mesh, '/fraction', { ...all, 'infra-backend-v2': [422, 578] }, 1000);
    await expectSeen(t, mesh, '/none', { ...all, 'infra-backend-v2': 0 }, 1000);
  },
};
