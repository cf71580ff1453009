import test from 'ava';
import type { RetryCondition } from '../../mesh/model/http-route.ts';
import { INTERNAL_ERROR, REFUSED_STREAM } from '../../net/h2/errors.ts';
import { DATA, HEADERS, RST_STREAM } from '../../net/h2/frame.ts';
import type { HeaderList } from '../../net/h2/headers.ts';
import type { Http2Stream } from '../../net/h2/stream.ts';
import { REPLAY_BYTES, replayPiecesInUse } from '../../waypoint/replay-body.ts';
import { formatFlags } from '../../waypoint/response-flags.ts';
import { Collector } from '../support/collect.ts';
import { openStream } from '../support/h2-client.ts';
import { frame, headers, request, setting, u32 } from '../support/h2-frames.ts';
import { serveH2 } from '../support/h2-peer.ts';
import { closedPort, policy, RawUpstream, TestWaypoint } from '../support/waypoint-requests.ts';

type Answer = (stream: Http2Stream, list: HeaderList) => void;
const status =
  (code: number, ...more: string[]): Answer =>
  (stream) =>
    stream.respond([':status', `${code}`, ...more], { endStream: true });
const resetBy =
  (code: number): Answer =>
  (stream) => {
    stream.reset(code);
  };

/** What a client sees when the first endpoint does one thing and the second answers 200. */
const tries = test.macro({
  async exec(
    t,
    first: Answer,
    given: { conditions?: RetryCondition[]; codes?: number[]; method?: string; grpc?: boolean },
    expected: string,
  ) {
    const failing = serveH2(t, first);
    const good = serveH2(t, (stream) => {
      stream.respond([':status', '200'], { endStream: true });
    });
    const { conditions, codes = [], method = 'POST', grpc } = given;
    const retry = conditions === undefined ? undefined : policy({ conditions, statusCodes: codes });
    const waypoint = new TestWaypoint(t, [failing.port, good.port], {
      rule: retry === undefined ? {} : { retry },
    });
    const list = request(method);
    if (grpc === true) list.push('content-type', 'application/grpc');
    const [stream, body, told] = openStream(await waypoint.connect(t), list);
    stream.end();
    await body.until((c) => c.ended);
    const record = await waypoint.record();
    t.is(`${told.responses[0]?.[1]} ${formatFlags(record.flags)} ${record.attempts}`, expected);
    t.is(waypoint.backend.active, 0);
    t.is(waypoint.backend.retries, 0);
    t.is(waypoint.backend.outcomes.length, record.attempts, 'each try is judged once');
  },
  title: (given = '') => given,
});

test('5xx repeats a 500', tries, status(500), { conditions: ['5xx'] }, '200 - 2');
test('5xx does not repeat a 404', tries, status(404), { conditions: ['5xx'] }, '404 - 1');
test(
  'gateway-error repeats a 503',
  tries,
  status(503),
  { conditions: ['gateway-error'] },
  '200 - 2',
);
test(
  'gateway-error does not repeat a 500',
  tries,
  status(500),
  { conditions: ['gateway-error'] },
  '500 - 1',
);
test(
  'an upstream that says it is overloaded is not asked again',
  tries,
  status(503, 'x-envoy-overloaded', 'true'),
  { conditions: ['5xx'] },
  '503 - 1',
);
test(
  'retriable-status-codes repeats the codes of the policy',
  tries,
  status(429),
  { conditions: ['retriable-status-codes'], codes: [429] },
  '200 - 2',
);
test(
  'retriable-4xx repeats a 409',
  tries,
  status(409),
  { conditions: ['retriable-4xx'] },
  '200 - 2',
);
test('reset repeats a reset', tries, resetBy(INTERNAL_ERROR), { conditions: ['reset'] }, '200 - 2');
test(
  'connect-failure does not repeat a reset',
  tries,
  resetBy(INTERNAL_ERROR),
  { conditions: ['connect-failure'] },
  '503 UR 1',
);
test(
  'refused-stream repeats a refused stream',
  tries,
  resetBy(REFUSED_STREAM),
  { conditions: ['refused-stream'] },
  '200 - 2',
);
test(
  'unavailable repeats a gRPC status in the head',
  tries,
  status(200, 'grpc-status', '14'),
  { conditions: ['unavailable'], grpc: true },
  '200 - 2',
);
test('without a policy a refused POST is repeated', tries, resetBy(REFUSED_STREAM), {}, '200 - 2');
test(
  'without a policy a reset POST is not repeated',
  tries,
  resetBy(INTERNAL_ERROR),
  {},
  '503 UR 1',
);
test(
  'without a policy a reset GET is repeated',
  tries,
  resetBy(INTERNAL_ERROR),
  { method: 'GET' },
  '200 - 2',
);
test('without a policy a 503 is not repeated', tries, status(503), { method: 'GET' }, '503 - 1');

