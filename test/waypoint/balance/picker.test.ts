import test from 'ava';
import type { Clock } from '../../../certs/clock.ts';
import type { BalancerPolicy } from '../../../mesh/model/traffic-policy.ts';
import type { Endpoint } from '../../../waypoint/balance/endpoint.ts';
import { hashText } from '../../../waypoint/balance/hash.ts';
import { EndpointPicker, type Balancing } from '../../../waypoint/balance/picker.ts';
import { countPicks, makeEndpoint, makeEndpoints } from '../../support/endpoints.ts';
import { HandClock } from '../../support/hand-clock.ts';
import { seededRandom } from '../../support/numbers.ts';

const source = { kind: 'source-ip' } as const;
const POLICIES: readonly BalancerPolicy[] = [
  ...(['round-robin', 'least-request', 'random', 'passthrough'] as const).map((kind) => ({ kind })),
  { kind: 'ring-hash', source, minimumRingSize: 1024 },
  { kind: 'maglev', source, tableSize: 65_537 },
];

type Bench = Readonly<{ picker: EndpointPicker; time: HandClock }>;

function pickerOf(
  levels: readonly (readonly Endpoint[])[],
  options: Partial<Balancing> = {},
): Bench {
  const time = new HandClock(0);
  const clock: Clock = { now: time.now, schedule: time.schedule, random: seededRandom(31_337) };
  const picker = new EndpointPicker(clock);
  picker.replace({
    ...{ policy: { kind: 'round-robin' }, warmup: undefined, panicPercent: 0 },
    levels: levels.map((endpoints) => [{ weight: 1, endpoints }]),
    ...options,
  });
  return { picker, time };
}

function setAvailable(endpoint: Endpoint | undefined, available: boolean): void {
  endpoint?.state.setHealthy(available, 0);
}

for (const policy of POLICIES) {
  const { kind } = policy;

  test(`a picker with ${kind} never names an endpoint that is not available`, async (t) => {
    const endpoints = makeEndpoints(20);
    const { picker, time } = pickerOf([endpoints], { policy });
    const random = seededRandom(7);
    for (let round = 0; round < 200; round++) {
      setAvailable(endpoints[Math.floor(random() * 20)], random() < 0.4);
      // Sometimes the picker hears of it late, sometimes the plan is made before the next pick.
      if (random() < 0.7) picker.refresh();
      if (random() < 0.3) await time.advance(1);
      for (let pick = 0; pick < 20; pick++) {
        const picked = picker.pick({ hash: (random() * 2 ** 32) | 0 });
        if (picked !== undefined) t.true(picked.state.available);
      }
      picker.refresh();
      const anyone = endpoints.some(({ state }) => state.available);
      t.is(picker.pick({ hash: round }) !== undefined, anyone);
    }
  });

  test(`a picker with ${kind} names nobody without endpoints`, (t) => {
    t.is(pickerOf([], { policy }).picker.pick({}), undefined);
    t.is(pickerOf([[]], { policy }).picker.pick({ hash: 1 }), undefined);
  });

  test(`a picker with ${kind} never names an endpoint that is gone, not even in panic`, (t) => {
    const endpoints = makeEndpoints(4);
    const [gone] = endpoints;
    for (const each of endpoints) setAvailable(each, false);
    const { picker } = pickerOf([endpoints], { policy, panicPercent: 50 });
    t.not(picker.pick({ hash: 0 }), undefined);
    if (gone !== undefined) gone.state.retired = true;
    for (let hash = -(2 ** 31); hash < 2 ** 31; hash += 2 ** 24) t.not(picker.pick({ hash }), gone);
  });
}

test('in panic all endpoints of a level are used, without it only those that are available', (t) => {
  const endpoints = makeEndpoints(10);
  for (const each of endpoints.slice(3)) setAvailable(each, false);
  for (const [panicPercent, used] of [
    [0, 3],
    [30, 3],
    [31, 10],
  ] as const) {
    const { picker } = pickerOf([endpoints], { panicPercent });
    const counts = countPicks(endpoints, 1000, () => picker.pick({}));
    t.is(counts.filter((count) => count > 0).length, used);
  }
});

test('a retry goes to an endpoint that was not tried', (t) => {
  for (const kind of ['round-robin', 'least-request', 'random'] as const) {
    const endpoints = makeEndpoints(3);
    const { picker } = pickerOf([endpoints], { policy: { kind } });
    const [first, second] = endpoints;
    if (first === undefined || second === undefined) return t.fail();
    let repeated = 0;
    for (let round = 0; round < 1000; round++)
      if (picker.pick({ tried: [first, second] }) !== endpoints[2]) repeated++;
    // Five more draws after the first: (2/3) ** 6 of the random ones have met nothing new.
    const most = kind === 'round-robin' ? 0 : 120;
    t.true(repeated <= most, `${kind}: ${repeated}`);
    t.not(picker.pick({ tried: endpoints }), undefined); // at last one that was tried
  }
});

