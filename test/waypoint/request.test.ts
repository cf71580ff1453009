import { EventEmitter, once } from 'node:events';
import test from 'ava';
import { DATA, FLAG_END_STREAM, HEADERS, RST_STREAM } from '../../net/h2/frame.ts';
import { findHeader } from '../../net/h2/headers.ts';
import { FI, formatFlags, RL } from '../../waypoint/response-flags.ts';
import type { RequestParts, Verdict } from '../../waypoint/request-parts.ts';
import { Deadlines } from '../../waypoint/timeout.ts';
import { makeH2Clock } from '../support/h2-clock.ts';
import { openStream } from '../support/h2-client.ts';
import { frame, headers, request, setting } from '../support/h2-frames.ts';
import { serveH2 } from '../support/h2-peer.ts';
import { RawUpstream, TestWaypoint } from '../support/waypoint-requests.ts';

const E = FLAG_END_STREAM;
const DENIED: Verdict = {
  status: 403,
  flags: 0,
  details: 'rbac_access_denied_matched_policy[ns[shop]-policy[only-web]-rule[0]]',
  body: 'RBAC: access denied',
  policy: 'shop/only-web',
};

/** What a client gets for these steps, of which none may reach an upstream. */
const refused = test.macro({
  async exec(t, parts: Partial<RequestParts>, list: string[], expected: string, text: string) {
    let asked = 0;
    const upstream = serveH2(t, (stream) => {
      asked++;
      stream.respond([':status', '200'], { endStream: true });
    });
    const waypoint = new TestWaypoint(t, [upstream.port], { parts });
    const [, body, told] = openStream(await waypoint.connect(t), list);
    await body.write('a body that nobody wants');
    await body.until((c) => c.ended || c.error !== undefined);
    const record = await waypoint.record();
    t.is(`${record.status} ${formatFlags(record.flags)} ${record.details}`, expected);
    t.is(body.text, text);
    t.is(findHeader(told.responses[0] ?? [], 'server'), 'istio-envoy');
    t.is(asked, 0);
    t.deepEqual(waypoint.faults.length, expected.includes('internal') ? 1 : 0);
    if (expected.startsWith('403 - rbac')) t.is(record.policy, 'shop/only-web');
  },
  title: (given = '') => `serveRequest() refuses ${given}`,
});

const post = request('POST');
test(
  'what policy denies',
  refused,
  { authorize: () => DENIED },
  post,
  `403 - ${DENIED.details}`,
  'RBAC: access denied',
);
test(
  'what an authorization service denies later',
  refused,
  { authorize: async () => await Promise.resolve(DENIED) },
  post,
  `403 - ${DENIED.details}`,
  'RBAC: access denied',
);
test(
  'what has no normal form',
  refused,
  { normalise: () => ({ status: 400, flags: 0, details: 'path', body: 'no' }) },
  post,
  '400 - path',
  'no',
);
test(
  'what is beyond a limit',
  refused,
  {
    limitRate: () => ({
      ...{ status: 429, flags: RL, details: 'request_rate_limited', body: 'local_rate_limited' },
      headers: ['retry-after', '1'],
    }),
  },
  post,
  '429 RL request_rate_limited',
  'local_rate_limited',
);
test(
  'what no rule matches',
  refused,
  { findRule: () => undefined },
  post,
  '404 NR route_not_found',
  '',
);
test(
  'what a filter answers',
  refused,
  {
    filterRequest: () => ({
      ...{ status: 418, flags: FI, details: 'fault_filter_abort', body: 'fault filter abort' },
    }),
  },
  post,
  '418 FI fault_filter_abort',
  'fault filter abort',
);
test('TRACE', refused, {}, request('TRACE'), '405 DPE method_not_allowed', '');
test(
  'a step that fails, with 500',
  refused,
  {
    authorize: () => {
      throw new Error('a fault');
    },
  },
  post,
  '500 LR internal_error',
  '',
);
test(
  'a later step that fails, with 500',
  refused,
  { authorize: async () => await Promise.reject(new Error('a fault')) },
  post,
  '500 LR internal_error',
  '',
);
test(
  'what is given an invalid field by a filter, with 500',
  refused,
  {
    filterRequest: () => ({
      status: 200,
      flags: 0,
      details: 'x',
      body: '',
      headers: ['a\nb', '1'],
    }),
  },
  post,
  '500 LR internal_error',
  '',
);

