import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setImmediate as turn } from 'node:timers/promises';
import test from 'ava';
import { Redis } from 'ioredis';
import type { RateLimit } from '../../../mesh/model/rate-limit.ts';
import { RedisServer, TamperedRedis, type Tampering } from '../../support/redis-server.ts';
import { limitRule, rateLimit, TestLimiter, type SentRequest } from '../../support/rate-limits.ts';

/** The bound of what Redis may add to a request, however it is. */
const MAX_ADDED_MS = 50;
const PATIENCE_MS = 10_000;

/** So slow that no token drops in while a test runs. */
const HUNDRED_A_DAY = { requests: 100, perMs: 86_400_000, burst: 100 };
const PLENTY = { requests: 10_000_000, perMs: 1000, burst: 10_000_000 };

function globalLimit(rule: Parameters<typeof limitRule>[0], failOpen = false): RateLimit[] {
  return [rateLimit([limitRule(rule)], { scope: 'global', failOpen })];
}

async function connected(
  t: { teardown(run: () => void): void },
  redisUrl: string,
  limits: readonly RateLimit[],
): Promise<TestLimiter> {
  const limiter = new TestLimiter(limits, { redisUrl });
  t.teardown(() => {
    limiter[Symbol.dispose]();
  });
  await limiter.available(true);
  return limiter;
}

type Load = Readonly<{ outcomes: ReadonlyMap<string, number>; slowestMs: number; lateMs: number }>;

/** Requests in waves until told to stop; how they ended, and how much the slowest was held up. */
async function load(limiter: TestLimiter, until: AbortSignal, sent?: SentRequest): Promise<Load> {
  const outcomes = new Map<string, number>();
  let slowestMs = 0;
  // What this machine adds by itself, when others use it.
  const loop = monitorEventLoopDelay({ resolution: 1 });
  loop.enable();
  const send = async (): Promise<void> => {
    const startMs = performance.now();
    const outcome = await limiter.send(sent);
    slowestMs = Math.max(slowestMs, performance.now() - startMs);
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  };
  while (!until.aborted) {
    await Promise.all(Array.from({ length: 10 }, send));
    await turn();
  }
  loop.disable();
  return { outcomes, slowestMs, lateMs: loop.max / 1e6 };
}

function isHeldUpTooLong({ slowestMs, lateMs }: Load): boolean {
  return slowestMs > MAX_ADDED_MS + lateMs;
}

/** Of a limit that fails closed: what Redis says, asked again as long as its answer is late, for others use this machine. */
async function answer(limiter: TestLimiter): Promise<string> {
  const endMs = performance.now() + PATIENCE_MS;
  let outcome = await limiter.send();
  while (outcome === '500' && performance.now() < endMs) {
    await turn();
    outcome = await limiter.send();
  }
  return outcome;
}

test.serial(
  'replicas that count in one Redis let exactly as many requests pass as one would',
  async (t) => {
    const redis = await RedisServer.start(t);
    const limits = globalLimit({ limit: HUNDRED_A_DAY, key: [{ kind: 'identity' }] });
    const replicas = await Promise.all([1, 2, 3].map(() => connected(t, redis.url, limits)));
    for (const client of ['shop/a', 'shop/b']) {
      const outcomes: string[] = [];
      // Few at once: an answer that is late counts as none, and its tokens are taken all the same.
      while (outcomes.filter((one) => one === '429').length < 60) {
        const wave = replicas.flatMap((one) => [one.send({ client }), one.send({ client })]);
        outcomes.push(...(await Promise.all(wave)));
      }
      const count = (of: string): number => outcomes.filter((one) => one === of).length;
      t.true(count('pass') <= 100);
      t.true(count('pass') + count('500') >= 100, `${count('pass')} and ${count('500')}`);
      t.log(`${count('pass')} passed, ${count('500')} had no answer`);
    }
  },
);

test.serial('a request takes the tokens of all of its global limits, or of none', async (t) => {
  const redis = await RedisServer.start(t);
  const narrow = { requests: 2, perMs: 86_400_000, burst: 2 };
  const limits = [
    ...globalLimit({ name: 'wide', limit: { ...HUNDRED_A_DAY, burst: 5 } }),
    ...globalLimit({
      ...{ name: 'narrow', limit: narrow },
      match: { path: { kind: 'exact', value: '/a' } },
    }),
  ];
  const limiter = await connected(t, redis.url, limits);
  const outcomes: string[] = [];
  for (const path of ['/a', '/a', '/a', '/a', '/', '/', '/', '/'])
    outcomes.push(await limiter.send({ path }));
  t.deepEqual(outcomes, ['pass', 'pass', '429', '429', 'pass', 'pass', 'pass', '429']);
});

