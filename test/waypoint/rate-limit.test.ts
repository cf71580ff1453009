import test from 'ava';
import type { PolicyKey } from '../../mesh/model/authorization.ts';
import type { RateLimit, RateLimitRule } from '../../mesh/model/rate-limit.ts';
import { findHeader } from '../../net/h2/headers.ts';
import { tellRateLimits } from '../../waypoint/rate-limit.ts';
import { Downstream } from '../../waypoint/downstream.ts';
import { ProcessBuckets } from '../../waypoint/rate-limit/process-buckets.ts';
import { formatFlags } from '../../waypoint/response-flags.ts';
import { openStream } from '../support/h2-client.ts';
import { request } from '../support/h2-frames.ts';
import { serveH2 } from '../support/h2-peer.ts';
import { limitedRequest, limitRule, rateLimit, TestLimiter, WEB } from '../support/rate-limits.ts';
import type { SentRequest } from '../support/rate-limits.ts';
import { makeService } from '../support/workloads.ts';
import { TestWaypoint } from '../support/waypoint-requests.ts';

const BY_IDENTITY: Partial<RateLimitRule> = { key: [{ kind: 'identity' }] };

class HandClock {
  nowMs = 1_000_000;
  readonly now = (): number => this.nowMs;
  readonly after = (): (() => void) => {
    throw new Error('nothing local waits');
  };
}

const ONE = { requests: 1, perMs: 60_000, burst: 1 };

/** A match of one request a minute: the first of these is counted, and then the second. */
const counts = test.macro({
  exec(t, rule: Partial<RateLimitRule>, first: SentRequest, second: SentRequest, then: string) {
    using limiter = new TestLimiter([rateLimit([limitRule({ limit: ONE, ...rule })])], {
      clock: new HandClock(),
    });
    t.is(limiter.sendNow(first), 'pass');
    t.is(limiter.sendNow(second), then);
  },
  title: (given = '') => `a rate limit ${given}`,
});

const key = (...parts: RateLimitRule['key']): Partial<RateLimitRule> => ({ key: parts });
const match = (fields: Partial<RateLimitRule['match']>): Partial<RateLimitRule> => ({
  match: { ...limitRule().match, ...fields },
});

test('without a key counts everybody together', counts, {}, { client: 'a/b' }, {}, '429');
test(
  'by identity counts each account by itself',
  ...([
    counts,
    key({ kind: 'identity' }),
    { client: 'shop/a' },
    { client: 'shop/b' },
    'pass',
  ] as const),
);
test(
  'by identity counts all pods of an account together',
  ...([
    counts,
    key({ kind: 'identity' }),
    { address: '10.0.0.1' },
    { address: '10.0.0.2' },
    '429',
  ] as const),
);
test(
  'by identity counts clients without one together',
  ...([
    counts,
    key({ kind: 'identity' }),
    { client: '', address: '10.0.0.1' },
    { client: '', address: '10.0.0.2' },
    '429',
  ] as const),
);
test(
  'by namespace counts its accounts together',
  ...([
    counts,
    key({ kind: 'namespace' }),
    { client: 'shop/a' },
    { client: 'shop/b' },
    '429',
  ] as const),
);
test(
  'by header counts each value by itself',
  ...([
    counts,
    key({ kind: 'header', name: 'x-user' }),
    { headers: ['x-user', 'a'] },
    { headers: ['x-user', 'b'] },
    'pass',
  ] as const),
);
test(
  'by header counts those together that leave it out',
  ...([counts, key({ kind: 'header', name: 'x-user' }), {}, { client: 'a/b' }, '429'] as const),
);
test(
  'by header tells a value from one that is repeated',
  ...([
    counts,
    key({ kind: 'header', name: 'x-user' }),
    { headers: ['x-user', 'a'] },
    { headers: ['x-user', 'a', 'x-user', 'a'] },
    'pass',
  ] as const),
);
test(
  'by path does not look at the query',
  ...([counts, key({ kind: 'path' }), { path: '/a?x=1' }, { path: '/a?x=2' }, '429'] as const),
);
test(
  'by path counts each path by itself',
  ...([counts, key({ kind: 'path' }), { path: '/a' }, { path: '/b' }, 'pass'] as const),
);
test(
  'by address counts each pod by itself',
  ...([
    counts,
    key({ kind: 'client-address' }),
    { address: '10.0.0.1' },
    { address: '10.0.0.2' },
    'pass',
  ] as const),
);
test(
  'by several things cannot be had by moving text from one to the other',
  ...([
    counts,
    key({ kind: 'header', name: 'a' }, { kind: 'header', name: 'b' }),
    { headers: ['a', 'xy', 'b', 'z'] },
    { headers: ['a', 'x', 'b', 'yz'] },
    'pass',
  ] as const),
);
test(
  'tells long values apart',
  ...([
    counts,
    key({ kind: 'header', name: 'a' }),
    { headers: ['a', `${'x'.repeat(500)}1`] },
    { headers: ['a', `${'x'.repeat(500)}2`] },
    'pass',
  ] as const),
);

