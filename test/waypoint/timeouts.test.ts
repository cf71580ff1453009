import test from 'ava';
import { CANCEL, INTERNAL_ERROR } from '../../net/h2/errors.ts';
import { DATA, FLAG_END_STREAM, HEADERS, RST_STREAM } from '../../net/h2/frame.ts';
import { findHeader } from '../../net/h2/headers.ts';
import { parseGrpcTimeout } from '../../waypoint/grpc.ts';
import { DEFAULT_SETTINGS } from '../../waypoint/request-parts.ts';
import { formatFlags } from '../../waypoint/response-flags.ts';
import { Deadline, Deadlines, requestTimeoutMs } from '../../waypoint/timeout.ts';
import { makeH2Clock } from '../support/h2-clock.ts';
import { openStream } from '../support/h2-client.ts';
import { frame, headers, request } from '../support/h2-frames.ts';
import { serveH2 } from '../support/h2-peer.ts';
import { policy, RawUpstream, TestWaypoint } from '../support/waypoint-requests.ts';

const E = FLAG_END_STREAM;

test('parseGrpcTimeout() reads each unit, and nothing else', (t) => {
  const cases: (readonly [string, number | undefined])[] = [
    ...([
      ['1H', 3_600_000],
      ['2M', 120_000],
      ['3S', 3000],
      ['4m', 4],
      ['5000u', 5],
    ] as const),
    ...([
      ['1n', 1],
      ['0m', 1],
      ['99999999S', 99_999_999_000],
    ] as const),
  ];
  for (const text of ['', '5', 'm', '123456789m', '-1m', '1.5S', '1s', ' 1m'])
    cases.push([text, undefined]);
  for (const [text, ms] of cases) t.is(parseGrpcTimeout(text), ms, text);
});

test('requestTimeoutMs() is the smaller of those that are there', (t) => {
  t.is(requestTimeoutMs(undefined, undefined), undefined);
  t.is(requestTimeoutMs(100, undefined), 100);
  t.is(requestTimeoutMs(undefined, 50), 50);
  t.is(requestTimeoutMs(100, 50), 50);
  t.is(requestTimeoutMs(100, 500), 100);
});

test('Deadlines tells each that is due, never one that was cleared, and none early', (t) => {
  const clock = makeH2Clock();
  const deadlines = new Deadlines(clock);
  const told: string[] = [];
  const make = (name: string, then: () => void = () => undefined): Deadline =>
    new Deadline({
      onDeadline: () => {
        told.push(`${name}@${clock.now()}`);
        then();
      },
    });
  const late = make('late');
  const cleared = make('cleared');
  const again = make('again');
  const sibling = make('sibling');
  const first = make('first', () => {
    deadlines.clear(sibling);
    deadlines.set(again, 20);
  });
  deadlines.set(late, 1000);
  deadlines.set(cleared, 50);
  deadlines.set(first, 100);
  deadlines.set(sibling, 101);
  deadlines.clear(cleared);
  for (let ms = 0; ms < 99; ms++) clock.advance(1);
  t.deepEqual(told, []);
  for (let ms = 0; ms < 1200; ms++) clock.advance(1);
  t.is(told.length, 3);
  const times = told.map((text) => Number(text.split('@')[1]));
  t.deepEqual(
    told.map((text) => text.split('@')[0]),
    ['first', 'again', 'late'],
  );
  t.true((times[0] ?? 0) >= 100 && (times[0] ?? 0) <= 106, `${times[0]}`);
  t.true((times[1] ?? 0) <= (times[0] ?? 0) + 26, `${times[1]}`);
  t.true((times[2] ?? 0) >= 1000 && (times[2] ?? 0) <= 1006, `${times[2]}`);
});

test('property: whatever is set and cleared, each deadline is told once, at most a grain late', (t) => {
  let seed = 7;
  const random = (below: number): number => (seed = (seed * 48_271) % 0x7fff_ffff) % below;
  const clock = makeH2Clock();
  const deadlines = new Deadlines(clock);
  const due = new Map<Deadline, number>();
  const owner = {
    onDeadline: (deadline: Deadline) => {
      const atMs = due.get(deadline) ?? Infinity;
      if (clock.now() < atMs || clock.now() > atMs + 6) t.fail(`${clock.now()} for ${atMs}`);
      due.delete(deadline);
    },
  };
  const all = Array.from({ length: 50 }, () => new Deadline(owner));
  for (let step = 0; step < 20_000; step++) {
    const one = all[random(all.length)];
    if (one === undefined) continue;
    if (random(3) > 0) {
      const inMs = random(random(2) === 0 ? 20 : 400);
      deadlines.set(one, inMs);
      due.set(one, clock.now() + inMs);
    } else {
      deadlines.clear(one);
      due.delete(one);
    }
    clock.advance(random(3));
  }
  for (let ms = 0; ms < 500; ms++) clock.advance(1);
  t.is(due.size, 0);
});

test('a request that takes too long is 504 UT, and the upstream is told', async (t) => {
  const raw = await RawUpstream.listen(t);
  const waypoint = new TestWaypoint(t, [raw.port], { rule: { timeoutMs: 30 } });
  const [stream, body, told] = openStream(await waypoint.connect(t));
  stream.end();
  const upstream = await raw.next();
  const { payload } = await upstream.next((f) => f.type === RST_STREAM);
  t.is(payload.readUInt32BE(0), CANCEL);
  await body.until((c) => c.ended);
  t.is(told.responses[0]?.[1], '504');
  t.is(body.text, 'upstream request timeout');
  const record = await waypoint.record();
  t.is(`${formatFlags(record.flags)} ${record.details}`, 'UT upstream_response_timeout');
  t.deepEqual(waypoint.backend.outcomes, [[raw.port, 'timeout']]);
  t.is(waypoint.backend.active, 0);
});