test.serial(
  'what is stored has no value in it that a client sent, and goes when the bucket is full',
  async (t) => {
    const redis = await RedisServer.start(t);
    const limit = { requests: 1, perMs: 60_000, burst: 1 };
    const key = [{ kind: 'header', name: 'authorization' } as const];
    const limiter = await connected(t, redis.url, globalLimit({ limit, key }));
    await limiter.send({ headers: ['authorization', 'secret-token'] });
    const client = new Redis(redis.url);
    t.teardown(() => {
      client.disconnect();
    });
    const [stored = '', ...others] = await client.keys('*');
    t.deepEqual(others, []);
    t.regex(stored, /^halo:limit:[\w-]{43}$/);
    t.false(`${stored} ${await client.get(stored)}`.includes('secret'));
    const leftMs = await client.pttl(stored);
    t.true(leftMs > 50_000 && leftMs <= 60_000, String(leftMs));
  },
);

test.serial('a bucket that is full again in Redis can be used again', async (t) => {
  const redis = await RedisServer.start(t);
  const limiter = await connected(
    t,
    redis.url,
    globalLimit({ limit: { requests: 20, perMs: 1000, burst: 1 } }),
  );
  const startMs = performance.now();
  let passed = 0;
  while (passed < 5) if ((await limiter.send()) === 'pass') passed++;
  const tookMs = performance.now() - startMs;
  t.true(tookMs >= 4 * 50 - 2, `5 requests at 20 a second took ${tookMs} ms`); // its clock is in whole milliseconds
});

test.serial('a server that has forgotten the script is told it again', async (t) => {
  const redis = await RedisServer.start(t);
  const limiter = await connected(t, redis.url, globalLimit({ limit: HUNDRED_A_DAY }));
  const client = new Redis(redis.url);
  t.teardown(() => {
    client.disconnect();
  });
  t.is(await limiter.send(), 'pass');
  await client.script('FLUSH');
  t.is(await limiter.send(), 'pass');
});

test.serial('a key that holds something else is a failure of that request alone', async (t) => {
  const redis = await RedisServer.start(t);
  const limits = globalLimit({ limit: HUNDRED_A_DAY, key: [{ kind: 'identity' }] });
  const limiter = await connected(t, redis.url, limits);
  await limiter.send({ client: 'shop/a' });
  const client = new Redis(redis.url);
  t.teardown(() => {
    client.disconnect();
  });
  const [stored = ''] = await client.keys('*');
  for (const make of [
    () => client.lpush(stored, 'x'),
    () => client.set(stored, 'no bucket'),
    () => client.hset(stored, 'a', 'b'),
  ]) {
    await client.del(stored);
    await make();
    t.is(await limiter.send({ client: 'shop/a' }), '500');
    t.is(await limiter.send({ client: 'shop/b' }), 'pass');
  }
});