/** Whether a rule that lets nothing pass is for this request. */
const isFor = test.macro({
  exec(t, fields: Partial<RateLimitRule['match']>, sent: SentRequest, expected: boolean) {
    const none = { requests: 0, perMs: 1000, burst: 0 };
    using limiter = new TestLimiter([rateLimit([limitRule({ limit: none, ...match(fields) })])], {
      clock: new HandClock(),
    });
    t.is(limiter.sendNow(sent), expected ? '429' : 'pass');
  },
  title: (given = '') => `a rule of a rate limit ${given}`,
});

const principal = (value: string): Partial<RateLimitRule['match']> => ({
  principals: [{ kind: 'exact', value }],
});
const account = { serviceAccounts: [{ namespace: 'shop', serviceAccount: 'client' }] };
const tier = { name: 'x-tier', kind: 'exact', value: 'gold' } as const;

test('is for a principal', isFor, principal('cluster.local/ns/shop/sa/client'), {}, true);
test('is not for another principal', isFor, principal('cluster.local/ns/shop/sa/x'), {}, false);
test('is for a namespace', isFor, { namespaces: [{ kind: 'prefix', value: 'sh' }] }, {}, true);
test(
  'is not for another namespace',
  isFor,
  { namespaces: [{ kind: 'exact', value: 'x' }] },
  {},
  false,
);
test('is for a service account', isFor, account, {}, true);
test('is not for an account of that name elsewhere', isFor, account, { client: 'x/client' }, false);
test(
  'is for any identity, and not for none',
  isFor,
  { principals: [{ kind: 'presence' }] },
  { client: '' },
  false,
);
test('needs all that it asks for', isFor, { ...account, methods: ['POST'] }, {}, false);
test('is for a method', isFor, { methods: ['POST', 'GET'] }, {}, true);
test('is for a path', isFor, { path: { kind: 'exact', value: '/a' } }, { path: '/a?b' }, true);
test(
  'is not for a path below it',
  isFor,
  { path: { kind: 'exact', value: '/a' } },
  { path: '/a/b' },
  false,
);
test(
  'is for all below a prefix',
  isFor,
  { path: { kind: 'prefix', value: '/a/' } },
  { path: '/a/b' },
  true,
);
test(
  'is for the prefix itself',
  isFor,
  { path: { kind: 'prefix', value: '/a/' } },
  { path: '/a' },
  true,
);
test(
  'is not for half a segment',
  isFor,
  { path: { kind: 'prefix', value: '/a' } },
  { path: '/ab' },
  false,
);
test(
  'is for everything below the root',
  isFor,
  { path: { kind: 'prefix', value: '/' } },
  { path: '/ab' },
  true,
);
test('is for a header', isFor, { headers: [tier] }, { headers: ['x-tier', 'gold'] }, true);
test(
  'is not for a header twice',
  isFor,
  { headers: [tier] },
  { headers: ['x-tier', 'gold', 'x-tier', 'gold'] },
  false,
);
test('is for a header that is another', isFor, { headers: [{ ...tier, absent: true }] }, {}, true);
test(
  'is for a pattern',
  ...([
    isFor,
    { headers: [{ name: 'a', kind: 'regex', value: 'x+' }] },
    { headers: ['a', 'xx'] },
    true,
  ] as const),
);

