import type { ExecutionContext } from 'ava';
import { ask } from '../expected.ts';
import type { GatewayMesh } from '../gateway-mesh.ts';
import { httpRoute, path, to, when } from '../objects.ts';
import type { Runs } from './run.ts';

type Names =
  | 'HTTPRouteTimeoutRequest'
  | 'HTTPRouteTimeoutBackendRequest'
  | 'HTTPRouteRetry'
  | 'HTTPRouteRetryConnectionError'
  | 'HTTPRouteRetryWithTimeouts';

const SAME = ['same-namespace'];
const v3 = to('infra-backend-v3');

/** A request by its path and query, with the status that it must have, and how often the backend must have seen it. */
type Try = readonly [
  asked: string,
  query: string,
  status: number | readonly number[],
  seen?: number,
];

let count = 0;

async function expectTries(
  t: ExecutionContext,
  mesh: GatewayMesh,
  tries: readonly Try[],
): Promise<void> {
  const uuids = tries.map(() => `${process.pid}-${count++}`);
  const answers = await mesh.send(
    tries.map(([asked, query], index) =>
      ask({
        path: `${asked}?uuid=${uuids[index]}&${query}`,
        headers: [['x-mark', uuids[index] ?? '']],
      }),
    ),
  );
  for (const [index, [asked, query, status, seen]] of tries.entries()) {
    const got = answers[index]?.[0]?.status ?? 0;
    t.true([status].flat().includes(got), `${asked}?${query}: ${got}`);
    if (seen === undefined) continue;
    const echoes = await mesh.seen('infra-backend-v3', uuids[index] ?? '');
    t.is(echoes.length, seen, `${asked}?${query}: tries`);
  }
}

/** 504 when a backend is too slow, at once and not when it answers; 0s means that it may be as slow as it likes. */
async function expectTimeout(
  t: ExecutionContext,
  mesh: GatewayMesh,
  field: 'request' | 'backendRequest',
): Promise<void> {
  const limited = (limit: string): object => ({ timeouts: { [field]: limit } });
  await mesh.use(
    t,
    httpRoute('timeouts', SAME, [
      when([path('/limited')], { ...to('infra-backend-v1'), ...limited('500ms') }),
      when([path('/unlimited')], { ...to('infra-backend-v1'), ...limited('0s') }),
    ]),
  );
  const [[slow] = [], [fast] = [], [unlimited] = []] = await mesh.send(
    ['/limited?delay=1500', '/limited', '/unlimited?delay=1000'].map((each) => ask({ path: each })),
  );
  t.deepEqual([slow?.status, fast?.status, unlimited?.status], [504, 200, 200]);
  t.true((slow?.tookMs ?? 0) >= 500);
}

export const resilience: Runs<Names> = {
  HTTPRouteTimeoutRequest: (t, mesh) => expectTimeout(t, mesh, 'request'),
  HTTPRouteTimeoutBackendRequest: (t, mesh) => expectTimeout(t, mesh, 'backendRequest'),

  async HTTPRouteRetry(t, mesh) {
    await mesh.use(
      t,
      httpRoute('retries', SAME, [
        when([path('/500')], { ...v3, retry: { codes: [500], attempts: 3 } }),
        when([path('/all')], { ...v3, retry: { codes: [500, 502, 503, 504], attempts: 2 } }),
        when([path('/none')], v3),
      ]),
    );
    await expectTries(t, mesh, [
      ['/500', 'responseCode=500&succeedAfter=2', 200, 2],
      ['/500', 'responseCode=500&succeedAfter=4', 200, 4],
      ['/500', 'responseCode=500&succeedAfter=5', 500, 4],
      ['/500', 'responseCode=503&succeedAfter=2', 503, 1],
      ...[500, 502, 503, 504].flatMap((code): Try[] => [
        ['/all', `responseCode=${code}&succeedAfter=3`, 200, 3],
        ['/all', `responseCode=${code}&succeedAfter=4`, code, 3],
      ]),
      ['/all', 'responseCode=404&succeedAfter=2', 404, 1],
      ['/none', 'responseCode=500&succeedAfter=2', 500, 1],
    ]);
  },

  async HTTPRouteRetryConnectionError(t, mesh) {
    await mesh.use(t, httpRoute('retries', SAME, [{ ...v3, retry: { attempts: 3 } }]));
    await expectTries(t, mesh, [
      ['/', 'reset=1&succeedAfter=2', 200, 2],
      ['/', 'reset=1&succeedAfter=4', 200, 4],
      ['/', 'reset=1&succeedAfter=5', [500, 503], 4],
    ]);
  },

  async HTTPRouteRetryWithTimeouts(t, mesh) {
    await mesh.use(
      t,
      httpRoute('retries-with-timeouts', SAME, [
        when([path('/each')], {
          ...{ ...v3, retry: { attempts: 2 }, timeouts: { backendRequest: '500ms' } },
        }),
        when([path('/whole')], {
          ...{ ...v3, retry: { codes: [500], attempts: 5 } },
          timeouts: { backendRequest: '500ms', request: '1s' },
        }),
      ]),
    );
    await expectTries(t, mesh, [
      ['/each', 'delay=900&succeedAfter=2', 200, 2],
      ['/each', 'delay=900&succeedAfter=3', 200, 3],
      ['/each', 'delay=900&succeedAfter=4', 504, 3],
      ['/whole', 'delay=100&responseCode=500&succeedAfter=2', 200, 2],
      ['/whole', 'delay=900&succeedAfter=5', 504],
    ]);
  },
};
