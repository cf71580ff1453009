import test from 'ava';
import { CANCEL, INTERNAL_ERROR, NO_ERROR, REFUSED_STREAM } from '../../net/h2/errors.ts';
import { DATA, WINDOW_UPDATE } from '../../net/h2/frame.ts';
import { findHeader } from '../../net/h2/headers.ts';
import { data, E, ok, outcome, reset, send } from '../support/forwarded-request.ts';
import { openStream } from '../support/h2-client.ts';
import { frame, headers, request, setting, u32 } from '../support/h2-frames.ts';
import { RawPeer } from '../support/h2-peer.ts';
import { closedPort, policy, TestWaypoint } from '../support/waypoint-requests.ts';

const breaks = test.macro({
  async exec(t, bytes: Buffer[] | 'end', expected: string, text: string) {
    const { waypoint, upstream, body, told } = await send(t, request(), {
      rule: { retry: policy({ attempts: 0 }) },
    });
    if (bytes === 'end') upstream.socket.destroy();
    else upstream.send(...bytes);
    await body.until((c) => c.ended);
    t.is(told.responses[0]?.[1], expected.slice(0, 3));
    t.is(body.text, text);
    t.is(await outcome(waypoint), expected);
    t.is(waypoint.backend.outcomes.length, 1);
  },
  title: (given = '') => `before an answer, ${given}`,
});
const resetText = (reason: string): string =>
  `upstream connect error or disconnect/reset before headers. reset reason: ${reason}`;
const before = 'upstream_reset_before_response_started';

test(
  'a reset by the upstream is 503 UR',
  breaks,
  [reset(INTERNAL_ERROR)],
  `503 UR ${before}{remote_reset} 1`,
  resetText('remote reset'),
);
test(
  'a refused stream without a retry is 503 UR',
  breaks,
  [reset(REFUSED_STREAM)],
  `503 UR ${before}{remote_refused_stream_reset} 1`,
  resetText('remote refused stream reset'),
);
test(
  'the end of the connection is 503 UC',
  breaks,
  'end',
  `503 UC ${before}{connection_termination} 1`,
  resetText('connection termination'),
);
test(
  'an answer that is no HTTP is 502 UPE',
  breaks,
  [headers(1, 0, 'x-no', 'status')],
  `502 UPE ${before}{protocol_error} 1`,
  resetText('protocol error'),
);
test(
  'a connection that breaks HTTP/2 is 502 UPE',
  breaks,
  [frame(DATA, 0, 0, Buffer.from('x'))],
  `502 UPE ${before}{protocol_error} 1`,
  resetText('protocol error'),
);

const truncated = test.macro({
  async exec(t, bytes: Buffer[] | 'end', expected: string) {
    const { waypoint, upstream, body, told } = await send(t);
    upstream.send(ok(0, 'content-length', '10'), data('five!'));
    await body.until((c) => c.received === 5);
    if (bytes === 'end') upstream.socket.destroy();
    else upstream.send(...bytes);
    await body.until((c) => c.error !== undefined);
    t.false(body.ended);
    t.is(told.error?.h2Code, INTERNAL_ERROR);
    t.true(told.error?.resetByPeer);
    t.is(await outcome(waypoint), expected);
  },
  title: (given = '') => `amid an answer, ${given} resets the client`,
});
const after = 'upstream_reset_after_response_started';
test('a reset', truncated, [reset(CANCEL)], `200 UR ${after}{remote_reset} 1`);
test('a reset without an error', truncated, [reset(NO_ERROR)], `200 UR ${after}{remote_reset} 1`);
test('the end of the connection', truncated, 'end', `200 UC ${after}{connection_termination} 1`);
test('too short a body', truncated, [data('', E)], `200 UPE ${after}{protocol_error} 1`);
test('too long a body', truncated, [data('more than five')], `200 UPE ${after}{protocol_error} 1`);