for (const failOpen of [false, true]) {
  const word = failOpen ? 'open' : 'closed';
  const lost = failOpen ? 'pass' : '500';

  test.serial(
    `limits that fail ${word} do so while Redis is killed, and count again when it is back`,
    async (t) => {
      const redis = await RedisServer.start(t);
      const limiter = await connected(t, redis.url, globalLimit({ limit: PLENTY }, failOpen));
      const stop = new AbortController();
      t.teardown(() => {
        stop.abort();
      });
      const loading = load(limiter, stop.signal);
      await redis.kill();
      await limiter.available(false);
      t.is(limiter.sendNow(), lost, 'at once: nobody waits for a Redis that is gone');
      await redis.run();
      await limiter.available(true);
      stop.abort();
      const seen = await loading;
      t.false(isHeldUpTooLong(seen), JSON.stringify(seen));
      t.true((seen.outcomes.get(lost) ?? 0) > 0);
      for (const outcome of seen.outcomes.keys()) t.true(['pass', lost].includes(outcome), outcome);
      const none = { requests: 0, perMs: 1000, burst: 0 };
      limiter.configure(globalLimit({ limit: none }, failOpen));
      t.is(await limiter.send(), '429', 'it counts again');
    },
  );

  test.serial(
    `limits that fail ${word} do so while Redis is stopped, and hold nobody up`,
    async (t) => {
      const redis = await RedisServer.start(t);
      const none = { requests: 0, perMs: 1000, burst: 0 };
      const limiter = await connected(t, redis.url, globalLimit({ limit: none }, failOpen));
      t.is(await limiter.send(), '429');
      redis.signal('SIGSTOP');
      const stop = new AbortController();
      t.teardown(() => {
        stop.abort();
      });
      const loading = load(limiter, stop.signal);
      await limiter.available(false);
      t.is(limiter.sendNow(), lost);
      stop.abort();
      const seen = await loading;
      t.false(isHeldUpTooLong(seen), JSON.stringify(seen));
      t.true((seen.outcomes.get(lost) ?? 0) >= 3);
      redis.signal('SIGCONT');
      // It is by a request that a connection that was slow is tried again.
      while (limiter.events.at(-1)?.kind !== 'available') {
        t.true([lost, '429'].includes(await limiter.send()));
        await turn();
      }
      t.is(await limiter.send(), '429');
    },
  );
}

/** What attack C7 lists, on the way between. */
const tamperings: readonly (readonly [string, Tampering])[] = [
  ['five seconds late', { kind: 'late', delayMs: 5000 }],
  ['cut in half', { kind: 'half' }],
  ['those of another type', { kind: 'instead', answer: '+OK\r\n' }],
  ['of a wrong length', { kind: 'instead', answer: '*1\r\n:1\r\n' }],
  ['MOVED', { kind: 'instead', answer: '-MOVED 3999 127.0.0.1:1\r\n' }],
  ['NOAUTH', { kind: 'instead', answer: '-NOAUTH Authentication required.\r\n' }],
  ['READONLY', { kind: 'instead', answer: "-READONLY You can't write\r\n" }],
  ['no Redis protocol at all', { kind: 'instead', answer: 'HTTP/1.1 400 Bad Request\r\n\r\n' }],
];

for (const [name, tampering] of tamperings)
  test.serial(
    `answers that are ${name} count as none, and soon nobody waits for them (C7)`,
    async (t) => {
      const redis = await RedisServer.start(t);
      const tampered = await TamperedRedis.listen(t, redis);
      const closed = await connected(t, tampered.url, globalLimit({ limit: PLENTY }));
      const open = await connected(t, tampered.url, globalLimit({ limit: PLENTY }, true));
      t.is(await answer(closed), 'pass');
      tampered.tampering = tampering;
      const stop = new AbortController();
      t.teardown(() => {
        stop.abort();
      });
      const loads = Promise.all([load(closed, stop.signal), load(open, stop.signal)]);
      await Promise.all([closed.available(false), open.available(false)]);
      t.is(closed.sendNow(), '500');
      t.is(open.sendNow(), 'pass');
      stop.abort();
      for (const seen of await loads) t.false(isHeldUpTooLong(seen), JSON.stringify(seen));
      tampered.tampering = { kind: 'nothing' };
      tampered.cut();
      await Promise.all([closed.available(true), open.available(true)]);
      t.is(await answer(closed), 'pass');
    },
  );

test.serial(
  'a Redis that restarts under load never lets more pass than its limit each time',
  async (t) => {
    const redis = await RedisServer.start(t);
    const limits = globalLimit({ limit: HUNDRED_A_DAY });
    const replicas = await Promise.all([1, 2].map(() => connected(t, redis.url, limits)));
    const stop = new AbortController();
    t.teardown(() => {
      stop.abort();
    });
    const loading = Promise.all(replicas.map((one) => load(one, stop.signal)));
    await redis.kill();
    await Promise.all(replicas.map((one) => one.available(false)));
    await redis.run();
    await Promise.all(replicas.map((one) => one.available(true)));
    while ((await replicas[0]?.send()) !== '429') await turn();
    stop.abort();
    const loads = await loading;
    const passed = loads.reduce((sum, { outcomes }) => sum + (outcomes.get('pass') ?? 0), 0);
    // It forgets what it has counted when it keeps nothing on disk: each life of it has a bucket.
    t.true(passed <= 200, String(passed));
    for (const seen of loads) t.false(isHeldUpTooLong(seen), JSON.stringify(seen));
  },
);
