import { setImmediate } from 'node:timers/promises';
import test from 'ava';
import { policyKey } from '../../../../mesh/model/authorization.ts';
import {
  applyDelta,
  type ApplyResult,
  type MeshResource,
  type PendingResource,
  type StateDelta,
} from '../../../../mesh/proxy/state/apply.ts';
import { ProxyState } from '../../../../mesh/proxy/state/store.ts';
import { StateWaiters } from '../../../../mesh/proxy/state/waiters.ts';
import { makePolicy } from '../../../support/policies.ts';
import { keyOf, makeService, makeWorkload, podUid } from '../../../support/workloads.ts';

const WEB = 'shop/web.shop.svc.cluster.local';

const pod = (name: string, healthy = true): MeshResource => ({
  kind: 'workload',
  workload: makeWorkload({ name, ips: ['10.0.0.1'], healthy, serves: { [WEB]: ['80:8080'] } }),
});
const pending = (name: string, resource: MeshResource | Error): PendingResource => ({
  name,
  decode: () => {
    if (resource instanceof Error) throw resource;
    return resource;
  },
});

function apply(
  state: ProxyState,
  resources: readonly PendingResource[],
  removed: readonly string[] = [],
  type: StateDelta['type'] = 'address',
): Promise<ApplyResult> {
  return applyDelta(state, { type, resources, removed }, () => setImmediate());
}

test('applyDelta() tells which workloads, services and policies it touched', async (t) => {
  const state = new ProxyState();
  const service: MeshResource = { kind: 'service', service: makeService({ name: 'web' }) };
  const first = await apply(state, [pending(podUid('a'), pod('a')), pending(WEB, service)]);
  t.deepEqual([...first.changed.workloads], [podUid('a')]);
  t.deepEqual([...first.changed.services], [keyOf(WEB)]);
  t.is(first.changed.policies.size, 0);

  const policy = makePolicy({ name: 'p', namespace: 'shop' });
  const second = await apply(state, [pending('shop/p', { kind: 'policy', policy })], [], 'policy');
  t.deepEqual([...second.changed.policies], [policyKey('shop', 'p')]);
  t.is(second.changed.workloads.size, 0);

  const third = await apply(state, [], [podUid('a'), podUid('never-there'), WEB]);
  t.deepEqual([...third.changed.workloads], [podUid('a')]);
  t.deepEqual([...third.changed.services], [keyOf(WEB)]);
  const fourth = await apply(state, [], ['shop/p', 'shop/never-there'], 'policy');
  t.deepEqual([...fourth.changed.policies], [policyKey('shop', 'p')]);
  t.deepEqual(state.sizes, { workloads: 0, services: 0, policies: 0 });
});

test('a workload that moves between services touches both', async (t) => {
  const state = new ProxyState();
  await apply(state, [pending(podUid('a'), pod('a'))]);
  const moved = makeWorkload({ name: 'a', serves: { 'shop/x.y': ['80:1'] } });
  const { changed } = await apply(state, [
    pending(podUid('a'), { kind: 'workload', workload: moved }),
  ]);
  t.deepEqual([...changed.services].sort(), [keyOf(WEB), keyOf('shop/x.y')].sort());
});

test('a bad resource is refused alone and keeps its last good version', async (t) => {
  const state = new ProxyState();
  await apply(state, [pending(podUid('a'), pod('a')), pending(podUid('b'), pod('b'))]);
  const { changed, rejected } = await apply(state, [
    pending(podUid('a'), new Error('it is broken')),
    pending(podUid('b'), pod('b', false)),
    pending('another name', pod('c')),
  ]);
  t.deepEqual(rejected, [
    { name: podUid('a'), reason: 'it is broken' },
    {
      name: 'another name',
      reason: `Cannot apply resource "another name": found "${podUid('c')}" in it`,
    },
  ]);
  t.deepEqual([...changed.workloads], [podUid('b')]);
  t.true(state.workload(podUid('a'))?.healthy);
  t.false(state.workload(podUid('b'))?.healthy);
  t.is(state.workload(podUid('c')), undefined);
});

test('a workload whose account makes no identity is refused alone', async (t) => {
  const state = new ProxyState();
  const odd = makeWorkload({ name: 'a', serviceAccount: 'no/account' });
  const { rejected } = await apply(state, [
    pending(podUid('a'), { kind: 'workload', workload: odd }),
    pending(podUid('b'), pod('b')),
  ]);
  t.deepEqual(
    rejected.map(({ name }) => name),
    [podUid('a')],
  );
  t.regex(rejected[0]?.reason ?? '', /^Cannot parse SPIFFE id/);
  t.is(state.sizes.workloads, 1);
});

test('removals come after updates, and a name that is a workload is removed as one', async (t) => {
  const state = new ProxyState();
  await apply(state, [pending(podUid('a'), pod('a'))], [podUid('a')]);
  t.is(state.workload(podUid('a')), undefined);
});

test('a large push pauses, so that connections go on', async (t) => {
  const state = new ProxyState();
  const resources = Array.from({ length: 5000 }, (_, index) =>
    pending(podUid(`p${index}`), pod(`p${index}`)),
  );
  let pauses = 0;
  const pause = (): Promise<void> => {
    pauses++;
    return setImmediate();
  };
  await applyDelta(state, { type: 'address', resources, removed: [] }, pause);
  t.true(pauses >= 3, `${pauses} pauses`);
  t.is(state.sizes.workloads, 5000);
});

test('StateWaiters wakes those whose wish came true, and forgets those who gave up', async (t) => {
  const waiters = new StateWaiters();
  let value: string | undefined;
  const patient = waiters.until(() => value, new AbortController().signal);
  const giveUp = new AbortController();
  const impatient = waiters.until(() => value, giveUp.signal);
  waiters.announce();
  t.is(waiters.waiting, 2);
  giveUp.abort();
  t.is(await impatient, undefined);
  value = 'here';
  waiters.announce();
  t.is(await patient, 'here');
  t.is(waiters.waiting, 0);
  t.is(await waiters.until(() => value, giveUp.signal), 'here');
  const failing = waiters.until<string>(() => {
    if (value === 'now') throw new Error('broken');
    return undefined;
  }, new AbortController().signal);
  value = 'now';
  waiters.announce();
  await t.throwsAsync(failing, { message: 'broken' });
});