test('a reset behind a complete answer takes nothing away', async (t) => {
  const { waypoint, upstream, body } = await send(t, request('POST'), { endStream: false });
  upstream.send(ok(), data('whole', E), reset(NO_ERROR));
  await body.until((c) => c.ended);
  t.is(body.text, 'whole');
  t.is(await outcome(waypoint), '200 - via_upstream 1');
});

test('nobody listening is 503 UF, after three tries', async (t) => {
  const waypoint = new TestWaypoint(t, [await closedPort()]);
  const [stream, body, told] = openStream(await waypoint.connect(t), request('POST'));
  stream.end();
  await body.until((c) => c.ended);
  t.is(told.responses[0]?.[1], '503');
  t.is(body.text, resetText('connection failure'));
  t.is(await outcome(waypoint), `503 UF,URX ${before}{connection_failure} 3`);
  t.regex((await waypoint.record()).transportFailure, /ECONNREFUSED/);
});

test('a request of gRPC gets its failure as gRPC', async (t) => {
  const waypoint = new TestWaypoint(t, [await closedPort()], {
    rule: { retry: policy({ attempts: 0 }) },
  });
  const list = [...request('POST', '/shop.Cart/Add'), 'content-type', 'application/grpc'];
  const [stream, body, told] = openStream(await waypoint.connect(t), list);
  stream.end();
  await body.until((c) => c.ended);
  const [response = []] = told.responses;
  t.is(findHeader(response, ':status'), '200');
  t.is(findHeader(response, 'grpc-status'), '14');
  t.is(findHeader(response, 'grpc-message'), resetText('connection failure'));
  t.is((await waypoint.record()).grpcStatus, 14);
});

const grpcJudged = test.macro({
  async exec(t, status: string, trailers: string[], expected: number) {
    const list = [...request('POST', '/a.B/C'), 'content-type', 'application/grpc'];
    const { waypoint, upstream, body } = await send(t, list);
    upstream.send(headers(1, 0, ':status', status), data('x'), headers(1, E, ...trailers));
    await body.until((c) => c.ended);
    await waypoint.record();
    t.deepEqual(
      waypoint.backend.outcomes.map(([, outcome]) => outcome),
      [expected],
    );
  },
  title: (given = '') => `an endpoint is judged once, ${given}`,
});
test('by the status in the trailers of gRPC', grpcJudged, '200', ['grpc-status', '14'], 503);
test('well without a status of gRPC', grpcJudged, '200', ['x-other', '1'], 200);
test('by an HTTP status that is no success', grpcJudged, '503', ['grpc-status', '0'], 503);

test('an answer of our own waits for the window of its reader', async (t) => {
  const waypoint = new TestWaypoint(t, [await closedPort()], {
    rule: { retry: policy({ attempts: 0 }) },
  });
  const client = await RawPeer.connect(waypoint.port);
  t.teardown(() => client.socket.destroy());
  await client.begin(setting(4, 0));
  client.send(headers(1, E, ...request()));
  t.is(await client.answer(), 'HEADERS 1 503');
  await client.ping();
  t.deepEqual(client.pending(), []);
  client.send(frame(WINDOW_UPDATE, 0, 1, u32(10)));
  t.is((await client.data(10)).toString(), 'upstream c');
  client.send(frame(WINDOW_UPDATE, 0, 1, u32(1000)));
  const rest = resetText('connection failure').slice(10);
  t.is((await client.data(rest.length)).toString(), rest);
  t.is(await outcome(waypoint), `503 UF ${before}{connection_failure} 1`);
});

test('a share without a backend is 500', async (t) => {
  const waypoint = new TestWaypoint(t, []);
  const [stream, body, told] = openStream(await waypoint.connect(t));
  stream.end();
  await body.until((c) => c.ended);
  t.is(told.responses[0]?.[1], '500');
  t.is(await outcome(waypoint), '500 - direct_response 0');
});
