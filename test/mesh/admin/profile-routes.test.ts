import test from 'ava';
import { profileRoutes, type ProfiledThread } from '../../../mesh/admin/profile-routes.ts';
import type { AdminResponse } from '../../../mesh/admin/server.ts';
import { HeapSampling, profileCpu } from '../../../mesh/runtime/profile.ts';

/** This thread, under two names; the second one takes no CPU profile, because there is one at a time. */
function openRoutes(): (path: string, query?: string) => Promise<AdminResponse> {
  const heap = new HeapSampling();
  const thread: ProfiledThread = {
    profileCpu,
    activateHeapSampling: (active) => heap.activate(active),
    heapProfile: () => heap.profile(),
  };
  const other = { ...thread, profileCpu: () => Promise.resolve('{"nodes":[]}') };
  const routes = profileRoutes(
    new Map([
      ['control', thread],
      ['data-0', other],
    ]),
  );
  return async (path, query = '') => {
    const route = routes.find((each) => each.path === path);
    if (route === undefined) throw new Error(`no page ${path}`);
    const { method } = route;
    return await route.handle({
      ...{ method, path, query: new URLSearchParams(query), headers: {}, body: '' },
    });
  };
}

const CPU = '/debug/pprof/profile';
const HEAP = '/debug/pprof/heap';

type CpuProfile = { nodes: { callFrame: { functionName: string } }[]; samples: number[] };

test.serial('a CPU profile shows what the thread did meanwhile', async (t) => {
  const ask = openRoutes();
  const asked = ask(CPU, 'seconds=1&frequency=1000&thread=control');
  const untilMs = performance.now() + 300;
  setTimeout(function burnTime() {
    let sum = 0;
    while (performance.now() < untilMs) sum += Math.sqrt(sum + 1);
  }, 50);
  const { body, contentType } = await asked;
  t.is(contentType, 'application/json');
  const { nodes, samples } = JSON.parse(body) as CpuProfile;
  t.true(nodes.some(({ callFrame }) => callFrame.functionName === 'burnTime'));
  t.true(samples.length > 50, `${samples.length} samples`);
});

test.serial('without a thread, the profiles of all threads are one object', async (t) => {
  const { body } = await openRoutes()(CPU, 'seconds=1');
  const all = JSON.parse(body) as Record<string, CpuProfile>;
  t.deepEqual(Object.keys(all), ['control', 'data-0']);
  t.true(Array.isArray(all['control']?.samples));
});

test.serial('one CPU profile is taken at a time, and the next one afterwards', async (t) => {
  const ask = openRoutes();
  const first = ask(CPU, 'seconds=1');
  t.is((await ask(CPU, 'seconds=1')).status, 429);
  t.is((await first).status, undefined);
  t.is((await ask(CPU, 'seconds=1&thread=data-0')).body, '{"nodes":[]}');
});

test.serial('what is asked for has bounds', async (t) => {
  const ask = openRoutes();
  const wrong = [
    'seconds=0',
    'seconds=301',
    'seconds=-1',
    'seconds=1e2',
    'seconds=',
    'frequency=0',
  ];
  for (const query of [...wrong, 'frequency=1001', 'thread=nobody', 'thread=__proto__'])
    await t.throwsAsync(ask(CPU, query), { code: 'ERR_PROFILE' }, query);
  await t.throwsAsync(ask(`${HEAP}/profiling`), { code: 'ERR_PROFILE' });
});

test.serial(
  'the heap profile tells who holds memory, without what is in it, and only while it is wanted',
  async (t) => {
    const ask = openRoutes();
    t.is((await ask(HEAP)).status, 409);
    t.is((await ask(`${HEAP}/profiling`, 'activate=true')).body, 'heap sampling is on\n');
    const secret = `key-${Math.random()}`;
    const held: string[][] = [];
    function holdMemory(): void {
      for (let index = 0; index < 2000; index++)
        held.push(Array.from({ length: 100 }, () => secret));
    }
    holdMemory();
    const { body } = await ask(HEAP, 'thread=control');
    t.true(body.includes('holdMemory'));
    t.false(body.includes(secret));
    t.is(held.length, 2000);
    await ask(`${HEAP}/profiling`, 'activate=false');
    t.is((await ask(HEAP, 'thread=control')).status, 409);
  },
);
