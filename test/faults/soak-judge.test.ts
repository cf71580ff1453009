import test from 'ava';
import type { AccessRecord } from '../support/mesh-records.ts';
import { TOPOLOGIES, type Fault } from './fault.ts';
import { auditIdentities } from './identities.ts';
import { ErrorLedger } from './soak/errors.ts';
import { findGrowth, type Sample } from './soak/growth.ts';
import { seededRandom, shuffled } from './soak/shuffle.ts';

const LIMITS = { bytesPerMinute: 1 << 20, descriptorsPerMinute: 1 };

const fault: Fault = {
  ...{ name: 'a fault', class: 'faults', spares: {}, holdMs: 1_000 },
  begin: () => Promise.reject(new Error('it is not begun')),
};
const report = { began: 0, open: 0, complete: [], wrong: [] };

/** A process looked at once a second for ten minutes. */
function grown(bytesPerMinute: number, descriptorsPerMinute: number, minutes = 10): Sample[] {
  return Array.from({ length: minutes * 60 }, (_, second) => ({
    ...{ atMs: second * 1000, pid: 1 },
    // What the collector leaves goes up and down.
    privateBytes: 60e6 + (second % 7) * 1e6 + (bytesPerMinute * second) / 60,
    descriptors: 40 + (second % 3) + (descriptorsPerMinute * second) / 60,
  }));
}

test('findGrowth() tells of memory and descriptors that grow, and not of what goes up and down', (t) => {
  t.deepEqual(findGrowth('ztunnel', grown(0, 0), LIMITS), []);
  t.regex(
    findGrowth('ztunnel', grown(4 << 20, 0), LIMITS).join(),
    /ztunnel \(1\) grows by 4[01]\d\d KiB/,
  );
  t.regex(findGrowth('ztunnel', grown(0, 2), LIMITS).join(), /opens 2\.0 descriptors a minute/);
});

test('findGrowth() does not take for growth what has piled up for half a minute and is gone again', (t) => {
  for (const second of [100, 300, 560]) {
    const samples = grown(0, 0).map((sample) => {
      const at = sample.atMs / 1000 - second;
      if (at < 0 || at >= 40) return sample;
      const { descriptors, privateBytes } = sample;
      return { ...sample, descriptors: descriptors + 700, privateBytes: privateBytes + 40e6 };
    });
    t.deepEqual(findGrowth('ztunnel', samples, LIMITS), [], `${second} s`);
  }
});

test('findGrowth() leaves a process what its collector may leave lying about, and no more', (t) => {
  t.deepEqual(findGrowth('ztunnel', grown(3 << 20, 0, 7), LIMITS), []);
  t.is(findGrowth('ztunnel', grown(5 << 20, 0, 7), LIMITS).length, 1);
  t.is(findGrowth('ztunnel', grown(1.25 * 2 ** 20, 0, 25), LIMITS).length, 1);
});

test('findGrowth() leaves a process the connections that a fault may leave for a while, and no more', (t) => {
  t.deepEqual(findGrowth('ztunnel', grown(0, 2, 7), LIMITS), []);
  t.is(findGrowth('ztunnel', grown(0, 4, 7), LIMITS).length, 1);
  t.is(findGrowth('ztunnel', grown(0, 1.25, 20), LIMITS).length, 1);
});

test('findGrowth() says nothing of a process that has not lived for long', (t) => {
  t.deepEqual(findGrowth('ztunnel', grown(9 << 20, 9, 5), LIMITS), []);
});

test('an error is explained by a fault that it met or that ended in the second before, and by nothing else', (t) => {
  const ledger = new ErrorLedger(1_000);
  const ends = ledger.faultBegins(fault, 10_000);
  ends(13_000);
  const errors = [
    [9_000, 9_900, 'before'],
    [9_000, 10_100, 'into it'],
    [13_900, 14_100, 'recovering'],
    [14_100, 14_200, 'after'],
  ].map(([beganMs, endedMs, how]) => ({
    ...{ beganMs: Number(beganMs), heardMs: Number(beganMs), endedMs: Number(endedMs) },
    ...{ how: String(how), local: '' },
  }));
  ledger.add(new Map([[TOPOLOGIES[0], { ...report, errors }]]), undefined);
  ledger.judge();
  t.is(ledger.explained, 2);
  t.is(ledger.unexplained.length, 2);
  t.regex(ledger.unexplained.join(), /before any fault.*began 4100 ms after .*ended 4200 ms/s);
});

