import test from 'ava';
import fc from 'fast-check';
import type { TokenLimit } from '../../../mesh/model/rate-limit.ts';
import {
  hasTokens,
  msUntilTokens,
  refill,
  takeTokens,
  tokensLeft,
  type Bucket,
} from '../../../waypoint/rate-limit/bucket.ts';
import { BucketTable } from '../../../waypoint/rate-limit/bucket-table.ts';

const limit = fc
  .record({
    requests: fc.integer({ min: 1, max: 10_000_000 }),
    perMs: fc.integer({ min: 1000, max: 86_400_000 }),
    burst: fc.integer({ min: 1, max: 10_000_000 }),
  })
  .map((one): TokenLimit => one);
const steps = fc.array(
  fc.record({
    passMs: fc.oneof(fc.integer({ min: 0, max: 50 }), fc.integer({ min: 0, max: 1e9 })),
    share: fc.double({ min: 0, max: 1, noNaN: true }),
  }),
  { maxLength: 50 },
);

test('a bucket holds exactly what one of rational numbers holds, through any requests', (t) => {
  fc.assert(
    fc.property(limit, steps, (of, list) => {
      const bucket: Bucket = { taken: 0, atMs: 0 };
      // Tokens times perMs, as whole numbers of any size.
      const full = BigInt(of.burst) * BigInt(of.perMs);
      let there = full;
      let nowMs = 0;
      for (const { passMs, share } of list) {
        nowMs += passMs;
        there += BigInt(passMs) * BigInt(of.requests);
        if (there > full) there = full;
        refill(bucket, of, nowMs);
        const cost = Math.max(1, Math.round(share * of.burst));
        const price = BigInt(cost) * BigInt(of.perMs);
        const has = hasTokens(bucket, of, cost);
        t.is(has, there >= price);
        t.is(BigInt(tokensLeft(bucket.taken, of)), there / BigInt(of.perMs));
        if (!has) {
          const waitMs = msUntilTokens(bucket.taken, of, cost);
          t.true(there + BigInt(waitMs) * BigInt(of.requests) >= price);
          t.true(there + BigInt(waitMs - 1) * BigInt(of.requests) < price);
          continue;
        }
        takeTokens(bucket, of, cost);
        there -= price;
      }
    }),
  );
});

test('a bucket gets nothing from a clock that goes back and forth', (t) => {
  const of: TokenLimit = { requests: 1, perMs: 1000, burst: 1 };
  const bucket: Bucket = { taken: 1000, atMs: 5000 };
  for (const nowMs of [4000, 5000, 4000, 5000, 3000, 5000]) refill(bucket, of, nowMs);
  t.deepEqual(bucket, { taken: 1000, atMs: 5000 });
});

const slow: TokenLimit = { requests: 1, perMs: 1000, burst: 1 };

function take(table: BucketTable, key: string, client: string, nowMs: number): boolean {
  const bucket = table.find(key, client, nowMs);
  if (!hasTokens(bucket, table.limit, 1)) return false;
  takeTokens(bucket, table.limit, 1);
  return true;
}

test('no number of other keys gives a bucket its tokens back', (t) => {
  const table = new BucketTable(slow, { maxKeys: 100, maxKeysPerClient: 100 });
  t.true(take(table, 'victim', 'a', 0));
  for (let index = 0; index < 10_000; index++) {
    take(table, `key ${index}`, `client ${index % 7}`, index % 900);
    t.true(table.size <= 101);
  }
  t.false(take(table, 'victim', 'a', 999));
  t.true(take(table, 'victim', 'a', 1000));
});

test('keys for which there is no room share one bucket', (t) => {
  const table = new BucketTable(slow, { maxKeys: 10, maxKeysPerClient: 10 });
  for (let index = 0; index < 10; index++) t.true(take(table, `key ${index}`, 'a', 0));
  t.true(take(table, 'one more', 'b', 0));
  t.false(take(table, 'and another', 'c', 0));
  t.is(table.size, 11);
  // As soon as others are full again there is room.
  t.true(take(table, 'later', 'c', 1000));
  t.true(take(table, 'later still', 'c', 1000));
});

test('a client that brings in many keys leaves room for the keys of others', (t) => {
  const table = new BucketTable(slow, { maxKeys: 100, maxKeysPerClient: 25 });
  const passed = Array.from({ length: 1000 }, (_, index) => take(table, `a${index}`, 'a', 0));
  t.is(passed.filter(Boolean).length, 26, '25 keys, and one bucket for all that come after');
  for (let index = 0; index < 50; index++) t.true(take(table, `b${index}`, `b${index}`, 0));
});

test('a table forgets the buckets that are full again', (t) => {
  const table = new BucketTable(slow);
  for (let index = 0; index < 1000; index++) take(table, `old ${index}`, 'a', 0);
  t.is(table.size, 1000);
  for (let index = 0; index < 600; index++) take(table, `new ${index}`, 'a', 1000);
  t.true(table.size <= 602, String(table.size));
  table.sweep(2000);
  t.is(table.size, 0);
});