test('the last answer is the client’s when all retries are used up', async (t) => {
  const upstream = serveH2(t, (stream) => {
    stream.respond([':status', '503', 'x-app', 'tired']);
    void new Collector(stream).write('try later').then(() => {
      stream.end();
    });
  });
  const waypoint = new TestWaypoint(t, [upstream.port], { rule: { retry: policy({}) } });
  const [stream, body, told] = openStream(await waypoint.connect(t));
  stream.end();
  await body.until((c) => c.ended);
  t.is(told.responses[0]?.[1], '503');
  t.is(body.text, 'try later');
  const record = await waypoint.record();
  t.is(`${formatFlags(record.flags)} ${record.details} ${record.attempts}`, 'URX via_upstream 3');
});

test.serial(
  'a body within 64 KiB is sent again as it was, however slowly the first endpoint took it',
  async (t) => {
    const first = await RawUpstream.listen(t, setting(4, 30_000));
    const got: Buffer[] = [];
    const second = serveH2(t, (stream) => {
      const body = new Collector(stream);
      void body
        .until((c) => c.ended)
        .then(() => {
          got.push(body.data);
          stream.respond([':status', '200'], { endStream: true });
        });
    });
    const third = serveH2(t, resetBy(INTERNAL_ERROR));
    const waypoint = new TestWaypoint(t, [first.port, third.port, second.port], {
      rule: { retry: policy({ conditions: ['reset'] }) },
    });
    const upload = Buffer.alloc(REPLAY_BYTES).map((_, index) => index % 239);
    const [stream, body] = openStream(await waypoint.connect(t), request('POST'));
    await body.write(upload.subarray(0, 100));
    const peer = await first.next();
    t.is((await peer.data(100)).length, 100);
    await peer.ping(); // the window is known
    await body.write(upload.subarray(100, 50_000));
    t.is((await peer.data(29_900)).length, 29_900);
    peer.send(frame(RST_STREAM, 0, 1, u32(INTERNAL_ERROR)));
    await body.write(upload.subarray(50_000));
    stream.end();
    await body.until((c) => c.ended);
    t.is(got.length, 1);
    t.true(got[0]?.equals(upload));
    t.is((await waypoint.record()).attempts, 3);
    t.is(replayPiecesInUse(), 0);
  },
);

test.serial('a body beyond 64 KiB is not sent again', async (t) => {
  const first = await RawUpstream.listen(t);
  const waypoint = new TestWaypoint(t, [first.port, await closedPort()], {
    rule: { retry: policy({ conditions: ['reset', 'connect-failure'] }) },
  });
  const [, body, told] = openStream(await waypoint.connect(t), request('POST'));
  const peer = await first.next();
  await peer.next((f) => f.type === HEADERS);
  await body.write(Buffer.alloc(REPLAY_BYTES));
  let got = (await peer.data(65_000)).length;
  peer.send(frame(8, 0, 0, u32(1 << 20)), frame(8, 0, 1, u32(1 << 20)));
  await body.write('x');
  while (got < REPLAY_BYTES + 1) got += (await peer.next((f) => f.type === DATA)).payload.length;
  peer.send(frame(RST_STREAM, 0, 1, u32(INTERNAL_ERROR)));
  await body.until((c) => c.ended || c.error !== undefined);
  t.is(told.responses[0]?.[1], '503');
  const record = await waypoint.record();
  t.is(`${formatFlags(record.flags)} ${record.attempts}`, 'UR 1');
  t.is(replayPiecesInUse(), 0);
});

test('a client that leaves between two tries gives its retry back', async (t) => {
  const upstream = serveH2(t, status(503));
  const waypoint = new TestWaypoint(t, [upstream.port], {
    rule: { retry: policy({ backoffMs: 60_000 }) },
    parts: { random: () => 0.9 },
  });
  const [stream] = openStream(await waypoint.connect(t));
  stream.end();
  while (waypoint.backend.retries === 0) await new Promise((resolve) => setImmediate(resolve));
  stream.reset();
  t.is((await waypoint.record()).attempts, 1);
  t.is(waypoint.backend.retries, 0);
  t.is(waypoint.backend.active, 0);
});

