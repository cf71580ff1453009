import test, { type ExecutionContext } from 'ava';
import { readTapFilter } from '../../waypoint/tap-filter.ts';
import type { TappedBatch, TapRecord } from '../../waypoint/tap-record.ts';
import { TapStreams } from '../../waypoint/tap-streams.ts';
import { Taps } from '../../waypoint/tap.ts';
import { openStream } from '../support/h2-client.ts';
import { request } from '../support/h2-frames.ts';
import { serveH2 } from '../support/h2-peer.ts';
import { TestWaypoint } from '../support/waypoint-requests.ts';

/** What is told of one request to someone who asked for `query`. */
async function tapped(
  t: ExecutionContext,
  query: string,
  ask: Readonly<{
    method?: string;
    path?: string;
    fields?: readonly string[];
    status?: string;
  }> = {},
): Promise<readonly TapRecord[]> {
  const { method = 'GET', path = '/', fields = [], status = '200' } = ask;
  const upstream = serveH2(t, (stream) => stream.respond([':status', status], { endStream: true }));
  const batches: TappedBatch[] = [];
  const taps = new Taps((batch) => Promise.resolve(batches.push(batch)));
  taps.add(7, readTapFilter(new URLSearchParams(query)));
  const parts = {
    onRequestEnd: taps.onRequestEnd.bind(taps),
  };
  const waypoint = new TestWaypoint(t, [upstream.port], { parts });
  const list = [...request(method, path), ...fields];
  const [, body] = openStream(await waypoint.connect(t), list);
  await body.write('');
  await body.until((c) => c.ended || c.error !== undefined);
  t.true(batches.every(({ id }) => id === 7));
  return batches.flatMap(({ records }) => records);
}

test('a tap tells who asked what, and what became of it', async (t) => {
  const [record] = await tapped(t, '', {
    path: '/a?b=c',
    status: '503',
    fields: ['x-user', 'alice'],
  });
  t.like(record, {
    ...{ source: 'spiffe://cluster.local/ns/shop/sa/client', sourceAddress: '10.0.0.7:40001' },
    ...{ method: 'GET', path: '/a?b=c', status: 503, flags: '-', protocol: 'HTTP/2', attempts: 1 },
    ...{ route: 'HTTPRoute/shop/echo/0', service: null },
  });
  t.is(record?.headers['x-user'], 'alice');
  t.regex(record?.endpoint ?? '', /^127\.0\.0\.1:\d+$/);
});

test('a tap shows no secret of a header or of a query', async (t) => {
  const fields = [
    ...['authorization', 'Bearer hunter2', 'cookie', 'a=hunter2', 'x-api-key', 'hunter2'],
    ...['x-amz-security-token', 'hunter2', 'x-kept', 'seen'],
  ];
  const [record] = await tapped(t, '', { path: '/a?access_token=hunter2&b=c', fields });
  t.false(JSON.stringify(record).includes('hunter2'));
  t.is(record?.headers['authorization'], '<hidden>');
  t.is(record?.headers['x-kept'], 'seen');
  t.is(record?.path, '/a?access_token=<hidden>&b=c');
});

const ASKED = { method: 'PUT', path: '/shop/cart', fields: ['x-user', 'alice'], status: '404' };
for (const [query, seen] of [
  ['method=put', true],
  ['method=GET', false],
  ['path=/shop', true],
  ['path=/cart', false],
  ['status=404', true],
  ['status=4xx', true],
  ['status=5xx', false],
  ['source=shop', true],
  ['source=shop/client', true],
  ['source=shop/other', false],
  ['source=sho', false],
  ['header=x-user=alice', true],
  ['header=X-User:alice', true],
  ['header=x-user=bob', false],
  ['header=x-user=alice&header=x-absent=1', false],
  ['service=shop/web', false],
] as const)
  test(`a tap of ${query} ${seen ? 'tells' : 'does not tell'} of a request`, async (t) => {
    t.is((await tapped(t, query, ASKED)).length, seen ? 1 : 0);
  });

for (const query of ['status=abc', 'status=6xx', 'header=x', 'header=authorization=Bearer x'])
  test(`a tap of ${query} is refused`, (t) => {
    t.throws(() => readTapFilter(new URLSearchParams(query)), { code: 'ERR_TAP_FILTER' });
  });

test('a subscriber that reads too slowly is told how much it missed, and the threads are told of its end', async (t) => {
  const told: string[] = [];
  const say = (text: string): Promise<unknown> => Promise.resolve(told.push(text));
  const streams = new TapStreams({ tap: () => say('tap'), untap: () => say('untap') });
  const gone = new AbortController();
  const lines = streams.stream({ headers: [] }, 'shop/waypoint-1', gone.signal);
  t.is((await lines.next()).value, '{"tapping":"shop/waypoint-1"}\n');
  const [record] = await tapped(t, '');
  if (record === undefined) return t.fail('no record');
  streams.take({ id: 0, records: Array.from({ length: 3000 }, () => record), dropped: 5 });
  const text = String((await lines.next()).value);
  t.is(text.split('\n').length - 1, 2048 + 1);
  t.true(text.endsWith(`{"dropped":${3000 - 2048 + 5}}\n`));
  const end = lines.next();
  gone.abort();
  t.true((await end).done);
  t.deepEqual(told, ['tap', 'untap']);
  streams.take({ id: 0, records: [record], dropped: 0 });
});
