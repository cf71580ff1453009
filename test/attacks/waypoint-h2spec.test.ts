/** Conformance of a waypoint's HTTP/2 port, in front of a server of HTTP/1.1. */
import test from 'ava';
import { MIN_FRAME_BYTES } from '../../net/h2/limits.ts';
import { runH2spec } from '../support/h2spec.ts';
import { startNode } from '../support/lenient-back-ends.ts';
import { servePlainWaypoint } from '../support/plain-waypoint.ts';

/** What does not begin as HTTP/2 is HTTP/1.1 to a waypoint, and answered as that: 400, and the end. */
const NOT_HTTP2 = ['http2/3.5 Sends invalid connection preface'];

test('H15: a waypoint passes every case of h2spec that begins as HTTP/2, the strict ones too', async (t) => {
  const backEnd = await startNode(t);
  // h2spec takes the frame size that the RFC presumes for every server's.
  const { port } = servePlainWaypoint(t, backEnd.port, {
    server: { http2: { maxFrameBytes: MIN_FRAME_BYTES } },
  });
  const { passed, failed, skipped } = await runH2spec(port);
  t.deepEqual(failed, NOT_HTTP2);
  t.deepEqual(skipped, []);
  t.is(passed.length, 145);
});
