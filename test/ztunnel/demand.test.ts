import test from 'ava';
import type { DemandKey } from '../../mesh/proxy/state/answered.ts';
import { Demand, MAX_ACCOUNT_KEYS, MAX_PENDING_KEYS } from '../../ztunnel/demand.ts';
import { DemandHolders } from '../../ztunnel/demand-holders.ts';

const key = (name: string | number): DemandKey => `n/${name}` as DemandKey;
const outbound = { podUid: 'pod-1', side: 'outbound' } as const;
const inbound = { podUid: 'pod-1', side: 'inbound' } as const;
const other = { podUid: 'pod-2', side: 'outbound' } as const;
const PATIENT = new AbortController().signal;

/** Another thread that answers when a test says so. */
function scripted(): {
  demand: Demand;
  asked: DemandKey[];
  released: DemandKey[];
  answer: (name: string | number) => Promise<void>;
  answersAll: () => void;
} {
  const asked: DemandKey[] = [];
  const released: DemandKey[] = [];
  const waiting = new Map<DemandKey, () => void>();
  let atOnce = false;
  const demand = new Demand({
    demand(asking) {
      asked.push(asking);
      if (atOnce) return Promise.resolve();
      return new Promise<void>((resolve) => waiting.set(asking, resolve));
    },
    release: (letGo) => released.push(letGo),
  });
  return {
    ...{ demand, asked, released },
    async answer(name) {
      waiting.get(key(name))?.();
      await Promise.resolve();
    },
    answersAll() {
      atOnce = true;
    },
  };
}

test('a key is asked for once, however many connections of however many pods wait for it', async (t) => {
  const { demand, asked, answer } = scripted();
  const waits = [outbound, outbound, inbound, other].map((owner) =>
    demand.ask(owner, key(1), PATIENT),
  );
  t.true(demand.isPending(key(1)));
  t.false(demand.answered.has(key(1)));
  await answer(1);
  t.deepEqual(await Promise.all(waits), [true, true, true, true]);
  t.true(demand.answered.has(key(1)));
  t.true(await demand.ask(other, key(1), PATIENT));
  t.deepEqual(asked, [key(1)]);
  t.deepEqual(demand.list(), [{ key: key(1), answered: true, pods: ['pod-1', 'pod-2'] }]);
});

test('who gives up knows nothing, and the answer is there for who comes later', async (t) => {
  const { demand, asked, answer } = scripted();
  const impatient = new AbortController();
  const waiting = demand.ask(outbound, key(1), impatient.signal);
  impatient.abort();
  t.false(await waiting);
  t.false(demand.answered.has(key(1)));
  await answer(1);
  t.true(demand.answered.has(key(1)));
  t.is(asked.length, 1);
});

test('a pod that scans addresses keeps a bounded number of keys, and pushes out none of another pod', async (t) => {
  const { demand, released, answersAll } = scripted();
  answersAll();
  await demand.ask(other, key('theirs'), PATIENT);
  await demand.ask(inbound, key('stranger'), PATIENT);
  await demand.ask(outbound, key('used'), PATIENT);
  for (let index = 0; index < MAX_ACCOUNT_KEYS - 1; index++)
    await demand.ask(outbound, key(index), PATIENT);
  demand.touch(outbound, key('used'));
  t.deepEqual(released, []);
  for (let index = 0; index < 100; index++)
    await demand.ask(outbound, key(`more-${index}`), PATIENT);
  t.deepEqual(
    released,
    Array.from({ length: 100 }, (_, index) => key(index)),
  );
  t.is(demand.list().length, MAX_ACCOUNT_KEYS + 2);
  for (const name of ['theirs', 'stranger', 'used']) t.true(demand.answered.has(key(name)), name);
  t.false(demand.answered.has(key(0)), 'what was let go is not known any more');
});

test('without a control plane a scan waits for a bounded number of keys, and forgets no answer', async (t) => {
  const { demand, asked, answer } = scripted();
  const first = demand.ask(outbound, key('first'), PATIENT);
  await answer('first');
  t.true(await first);
  for (let index = 0; index < MAX_PENDING_KEYS; index++) demand.want(outbound, key(index));
  t.false(await demand.ask(outbound, key('one too many'), PATIENT));
  t.is(asked.length, MAX_PENDING_KEYS + 1);
  t.true(demand.answered.has(key('first')));
  // The control plane is back.
  await answer(0);
  const again = demand.ask(outbound, key('one too many'), PATIENT);
  await answer('one too many');
  t.true(await again);
});

test('what a pod that is gone has asked for is let go, unless another pod uses it', async (t) => {
  const { demand, released, answer } = scripted();
  const waits = [
    demand.ask(outbound, key('mine'), PATIENT),
    demand.ask(inbound, key('shared'), PATIENT),
  ];
  const pending = demand.ask(outbound, key('pending'), PATIENT);
  await answer('mine');
  await answer('shared');
  await Promise.all(waits);
  demand.touch(other, key('shared'));
  demand.forgetPod('pod-1');
  t.false(await pending);
  t.deepEqual(released.toSorted(), [key('mine'), key('pending')]);
  t.true(demand.answered.has(key('shared')));
  demand.forgetPod('pod-2');
  t.is(demand.list().length, 0);
  await answer('pending'); // too late: it is not followed
  t.false(demand.answered.has(key('pending')));
});

test('a failure of the other thread is no answer', async (t) => {
  const demand = new Demand({
    demand: () => Promise.reject(new Error('it has ended')),
    release: () => undefined,
  });
  t.false(await demand.ask(outbound, key(1), PATIENT));
  t.deepEqual(demand.list(), []);
});

test('a key is released when the last data thread lets it go', async (t) => {
  const released: DemandKey[] = [];
  const holders = new DemandHolders({
    demand: () => Promise.resolve(),
    release: (letGo) => released.push(letGo),
  });
  await holders.demand(0, key(1));
  await holders.demand(1, key(1));
  holders.release(0, key(1));
  holders.release(0, key(1));
  t.deepEqual(released, []);
  holders.release(1, key(1));
  t.deepEqual(released, [key(1)]);
});
