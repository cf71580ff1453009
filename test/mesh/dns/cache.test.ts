import test from 'ava';
import { DnsCache } from '../../../mesh/dns/cache.ts';
import { decodeQuery, decodeResponse, type DnsQuery } from '../../../mesh/dns/message.ts';
import { POINTER, query, record, response } from './fixtures.ts';

/** An answer of so many records of 16 bytes each. */
function keep(cache: DnsCache, host: string, records: number): DnsQuery {
  const asked = query(host);
  const answers = Array.from({ length: records }, () => record(POINTER, 1, 60, Buffer.alloc(4)));
  const message = response(asked, answers);
  const decoded = decodeQuery(asked);
  cache.set(decoded, message, decodeResponse(message));
  return decoded;
}

test('the cache holds 4,096 small answers, and drops what was not used for longest', (t) => {
  const cache = new DnsCache();
  const first = keep(cache, 'first.example', 1);
  const second = keep(cache, 'second.example', 1);
  for (let index = 0; index < 4_094; index++) keep(cache, `n${index}.example`, 1);
  t.is(cache.size, 4_096);
  t.not(cache.get(first), undefined);
  keep(cache, 'one-more.example', 1);
  t.is(cache.size, 4_096);
  t.is(cache.get(second), undefined);
  t.not(cache.get(first), undefined);
});

test('the cache of one pod holds no more than 2 MiB, however long the answers are', (t) => {
  const cache = new DnsCache();
  for (let index = 0; index < 1_000; index++) keep(cache, `n${index}.example`, 280);
  t.true(cache.size * 280 * 16 <= 2 << 20, `${cache.size} entries`);
  // The same name again takes the place of what was there.
  const before = cache.size;
  for (let index = 0; index < 1_000; index++) keep(cache, 'n999.example', 280);
  t.is(cache.size, before);
});
