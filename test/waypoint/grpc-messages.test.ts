import test from 'ava';
import fc from 'fast-check';
import { Metrics } from '../../mesh/runtime/metrics.ts';
import { GrpcMessages } from '../../waypoint/grpc-messages.ts';
import { MessageMetrics } from '../../waypoint/message-metrics.ts';
import { openStream } from '../support/h2-client.ts';
import { request } from '../support/h2-frames.ts';
import { serveH2 } from '../support/h2-peer.ts';
import { Collector } from '../support/collect.ts';
import { TestWaypoint } from '../support/waypoint-requests.ts';

/** As gRPC sends it. */
function message(length: number): Buffer {
  const bytes = Buffer.alloc(5 + length, 0xff);
  bytes[0] = 0;
  bytes.writeUInt32BE(length, 1);
  return bytes;
}

test('messages are counted however their bytes are cut, and however much of each piece is taken', (t) => {
  const cuts = fc.array(fc.tuple(fc.nat(12), fc.nat(12)), { minLength: 1 });
  fc.assert(
    fc.property(
      fc.array(fc.nat(300), { maxLength: 8 }),
      fc.nat(6),
      cuts,
      (lengths, rest, pieces) => {
        // The last one is not whole.
        const bytes = Buffer.concat([...lengths.map(message), message(2).subarray(0, rest)]);
        const messages = new GrpcMessages();
        let at = 0;
        for (let round = 0; at < bytes.length; round++) {
          const [offered = 1, most = 1] = pieces[round % pieces.length] ?? [];
          const length = Math.min(1 + offered, bytes.length - at);
          // Where they were given is written over after that.
          const given = Buffer.concat([Buffer.alloc(3), bytes.subarray(at, at + length)]);
          messages.look(given, 3, length);
          const taken = Math.min(length, round % 2 === 0 ? 1 + most : most);
          messages.commit(taken);
          at += taken;
        }
        return messages.count === lengths.length;
      },
    ),
  );
  t.pass();
});

test('the messages of a gRPC stream are in the metrics while it is open, with no word of its end', async (t) => {
  const metrics = new Metrics();
  const counting = new MessageMetrics(metrics);
  const upstream = serveH2(t, (stream) => {
    stream.respond([':status', '200', 'content-type', 'application/grpc']);
    const body = new Collector(stream);
    void body
      .until(() => body.ended)
      .then(() => {
        stream.sendTrailers(['grpc-status', '0']);
      });
    for (const length of [0, 70_000]) void body.write(message(length));
  });
  const waypoint = new TestWaypoint(t, [upstream.port], {
    parts: {
      trace: (one) => {
        counting.begin(one);
      },
      onRequestEnd: (one) => {
        counting.end(one);
      },
    },
  });
  const connection = await waypoint.connect(t);
  const sums = (): Record<string, number> =>
    Object.fromEntries(
      metrics
        .snapshot()
        .map((family) => [
          family.name,
          family.kind === 'counter'
            ? family.series.reduce((sum, { value }) => sum + value, 0)
            : NaN,
        ]),
    );
  const list = [...request('POST', '/a.B/C'), 'content-type', 'application/grpc'];
  const [, body] = openStream(connection, list);
  await body.write(message(3));
  await body.until((c) => c.received === 70_010);
  const open = sums();
  await body.write(Buffer.concat([message(1), message(4)]));
  body.stream.end();
  await body.until((c) => c.ended);
  t.deepEqual(open, { istio_request_messages_total: 1, istio_response_messages_total: 2 });
  t.deepEqual(sums(), { istio_request_messages_total: 3, istio_response_messages_total: 2 });
  const [family] = metrics.snapshot();
  t.is(family?.series.length, 1);
  t.false(family?.labelNames.includes('response_code'));

  // What is no gRPC has none, however it looks.
  const [, plain] = openStream(connection, request('POST', '/a.B/C'));
  await plain.write(message(3));
  plain.stream.end();
  await plain.until((c) => c.ended);
  t.deepEqual(sums(), { istio_request_messages_total: 3, istio_response_messages_total: 2 });
});