test('a connection that has been silent for long is explained by a fault that leaves half-open ones, and by no other', (t) => {
  const errors = [
    { beganMs: 10_100, heardMs: 10_200, endedMs: 60_000, how: 'silent', local: '10.0.0.1:4000' },
  ];
  for (const [kind, explained] of [
    [fault, 0],
    [{ ...fault, leavesHalfOpen: 'one end alone is told' }, 1],
  ] as const) {
    const ledger = new ErrorLedger(1_000);
    ledger.faultBegins(kind, 10_000)(11_000);
    ledger.add(new Map([[TOPOLOGIES[0], { ...report, errors }]]), undefined);
    ledger.judge();
    t.is(ledger.explained, explained);
    t.is(ledger.unexplained.length, 1 - explained);
  }
});

test('a record with the identity of another pod is found, and so are two stories of one connection', (t) => {
  const record: AccessRecord = {
    ...{ node: 'node-1', direction: 'inbound', 'src.addr': '10.244.16.2:4000' },
    ...{ 'src.workload': 'client', 'src.namespace': 'shop' },
    'src.identity': 'spiffe://cluster.local/ns/shop/sa/client',
    inbound: { id: '1' },
  };
  const pods = new Map([['10.244.16.2', 'shop/client']]);
  t.deepEqual(auditIdentities([record], pods), []);
  const other = { ...record, 'src.identity': 'spiffe://cluster.local/ns/shop/sa/other' };
  t.regex(auditIdentities([other], pods).join(), /src.identity is not that of src.workload/);
  const elsewhere = new Map([['10.244.16.2', 'shop/other']]);
  t.regex(auditIdentities([record], elsewhere).join(), /src.addr is that of shop\/other/);
  const outbound = {
    ...other,
    'src.workload': 'other',
    direction: 'outbound',
    outbound: { id: '1' },
  } as const;
  t.regex(auditIdentities([record, outbound], new Map()).join(), /two stories/);
  const intruder = { ...record, 'src.workload': 'intruder', 'src.identity': undefined };
  t.regex(auditIdentities([intruder], new Map()).join(), /policy refuses this caller/);
});

test('through a waypoint a connection has one trace, and what calls on is what was called', (t) => {
  const identity = (account: string): string => `spiffe://cluster.local/ns/shop/sa/${account}`;
  const gate = 'gate-gpnbdg9pl-lkrzr';
  const outbound: AccessRecord = {
    ...{ node: 'node-1', direction: 'outbound', outbound: { id: '1' } },
    ...{ 'src.workload': 'client', 'src.namespace': 'shop', 'src.identity': identity('client') },
    ...{ 'dst.workload': gate, 'dst.namespace': 'shop', 'dst.identity': identity('gate') },
  };
  const inbound: AccessRecord = {
    ...{ node: 'node-2', direction: 'inbound', inbound: { id: '1' } },
    ...{ 'src.workload': gate, 'src.namespace': 'shop', 'src.identity': identity('gate') },
    ...{ 'dst.workload': 'deep', 'dst.namespace': 'shop', 'dst.identity': identity('deep') },
  };
  t.deepEqual(auditIdentities([outbound, inbound], new Map()), []);
  const other = { ...inbound, 'src.workload': 'inner-98j9tmhwh-rgmgg' };
  t.regex(auditIdentities([outbound, other], new Map()).join(), /is not that of.*two stories/s);
});

test('a seed determines the order, in which everything comes once before anything comes again', (t) => {
  const order = (seed: number): number[] => {
    const items = shuffled([1, 2, 3, 4, 5], seededRandom(seed));
    return Array.from({ length: 10 }, () => items.next().value);
  };
  t.deepEqual(order(7), order(7));
  t.notDeepEqual(order(7), order(8));
  t.deepEqual(order(7).slice(0, 5).sort(), [1, 2, 3, 4, 5]);
});