test('the first rule that is for a request counts it, so that rules are tiers', (t) => {
  const clock = new HandClock();
  using limiter = new TestLimiter(
    [
      rateLimit([
        limitRule({
          name: 'gold',
          limit: { requests: 5, perMs: 60_000, burst: 5 },
          ...match({ headers: [tier] }),
        }),
        limitRule({ name: 'free', limit: { requests: 2, perMs: 60_000, burst: 2 } }),
      ]),
    ],
    { clock },
  );
  const gold = { headers: ['x-tier', 'gold'] };
  t.is(limiter.passing(10, gold), 5);
  t.is(limiter.passing(10), 2);
  clock.nowMs += 60_000;
  t.is(limiter.passing(10), 2);
  t.is(limiter.passing(10, gold), 5);
});

test('a rule without a limit exempts what it is for', (t) => {
  const { limit: _, ...health } = limitRule({
    ...match({ path: { kind: 'exact', value: '/healthz' } }),
  });
  using limiter = new TestLimiter([rateLimit([health, limitRule({ name: 'rest', limit: ONE })])], {
    clock: new HandClock(),
  });
  t.is(limiter.passing(50, { path: '/healthz' }), 50);
  t.is(limiter.passing(50), 1);
});

test('a request takes as many tokens as it costs', (t) => {
  const clock = new HandClock();
  using limiter = new TestLimiter([rateLimit([limitRule({ cost: 4 })])], { clock });
  t.is(limiter.passing(10), 2);
  clock.nowMs += 199;
  t.is(limiter.passing(1), 0, '3.99 of 4 tokens are there');
  clock.nowMs += 1;
  t.is(limiter.passing(10), 1);
});

test('a shadow rule counts, and refuses nothing', (t) => {
  using limiter = new TestLimiter([rateLimit([limitRule({ shadow: true })])], {
    clock: new HandClock(),
  });
  t.is(limiter.passing(15), 15);
  t.deepEqual(limiter.outcomes(), { admitted: 10, shadow_limited: 5 });
});

test('a request that one policy refuses takes nothing of another', (t) => {
  const other: Partial<RateLimit> = { policy: 'shop/other' as PolicyKey };
  const clock = new HandClock();
  using limiter = new TestLimiter(
    [
      rateLimit([limitRule({ name: 'wide', limit: { requests: 3, perMs: 60_000, burst: 3 } })]),
      rateLimit(
        [
          limitRule({
            name: 'narrow',
            limit: ONE,
            ...match({ path: { kind: 'exact', value: '/a' } }),
          }),
        ],
        other,
      ),
    ],
    { clock },
  );
  t.is(limiter.passing(20, { path: '/a' }), 1);
  t.is(limiter.passing(20), 2);
});

test('a new configuration goes on counting where the old one was; another limit counts anew', (t) => {
  using limiter = new TestLimiter([rateLimit([limitRule()])], { clock: new HandClock() });
  t.is(limiter.passing(6), 6);
  limiter.configure([rateLimit([limitRule()], { tellsClients: true })]);
  t.is(limiter.passing(6), 4);
  limiter.configure([rateLimit([limitRule({ limit: { requests: 3, perMs: 1000, burst: 3 } })])]);
  t.is(limiter.passing(6), 3);
});