test('of two endpoints a retry goes to the other one, however idle the first is', (t) => {
  const endpoints = makeEndpoints(2);
  const [failing, busy] = endpoints;
  if (failing === undefined || busy === undefined) return t.fail();
  busy.state.active = 50;
  const { picker } = pickerOf([endpoints], { policy: { kind: 'least-request' } });
  for (let round = 0; round < 100; round++) t.is(picker.pick({ tried: [failing] }), busy);
});

test('a request with a hash goes to its endpoint, also on a retry, and without one anywhere', (t) => {
  for (const policy of POLICIES.slice(4)) {
    const endpoints = makeEndpoints(10);
    const { picker } = pickerOf([endpoints], { policy });
    const hash = hashText('alice');
    const owner = picker.pick({ hash });
    if (owner === undefined) return t.fail();
    for (let round = 0; round < 50; round++) t.is(picker.pick({ hash, tried: [owner] }), owner);
    t.true(countPicks(endpoints, 1000, () => picker.pick({})).every((count) => count > 20));
  }
});

test('keys of an endpoint that is ejected go to others, and come back with it', async (t) => {
  for (const policy of POLICIES.slice(4)) {
    const endpoints = makeEndpoints(10);
    const { picker, time } = pickerOf([endpoints], { policy });
    const hashes = Array.from({ length: 2000 }, (_, index) => hashText(`client-${index}`));
    const before = hashes.map((hash) => picker.pick({ hash }));
    const [ejected] = endpoints;
    setAvailable(ejected, false);
    const stale = hashes.map((hash) => picker.pick({ hash }));
    picker.refresh();
    await time.advance(1000);
    const after = hashes.map((hash) => picker.pick({ hash }));
    for (const [index, owner] of before.entries()) {
      t.not(stale[index], ejected);
      t.not(after[index], ejected);
      if (owner !== ejected) t.is(stale[index], owner);
    }
    if (policy.kind === 'ring-hash') t.deepEqual(after, stale);
    setAvailable(ejected, true);
    picker.refresh();
    await time.advance(1000);
    t.deepEqual(
      hashes.map((hash) => picker.pick({ hash })),
      before,
    );
  }
});

test('what the first level cannot carry goes to the next', async (t) => {
  const near = makeEndpoints(10);
  const far = [makeEndpoint('far')];
  const { picker, time } = pickerOf([near, far]);
  t.is(countPicks(far, 1000, () => picker.pick({}))[0], 0);
  for (const each of near.slice(5)) setAvailable(each, false);
  picker.refresh();
  await time.advance(1);
  const [spilled = 0] = countPicks(far, 10_000, () => picker.pick({}));
  t.true(Math.abs(spilled - 3000) < 200, String(spilled)); // 1 - 1.4 * 0.5
  for (const each of near) setAvailable(each, false);
  picker.refresh();
  t.is(countPicks(far, 100, () => picker.pick({}))[0], 100); // at once: the plan is of no use any more
});

test('groups of a level get shares by weight, less where they cannot carry them', (t) => {
  const [one, other] = [makeEndpoints(10), makeEndpoints(10)];
  const groups = (): Balancing['levels'] => [
    [
      { weight: 80, endpoints: one },
      { weight: 20, endpoints: other },
    ],
  ];
  const shareOfOne = (policy: BalancerPolicy): number => {
    const { picker } = pickerOf([], { policy, levels: groups() });
    const hashes = seededRandom(5);
    const names = new Set(one.map(({ state }) => state));
    let count = 0;
    for (let index = 0; index < 20_000; index++) {
      const picked = picker.pick({ hash: (hashes() * 2 ** 32) | 0 });
      if (picked !== undefined && names.has(picked.state)) count++;
    }
    return count / 20_000;
  };
  t.true(Math.abs(shareOfOne({ kind: 'round-robin' }) - 0.8) < 0.02);
  for (const each of one.slice(5)) setAvailable(each, false);
  // 80 * 1.4 * 0.5 = 56 against 20
  t.true(Math.abs(shareOfOne({ kind: 'round-robin' }) - 56 / 76) < 0.02);
  for (const each of one) setAvailable(each, true);
});

