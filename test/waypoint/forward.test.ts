import test from 'ava';
import { CANCEL, NO_ERROR } from '../../net/h2/errors.ts';
import { DATA, GOAWAY, RST_STREAM, WINDOW_UPDATE } from '../../net/h2/frame.ts';
import { INITIAL_WINDOW_BYTES } from '../../net/h2/limits.ts';
import { findHeader, type HeaderList } from '../../net/h2/headers.ts';
import type { Http2Stream } from '../../net/h2/stream.ts';
import { Collector } from '../support/collect.ts';
import { checkIdle, data, E, isHead, ok, outcome, send } from '../support/forwarded-request.ts';
import { openStream } from '../support/h2-client.ts';
import { frame, headers, request, setting, u32 } from '../support/h2-frames.ts';
import { serveH2 } from '../support/h2-peer.ts';
import { RawUpstream, TestWaypoint } from '../support/waypoint-requests.ts';

test('a request and its answer go through byte by byte, with trailers both ways', async (t) => {
  const { waypoint, upstream, stream, body, told } = await send(t, request('POST', '/a?b=c'), {
    endStream: false,
  });
  await body.write('request body');
  stream.sendTrailers(['x-sum', '12', 'authorization', 'not here']);
  t.is((await upstream.data(12)).toString(), 'request body');
  t.deepEqual(upstream.decode(await upstream.next(isHead)), ['x-sum', '12']);
  upstream.send(ok(0, 'x-app', '1'), data('answer'), headers(1, E, 'x-end', '2'));
  await body.until((c) => c.ended);
  t.is(body.text, 'answer');
  t.is(findHeader(told.responses[0] ?? [], 'x-app'), '1');
  t.deepEqual(told.trailers, [['x-end', '2']]);
  t.is(await outcome(waypoint), '200 - via_upstream 1');
  t.deepEqual(waypoint.backend.outcomes, [[waypoint.backend.endpoints[0]?.address.port, 200]]);
});

test('what only proxies may say is taken out of a request, and what they say is added', async (t) => {
  const { head, upstream, body, told } = await send(t, [
    ...request('GET', '/x'),
    ...[
      'x-envoy-max-retries',
      '9',
      'x-forwarded-client-cert',
      'By=me',
      'x-forwarded-for',
      '1.2.3.4',
    ],
    ...['te', 'trailers', 'user-agent', 'tester'],
  ]);
  const id = findHeader(head, 'x-request-id') ?? '';
  t.regex(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/);
  t.deepEqual(head, [
    ...[':method', 'GET', ':scheme', 'http', ':authority', 'x', ':path', '/x'],
    ...['te', 'trailers', 'user-agent', 'tester', 'x-forwarded-for', '1.2.3.4,10.0.0.7'],
    ...['x-request-id', id, 'x-forwarded-proto', 'http'],
  ]);
  upstream.send(ok(E, 'server', 'app', 'x-envoy-attempt-count', '3', 'x-envoy-overloaded', 'true'));
  await body.until((c) => c.ended);
  const [response = []] = told.responses;
  t.is(findHeader(response, 'server'), 'istio-envoy');
  t.is(findHeader(response, 'x-envoy-attempt-count'), undefined);
  t.is(findHeader(response, 'x-envoy-overloaded'), 'true');
  t.regex(findHeader(response, 'x-envoy-upstream-service-time') ?? '', /^\d+$/);
  t.regex(findHeader(response, 'date') ?? '', / GMT$/);
});

test('an early answer reaches the client, which is told to stop sending', async (t) => {
  const { waypoint, upstream, body, stream, told } = await send(t, request('POST'), {
    endStream: false,
  });
  await body.write('some');
  await upstream.data(4);
  upstream.send(headers(1, 0, ':status', '413'), data('too much', E));
  await body.until((c) => c.ended);
  t.is(body.text, 'too much');
  t.is(told.responses[0]?.[1], '413');
  const { payload } = await upstream.next(({ type }) => type === RST_STREAM);
  t.is(payload.readUInt32BE(0), CANCEL);
  await body.until((c) => c.error !== undefined || stream.closed);
  t.is(told.error === undefined || told.error.h2Code === NO_ERROR, true);
  t.is(await outcome(waypoint), '413 - via_upstream 1');
});