test('a service of which nothing is known yet is not served', async (t) => {
  using limiter = new TestLimiter([]);
  t.is(limiter.sendNow(), 'pass');
  const { head, downstream: known } = limitedRequest();
  const { version, remote, local } = known;
  const service = makeService({ name: 'other' });
  const downstream = new Downstream({ version, remote, local, service });
  const request = { head, downstream, rateLimitFields: undefined };
  const verdict = await limiter.limiter.limitRate(request);
  t.is(verdict?.status, 500);
});

test('a header that is too long for a pattern is refused: the rule might have been for it', (t) => {
  const pattern = { name: 'a', kind: 'regex', value: '(x|y|z){1,100}' } as const;
  using limiter = new TestLimiter([rateLimit([limitRule(match({ headers: [pattern] }))])], {
    clock: new HandClock(),
  });
  t.is(limiter.sendNow({ headers: ['a', 'x'.repeat(60_000)] }), '431');
});

test('a global limit without a Redis is as its policy has said', (t) => {
  const limits = (failOpen: boolean): RateLimit[] => [
    rateLimit([limitRule()], { scope: 'global', failOpen }),
  ];
  using open = new TestLimiter(limits(true));
  t.is(open.sendNow(), 'pass');
  t.deepEqual(open.outcomes(), { failed_open: 1 });
  using closed = new TestLimiter(limits(false));
  t.is(closed.sendNow(), '500');
  t.deepEqual(closed.outcomes(), { failed_closed: 1 });
});

test('where one of two policies fails closed, the request fails, and takes nothing of local ones', (t) => {
  using limiter = new TestLimiter(
    [
      rateLimit([limitRule({ name: 'local', limit: ONE })]),
      rateLimit([limitRule({ name: 'open' })], { scope: 'global', failOpen: true }),
      rateLimit(
        [limitRule({ name: 'closed', ...match({ path: { kind: 'exact', value: '/a' } }) })],
        { scope: 'global' },
      ),
    ],
    { clock: new HandClock() },
  );
  for (let index = 0; index < 5; index++) t.is(limiter.sendNow({ path: '/a' }), '500');
  t.is(limiter.sendNow(), 'pass');
  t.is(limiter.sendNow(), '429');
});

test('limiters of one process count together, each key and each rule by itself', (t) => {
  const processMemory = ProcessBuckets.makeMemory(1024);
  const limits = [
    rateLimit([limitRule({ limit: { requests: 6, perMs: 3_600_000, burst: 6 }, ...BY_IDENTITY })]),
  ];
  using one = new TestLimiter(limits, { processMemory });
  using other = new TestLimiter(limits, { processMemory });
  t.is(one.passing(4, { client: 'shop/a' }), 4);
  t.is(other.passing(4, { client: 'shop/a' }), 2);
  t.is(one.passing(4, { client: 'shop/a' }), 0);
  t.is(other.passing(10, { client: 'shop/b' }), 6);
  t.deepEqual(other.outcomes(), { admitted: 8, limited: 6 });
});

test('a client is told what all limiters of the process have left', (t) => {
  const processMemory = ProcessBuckets.makeMemory(1024);
  const rules = [limitRule({ limit: { requests: 6, perMs: 3_600_000, burst: 6 } })];
  const limits = [rateLimit(rules, { tellsClients: true })];
  using one = new TestLimiter(limits, { processMemory });
  using other = new TestLimiter(limits, { processMemory });
  one.passing(4);
  const sent = limitedRequest();
  t.is(other.limiter.limitRate(sent), undefined);
  t.is(findHeader(tellRateLimits(sent, []), 'x-ratelimit-remaining'), '1');
});

test('a request that one policy refuses takes no tokens of another, also in shared memory', (t) => {
  const processMemory = ProcessBuckets.makeMemory(1024);
  const hour = (requests: number): Partial<RateLimitRule> => ({
    limit: { requests, perMs: 3_600_000, burst: requests },
  });
  const wide = rateLimit([limitRule({ ...hour(10), counter: 'wide' })]);
  const narrow = rateLimit([limitRule({ ...hour(2), counter: 'narrow' })]);
  using both = new TestLimiter([wide, narrow], { processMemory });
  t.is(both.passing(10), 2);
  using alone = new TestLimiter([wide], { processMemory });
  t.is(alone.passing(20), 8);
});