test('an answer that says when to come back is not asked again before', async (t) => {
  const times: number[] = [];
  const upstream = serveH2(t, (stream) => {
    times.push(performance.now());
    const again = times.length > 1;
    stream.respond(again ? [':status', '200'] : [':status', '503', 'retry-after', '1'], {
      endStream: true,
    });
  });
  const waypoint = new TestWaypoint(t, [upstream.port], { rule: { retry: policy({}) } });
  const [stream, body, told] = openStream(await waypoint.connect(t));
  stream.end();
  await body.until((c) => c.ended);
  t.is(told.responses[0]?.[1], '200');
  t.true((times[1] ?? 0) - (times[0] ?? 0) >= 995);
});

test('an answer that says to come back after the request’s time is the client’s', async (t) => {
  const upstream = serveH2(t, (stream) => {
    stream.respond([':status', '429', 'retry-after', '5'], { endStream: true });
  });
  const retry = policy({ conditions: ['retriable-status-codes'], statusCodes: [429] });
  const waypoint = new TestWaypoint(t, [upstream.port], { rule: { retry, timeoutMs: 4000 } });
  const [stream, body, told] = openStream(await waypoint.connect(t));
  stream.end();
  await body.until((c) => c.ended);
  t.is(told.responses[0]?.[1], '429');
  t.is((await waypoint.record()).attempts, 1);
});

test('nothing is repeated once an answer has begun', async (t) => {
  const first = await RawUpstream.listen(t);
  const waypoint = new TestWaypoint(t, [first.port, await closedPort()], {
    rule: { retry: policy({ conditions: ['5xx', 'reset'] }) },
  });
  const [stream, body, told] = openStream(await waypoint.connect(t));
  stream.end();
  const peer = await first.next();
  await peer.next((f) => f.type === HEADERS);
  peer.send(headers(1, 0, ':status', '200'), frame(RST_STREAM, 0, 1, u32(INTERNAL_ERROR)));
  await body.until((c) => c.error !== undefined);
  t.is(told.responses.length, 1);
  t.is((await waypoint.record()).attempts, 1);
});

test('a spent budget lets the answer through, with UO', async (t) => {
  const upstream = serveH2(t, status(503));
  const waypoint = new TestWaypoint(t, [upstream.port], { rule: { retry: policy({}) } });
  waypoint.backend.maxRetries = 0;
  const [stream, body, told] = openStream(await waypoint.connect(t));
  stream.end();
  await body.until((c) => c.ended);
  t.is(told.responses[0]?.[1], '503');
  t.is(formatFlags((await waypoint.record()).flags), 'UO');
});

test('an open circuit breaker is 503 UO, and says so to the client', async (t) => {
  const waypoint = new TestWaypoint(t, [await closedPort()]);
  waypoint.backend.maxRequests = 0;
  const [stream, body, told] = openStream(await waypoint.connect(t));
  stream.end();
  await body.until((c) => c.ended);
  t.true(told.responses[0]?.join().includes('x-envoy-overloaded,true'));
  t.regex(body.text, /reset reason: overflow$/);
  t.is(formatFlags((await waypoint.record()).flags), 'UO');
});

test('more requests than may wait for a connection are 503 UO, without a retry', async (t) => {
  const waypoint = new TestWaypoint(t, [await closedPort()], { rule: { retry: policy({}) } });
  waypoint.backend.limits = { ...waypoint.backend.limits, maxPendingRequests: 0 };
  const [stream, body, told] = openStream(await waypoint.connect(t));
  stream.end();
  await body.until((c) => c.ended);
  t.is(told.responses[0]?.[1], '503');
  const record = await waypoint.record();
  t.is(`${formatFlags(record.flags)} ${record.attempts}`, 'UO 1');
  t.deepEqual(waypoint.backend.outcomes, []);
});

test('no usable endpoint is 503 UH', async (t) => {
  const waypoint = new TestWaypoint(t, [1]);
  waypoint.backend.chooseEndpoint = () => undefined;
  const [stream, body] = openStream(await waypoint.connect(t));
  stream.end();
  await body.until((c) => c.ended);
  t.is(body.text, 'no healthy upstream');
  const record = await waypoint.record();
  t.is(
    `${record.status} ${formatFlags(record.flags)} ${record.details}`,
    '503 UH no_healthy_upstream',
  );
});