test('an answer that begins before the request has ended lets the request go on', async (t) => {
  const { waypoint, upstream, body, stream } = await send(t, request('POST'), { endStream: false });
  upstream.send(ok(), data('first'));
  await body.until((c) => c.text === 'first');
  await body.write('late');
  t.is((await upstream.data(4)).toString(), 'late');
  stream.end();
  await upstream.next((f) => f.type === DATA && f.flags === E);
  upstream.send(data('second', E));
  await body.until((c) => c.ended);
  t.is(body.text, 'firstsecond');
  t.is(await outcome(waypoint), '200 - via_upstream 1');
});

test('a slow reader stops the upstream, and gets every byte', async (t) => {
  const answer = Buffer.alloc(8 << 20).map((_, index) => index % 251);
  let answering: Http2Stream | undefined;
  const upstream = serveH2(t, (stream) => {
    stream.respond([':status', '200'], { endStream: answering !== undefined });
    if (answering !== undefined) return;
    answering = stream;
    void new Collector(stream).write(answer).then(() => {
      stream.end();
    });
  });
  const waypoint = new TestWaypoint(t, [upstream.port]);
  const connection = await waypoint.connect(t);
  const [stream, body] = openStream(connection);
  stream.end();
  body.allowance = 1000;
  await body.until((c) => c.received === 1000);
  // Another request there and back, after which nothing more is under way.
  const [other, otherBody] = openStream(connection);
  other.end();
  await otherBody.until((c) => c.ended);
  t.true((answering?.bytesWritten ?? 0) < 2 << 20, 'windows, and no queue of the waypoint');
  body.release();
  await body.until((c) => c.ended);
  t.true(body.data.equals(answer));
  await waypoint.record(2);
  checkIdle(waypoint);
});

test('a slow upstream stops the client, and gets every byte', async (t) => {
  const raw = await RawUpstream.listen(t, setting(4, 1000));
  const waypoint = new TestWaypoint(t, [raw.port]);
  const [stream, body] = openStream(await waypoint.connect(t), request('POST'));
  const upload = Buffer.alloc(2 << 20, 0).map((_, index) => index % 241);
  let done = false;
  const writing = body.write(upload).then(() => {
    done = true;
    stream.end();
  });
  const upstream = await raw.next();
  await upstream.next(isHead);
  // What it may send before it knows of the smaller window. RFC 9113 section 6.9.2.
  const first = await upstream.data(INITIAL_WINDOW_BYTES);
  await upstream.ping();
  t.false(done, 'the client has room for all of it');
  upstream.send(frame(WINDOW_UPDATE, 0, 1, u32(4 << 20)), frame(WINDOW_UPDATE, 0, 0, u32(4 << 20)));
  const rest = await upstream.data(upload.length - first.length);
  await writing;
  t.true(Buffer.concat([first, rest]).equals(upload));
  upstream.send(ok(E));
  await body.until((c) => c.ended);
  t.is(await outcome(waypoint), '200 - via_upstream 1');
});

test('HEAD has the length of the answer, and no body', async (t) => {
  const { waypoint, upstream, body, told } = await send(t, request('HEAD'));
  upstream.send(ok(E, 'content-length', '1234'));
  await body.until((c) => c.ended);
  t.is(findHeader(told.responses[0] ?? [], 'content-length'), '1234');
  t.is(await outcome(waypoint), '200 - via_upstream 1');
});