test('hashing has one table for all groups of a level, by their weights', (t) => {
  const near = makeEndpoints(10);
  const far = Array.from({ length: 5 }, (_, index) => makeEndpoint(`far${index}`));
  for (const policy of POLICIES.slice(4)) {
    const { picker } = pickerOf([], {
      policy,
      levels: [
        [
          { weight: 80, endpoints: near },
          { weight: 20, endpoints: far },
        ],
      ],
    });
    const states = new Set(far.map(({ state }) => state));
    let count = 0;
    for (let index = 0; index < 20_000; index++) {
      const hash = hashText(`client-${index}`);
      const picked = picker.pick({ hash });
      t.is(picker.pick({ hash })?.state, picked?.state);
      if (picked !== undefined && states.has(picked.state)) count++;
    }
    t.true(Math.abs(count / 20_000 - 0.2) < 0.05, `${policy.kind}: ${count}`);
  }
});

test('passthrough goes where the client wanted to, if that is an endpoint, else anywhere', (t) => {
  const endpoints = makeEndpoints(5);
  const { picker } = pickerOf([endpoints], { policy: { kind: 'passthrough' } });
  const [, wanted] = endpoints;
  t.is(picker.pick({ destination: wanted?.hashKey ?? '' }), wanted);
  t.true(endpoints.includes(picker.pick({ destination: '192.0.2.1:80' }) ?? makeEndpoint('none')));
  setAvailable(wanted, false);
  t.not(picker.pick({ destination: wanted?.hashKey ?? '' }), wanted);
});

test('a plan is brought to its end and used although endpoints change all the time', async (t) => {
  const endpoints = makeEndpoints(10_000);
  const policy = { kind: 'maglev', source, tableSize: 65_537 } as const;
  const { picker, time } = pickerOf([endpoints], { policy });
  await time.advance(1000);
  const [first] = endpoints;
  const hash = Array.from({ length: 200_000 }, (_, index) => hashText(`c${index}`)).find(
    (each) => picker.pick({ hash: each }) === first,
  );
  if (first === undefined || hash === undefined) return t.fail();
  setAvailable(first, false);
  picker.refresh();
  for (let step = 0; step < 100; step++) {
    await time.advance(0);
    picker.refresh();
  }
  // The table that was made meanwhile has no slot of it, so it stays away until the next one although it is well again.
  setAvailable(first, true);
  t.not(picker.pick({ hash }), first);
  picker.refresh();
  await time.advance(1000);
  t.is(picker.pick({ hash }), first);
});

test('what changes while a plan is being made is in the next one, without being told again', async (t) => {
  const endpoints = makeEndpoints(10_000);
  const policy = { kind: 'maglev', source, tableSize: 65_537 } as const;
  const { picker, time } = pickerOf([endpoints], { policy });
  const [first] = endpoints;
  setAvailable(first, false);
  picker.refresh();
  await time.advance(0); // the first step, which has seen that it is away
  setAvailable(first, true);
  picker.refresh();
  await time.advance(10_000);
  t.true(
    Array.from({ length: 200_000 }, (_, index) => hashText(`c${index}`)).some(
      (hash) => picker.pick({ hash }) === first,
    ),
  );
});

test('when the last endpoint is warm the plan is made anew', async (t) => {
  const endpoints = [makeEndpoint('old'), makeEndpoint('young', { warmSinceMs: 0 })];
  const warmup = { durationMs: 60_000, minimumPercent: 10, aggression: 1 };
  const { picker, time } = pickerOf([endpoints], { warmup });
  await time.advance(1);
  const [, cold = 0] = countPicks(endpoints, 1000, () => picker.pick({}));
  t.true(cold < 120, String(cold));
  await time.advance(60_000);
  await time.advance(1);
  const picks = Array.from({ length: 10 }, () => picker.pick({}));
  t.true(picks.every((each, index) => index === 0 || each !== picks[index - 1])); // strictly in turns
});

test('a picker that is disposed of has nothing scheduled', async (t) => {
  const endpoints = [makeEndpoint('young', { warmSinceMs: 0 })];
  const time = new HandClock(0);
  let waiting = 0;
  const clock: Clock = {
    now: time.now,
    random: () => 0.5,
    schedule: (delayMs, task) => {
      waiting++;
      const cancel = time.schedule(delayMs, () => {
        waiting--;
        task();
      });
      return () => {
        waiting--;
        cancel();
      };
    },
  };
  const picker = new EndpointPicker(clock);
  const warmup = { durationMs: 60_000, minimumPercent: 10, aggression: 1 };
  const levels = [[{ weight: 1, endpoints }]];
  picker.replace({ policy: { kind: 'round-robin' }, warmup, panicPercent: 0, levels });
  await time.advance(1);
  t.is(waiting, 1);
  picker[Symbol.dispose]();
  t.is(waiting, 0);
});