function served(t: Parameters<typeof serveH2>[0], limits: readonly RateLimit[]): TestWaypoint {
  const limiter = new TestLimiter(limits, { clock: new HandClock() });
  const upstream = serveH2(t, (stream) => {
    stream.respond([':status', '200'], { endStream: true });
  });
  return new TestWaypoint(t, [upstream.port], {
    service: WEB,
    parts: {
      limitRate: (one) => limiter.limiter.limitRate(one),
      filterResponse: (one, list) => tellRateLimits(one, list),
    },
  });
}

test('a gateway counts what comes to it by its own policies, and by the addresses of its clients', (t) => {
  const perAddress = limitRule({ limit: ONE, key: [{ kind: 'client-address' }] });
  using limiter = new TestLimiter([rateLimit([limitRule({ limit: ONE })])], {
    ...{ clock: new HandClock(), gatewayLimits: [rateLimit([perAddress])] },
  });
  t.is(limiter.sendNow({ toGateway: true, address: '192.0.2.1' }), 'pass');
  t.is(limiter.sendNow({ toGateway: true, address: '192.0.2.1' }), '429');
  t.is(limiter.sendNow({ toGateway: true, address: '192.0.2.2' }), 'pass');
  t.is(limiter.sendNow(), 'pass', 'what is counted for a service is counted apart');
});

test('a gateway without policies counts nothing', (t) => {
  using limiter = new TestLimiter([rateLimit([limitRule({ limit: ONE })])]);
  t.is(limiter.passing(5, { toGateway: true }), 5);
});

test('responses tell what is left, and the one too many is answered with 429 and when to come again', async (t) => {
  const limit = { requests: 2, perMs: 60_000, burst: 2 };
  const waypoint = served(t, [rateLimit([limitRule({ limit })], { tellsClients: true })]);
  const connection = await waypoint.connect(t);
  const ask = async (): Promise<readonly string[]> => {
    const [stream, body, told] = openStream(connection);
    stream.end();
    await body.until((c) => c.ended || c.error !== undefined);
    return told.responses[0] ?? [];
  };
  const fields = (list: readonly string[]): (string | undefined)[] =>
    [
      ':status',
      'x-ratelimit-limit',
      'x-ratelimit-remaining',
      'x-ratelimit-reset',
      'retry-after',
    ].map((name) => findHeader(list, name));
  t.deepEqual(fields(await ask()), ['200', '2, 2;w=60', '1', '30', undefined]);
  t.deepEqual(fields(await ask()), ['200', '2, 2;w=60', '0', '60', undefined]);
  t.deepEqual(fields(await ask()), ['429', '2, 2;w=60', '0', '60', '30']);
  const record = await waypoint.record(3);
  t.is(
    `${formatFlags(record.flags)} ${record.details} ${record.policy}`,
    'RL local_rate_limited shop/limit',
  );
});

test('a gRPC client is told RESOURCE_EXHAUSTED', async (t) => {
  const none = { requests: 0, perMs: 1000, burst: 0 };
  const waypoint = served(t, [rateLimit([limitRule({ limit: none })])]);
  const list = [...request(), 'content-type', 'application/grpc'];
  const [stream, body, told] = openStream(await waypoint.connect(t), list);
  stream.end();
  await body.until((c) => c.ended || c.error !== undefined);
  const record = await waypoint.record();
  t.is(record.grpcStatus, 8);
  t.is(findHeader(told.responses[0] ?? [], 'grpc-status'), '8');
  t.is(findHeader(told.responses[0] ?? [], 'retry-after'), undefined, 'it will never have tokens');
});