test('an answer that takes too long is broken off', async (t) => {
  const raw = await RawUpstream.listen(t);
  const waypoint = new TestWaypoint(t, [raw.port], { rule: { timeoutMs: 100 } });
  const [stream, body, told] = openStream(await waypoint.connect(t));
  stream.end();
  const upstream = await raw.next();
  await upstream.next((f) => f.type === HEADERS);
  upstream.send(headers(1, 0, ':status', '200'), frame(DATA, 0, 1, Buffer.from('half')));
  await body.until((c) => c.error !== undefined);
  t.is(told.error?.h2Code, INTERNAL_ERROR);
  t.false(body.ended);
  t.is(formatFlags((await waypoint.record()).flags), 'UT');
});

test('a gRPC client that grants less time than the rule gets UNAVAILABLE after it', async (t) => {
  const raw = await RawUpstream.listen(t);
  const waypoint = new TestWaypoint(t, [raw.port], { rule: { timeoutMs: 60_000 } });
  const list = [...request('POST'), 'content-type', 'application/grpc', 'grpc-timeout', '30m'];
  const [stream, body, told] = openStream(await waypoint.connect(t), list);
  stream.end();
  await body.until((c) => c.ended);
  t.is(findHeader(told.responses[0] ?? [], 'grpc-status'), '14');
  t.is(formatFlags((await waypoint.record()).flags), 'UT');
});

test('a grpc-timeout without gRPC is only a field', async (t) => {
  const upstream = serveH2(t, (stream) => {
    setTimeout(() => stream.respond([':status', '200'], { endStream: true }), 60);
  });
  const waypoint = new TestWaypoint(t, [upstream.port]);
  const [stream, body, told] = openStream(await waypoint.connect(t), [
    ...request('POST'),
    ...['grpc-timeout', '1m'],
  ]);
  stream.end();
  await body.until((c) => c.ended);
  t.is(told.responses[0]?.[1], '200');
});

test('a try over its time is repeated elsewhere; the last one is 504 UT', async (t) => {
  const [first, second] = [await RawUpstream.listen(t), await RawUpstream.listen(t)];
  const retry = policy({ attempts: 1, conditions: ['5xx'], perTryTimeoutMs: 30 });
  const waypoint = new TestWaypoint(t, [first.port, second.port], { rule: { retry } });
  const [stream, body, told] = openStream(await waypoint.connect(t));
  stream.end();
  await (await first.next()).next((f) => f.type === RST_STREAM);
  await (await second.next()).next((f) => f.type === RST_STREAM);
  await body.until((c) => c.ended);
  t.is(told.responses[0]?.[1], '504');
  const record = await waypoint.record();
  t.is(`${formatFlags(record.flags)} ${record.details}`, 'URX,UT upstream_per_try_timeout');
  t.is(record.attempts, 2);
  t.deepEqual(
    waypoint.backend.outcomes.map(([, outcome]) => outcome),
    ['timeout', 'timeout'],
  );
});

test('hedging: the first try goes on beside the next, and the first good answer counts', async (t) => {
  const [first, second] = [await RawUpstream.listen(t), await RawUpstream.listen(t)];
  const retry = policy({ perTryTimeoutMs: 30, hedgeOnPerTryTimeout: true });
  const waypoint = new TestWaypoint(t, [first.port, second.port], { rule: { retry } });
  const [stream, body] = openStream(await waypoint.connect(t), request('POST'));
  await body.write('twice');
  stream.end();
  const slow = await first.next();
  t.is((await slow.data(5)).toString(), 'twice');
  const other = await second.next();
  t.is((await other.data(5)).toString(), 'twice');
  slow.send(headers(1, 0, ':status', '200'), frame(DATA, E, 1, Buffer.from('slow but first')));
  await other.next((f) => f.type === RST_STREAM);
  await body.until((c) => c.ended);
  t.is(body.text, 'slow but first');
  const record = await waypoint.record();
  t.is(record.endpoint?.address.port, first.port);
  t.is(waypoint.backend.active, 0);
  t.is(waypoint.backend.retries, 0);
});

test('hedging: a bad answer of one try leaves the other its chance', async (t) => {
  const [first, second] = [await RawUpstream.listen(t), await RawUpstream.listen(t)];
  const retry = policy({ attempts: 1, perTryTimeoutMs: 30, hedgeOnPerTryTimeout: true });
  const waypoint = new TestWaypoint(t, [first.port, second.port], {
    rule: { retry: { ...retry, perTryTimeoutMs: 200 } },
  });
  const [stream, body, told] = openStream(await waypoint.connect(t));
  stream.end();
  const slow = await first.next();
  const other = await second.next();
  await other.next((f) => f.type === HEADERS);
  slow.send(headers(1, E, ':status', '503'));
  await slow.ping();
  other.send(headers(1, E, ':status', '200'));
  await body.until((c) => c.ended);
  t.is(told.responses[0]?.[1], '200');
});

test('an exchange on which nothing moves is 408 while the request comes, 504 afterwards', async (t) => {
  const raw = await RawUpstream.listen(t);
  const settings = { ...DEFAULT_SETTINGS, streamIdleMs: 40 };
  const waypoint = new TestWaypoint(t, [raw.port], { parts: { settings } });
  const connection = await waypoint.connect(t);
  const [, body, told] = openStream(connection, request('POST'));
  await body.until((c) => c.ended || c.error !== undefined);
  t.is(told.responses[0]?.[1], '408');
  const [stream, answer, then] = openStream(connection, request('POST'));
  stream.end();
  await answer.until((c) => c.ended);
  t.is(then.responses[0]?.[1], '504');
  t.is(formatFlags((await waypoint.record(2)).flags), 'SI');
});