test('an answer whose filter fails is 500', async (t) => {
  const upstream = serveH2(t, (stream) => {
    stream.respond([':status', '200'], { endStream: true });
  });
  const waypoint = new TestWaypoint(t, [upstream.port], {
    parts: {
      filterResponse: () => {
        throw new Error('a fault');
      },
    },
  });
  const [, body, told] = openStream(await waypoint.connect(t));
  await body.until((c) => c.ended);
  t.is(told.responses[0]?.[1], '500');
  t.is(waypoint.faults.length, 1);
  t.is(waypoint.backend.active, 0);
});

test('serveRequest() refuses CONNECT, and another protocol that is not allowed', async (t) => {
  const waypoint = new TestWaypoint(t, []);
  const connection = await waypoint.connect(t);
  const connect = [':method', 'CONNECT', ':authority', 'x:80'];
  const odd = [
    ':method',
    'CONNECT',
    ':protocol',
    'odd',
    ':scheme',
    'http',
    ':path',
    '/',
    ':authority',
    'x',
  ];
  for (const list of [connect, odd]) {
    const [, body, told] = openStream(connection, list);
    await body.until((c) => c.ended || c.error !== undefined);
    t.is(told.responses[0]?.[1], '403');
  }
  t.is((await waypoint.record(2)).details, 'upgrade_failed');
});

test('a client that leaves while its authorization is waited for never reaches the upstream', async (t) => {
  const asks: ((verdict: Verdict) => void)[] = [];
  const events = new EventEmitter();
  let requests = 0;
  const upstream = serveH2(t, (stream) => {
    requests++;
    stream.respond([':status', '200'], { endStream: true });
  });
  const waypoint = new TestWaypoint(t, [upstream.port], {
    parts: {
      authorize: () =>
        new Promise((resolve) => {
          asks.push(resolve);
          events.emit('ask');
        }),
    },
  });
  const connection = await waypoint.connect(t);
  const [stream] = openStream(connection);
  while (asks.length < 1) await once(events, 'ask');
  stream.reset();
  t.is((await waypoint.record()).details, 'downstream_remote_disconnect');
  const [second, body] = openStream(connection);
  second.end();
  while (asks.length < 2) await once(events, 'ask');
  for (const allow of asks) allow(undefined);
  await body.until((c) => c.ended);
  t.is(requests, 1);
  t.is(waypoint.records.length, 2);
});

test('a WebSocket goes through HTTP/2 as bytes, each direction for itself', async (t) => {
  const raw = await RawUpstream.listen(t, setting(8, 1));
  const clock = makeH2Clock();
  const waypoint = new TestWaypoint(t, [raw.port], {
    rule: { timeoutMs: 50_000 },
    parts: { deadlines: new Deadlines(clock) },
  });
  const list = [
    ...[':method', 'CONNECT', ':protocol', 'websocket', ':scheme', 'http', ':path', '/chat'],
    ...[':authority', 'x', 'sec-websocket-version', '13'],
  ];
  const [stream, body, told] = openStream(await waypoint.connect(t), list);
  const upstream = await raw.next();
  const head = upstream.decode(await upstream.next((f) => f.type === HEADERS));
  t.is(findHeader(head, ':method'), 'CONNECT');
  t.is(findHeader(head, ':protocol'), 'websocket');
  upstream.send(headers(1, 0, ':status', '200'));
  await body.write('ping');
  t.is((await upstream.data(4)).toString(), 'ping');
  t.is(told.responses[0]?.[1], '200');
  upstream.send(frame(DATA, E, 1, Buffer.from('bye')));
  await body.until((c) => c.ended);
  t.is(body.text, 'bye');
  // Past the rule's time, which is not for what has been granted; and the other direction is open still.
  clock.advance(100_000);
  await body.write('last words');
  t.is((await upstream.data(10)).toString(), 'last words');
  t.is(waypoint.records.length, 0);
  stream.end();
  await upstream.next((f) => f.type === DATA && f.flags === E);
  t.is((await waypoint.record()).details, 'via_upstream');
  t.is(upstream.pending().filter((f) => f.type === RST_STREAM).length, 0);
});

test('a WebSocket that the upstream refuses is an answer as any other', async (t) => {
  const raw = await RawUpstream.listen(t, setting(8, 1));
  const waypoint = new TestWaypoint(t, [raw.port]);
  const list = [':method', 'CONNECT', ':protocol', 'websocket', ':scheme', 'http', ':path', '/'];
  const [, body, told] = openStream(await waypoint.connect(t), [...list, ':authority', 'x']);
  const upstream = await raw.next();
  await upstream.next((f) => f.type === HEADERS);
  upstream.send(headers(1, 0, ':status', '401'), frame(DATA, E, 1, Buffer.from('no')));
  await body.until((c) => c.ended);
  t.is(told.responses[0]?.[1], '401');
  t.is(body.text, 'no');
});