test('103 goes through and 100 is said here, when the body is wanted', async (t) => {
  const raw = await RawUpstream.listen(t);
  const waypoint = new TestWaypoint(t, [raw.port]);
  const connection = await waypoint.connect(t);
  const informational: HeaderList[] = [];
  const stream = connection.openStream([...request('POST'), 'expect', '100-continue'], {
    onInformational: (list) => informational.push(list),
  });
  if (stream === undefined) throw new Error('no stream');
  const body = new Collector(stream);
  const upstream = await raw.next();
  t.is(findHeader(upstream.decode(await upstream.next(isHead)), 'expect'), undefined);
  upstream.send(headers(1, 0, ':status', '100'));
  upstream.send(headers(1, 0, ':status', '103', 'link', '</a.css>'));
  await body.write('x');
  stream.end();
  await upstream.next((f) => f.type === DATA && f.flags === E);
  upstream.send(ok(E));
  await body.until((c) => c.ended);
  t.deepEqual(informational, [
    [':status', '100'],
    [':status', '103', 'link', '</a.css>'],
  ]);
});

test('a client that leaves has its request taken back from the upstream', async (t) => {
  const { waypoint, upstream, stream } = await send(t);
  stream.reset();
  const { payload } = await upstream.next(({ type }) => type === RST_STREAM);
  t.is(payload.readUInt32BE(0), CANCEL);
  t.is(await outcome(waypoint), '0 DC downstream_remote_disconnect 1');
  t.deepEqual(waypoint.backend.outcomes, [], 'it is not the endpoint that is to blame');
});

test('a client that leaves behind its complete request does not leave it to a slow upstream', async (t) => {
  const { waypoint, upstream, stream, body } = await send(t, request('POST'), {
    endStream: false,
  });
  await body.write(Buffer.alloc(200_000));
  stream.end();
  await upstream.data(INITIAL_WINDOW_BYTES); // and no more: its window is used up
  stream.reset();
  await upstream.next(({ type }) => type === RST_STREAM);
  t.is(await outcome(waypoint), '0 DC downstream_remote_disconnect 1');
});

test('a client that leaves amid the answer has it stopped at the upstream', async (t) => {
  const { waypoint, upstream, stream, body } = await send(t);
  upstream.send(ok(), data('begun'));
  await body.until((c) => c.text === 'begun');
  stream.reset();
  await upstream.next(({ type }) => type === RST_STREAM);
  t.is(await outcome(waypoint), '200 DC downstream_remote_disconnect 1');
});

test('trailers of which nothing may be handed on are an end', async (t) => {
  const { waypoint, upstream, body, told } = await send(t);
  upstream.send(ok(), data('x'), headers(1, E, 'set-cookie', 'a=b'));
  await body.until((c) => c.ended);
  t.deepEqual(told.trailers, []);
  t.is(await outcome(waypoint), '200 - via_upstream 1');
});

test('GOAWAY sends what it left out elsewhere', async (t) => {
  const [first, second] = [await RawUpstream.listen(t), await RawUpstream.listen(t)];
  const waypoint = new TestWaypoint(t, [first.port, second.port]);
  const [stream, body] = openStream(await waypoint.connect(t), request('POST'));
  await body.write('kept');
  stream.end();
  const gone = await first.next();
  await gone.next((f) => f.type === DATA && f.flags === E);
  gone.send(frame(GOAWAY, 0, 0, u32(0, NO_ERROR)));
  const peer = await second.next();
  await peer.next(isHead);
  t.is((await peer.data(4)).toString(), 'kept');
  peer.send(ok(E));
  await body.until((c) => c.ended);
  t.is(await outcome(waypoint), '200 - via_upstream 2');
});

test('one connection carries many requests to an endpoint', async (t) => {
  const upstream = serveH2(t, (stream) => {
    stream.respond([':status', '200'], { endStream: true });
  });
  const waypoint = new TestWaypoint(t, [upstream.port]);
  const connection = await waypoint.connect(t);
  for (let count = 0; count < 20; count++) {
    const [stream, body] = openStream(connection);
    stream.end();
    await body.until((c) => c.ended);
  }
  t.is(upstream.connections.length, 1);
  t.is(waypoint.pool.size, 1);
});
