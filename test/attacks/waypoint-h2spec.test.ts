/** Conformance of a waypoint's HTTP/2 ports, in front of a server of HTTP/1.1. */
import test from 'ava';
import { MIN_FRAME_BYTES } from '../../net/h2/limits.ts';
import { runH2spec } from '../support/h2spec.ts';
import { startNode } from '../support/lenient-back-ends.ts';
import { servePlainWaypoint } from '../support/plain-waypoint.ts';

/** All that this version of h2spec has. */
const CASES = 146;
/** Where nobody said that a port is for HTTP/2, what does not begin as that is HTTP/1.1, and answered so: 400, and the end. */
const NOT_HTTP2 = 'http2/3.5 Sends invalid connection preface';

const conforms = test.macro({
  async exec(t, version: 'prefer-http2' | 'detect', notPassed: readonly string[]) {
    const backEnd = await startNode(t);
    // h2spec takes the frame size that the RFC presumes for every server's.
    const server = { http2: { maxFrameBytes: MIN_FRAME_BYTES } };
    const { port } = servePlainWaypoint(t, backEnd.port, { server, version });
    const { passed, failed, skipped } = await runH2spec(port);
    t.deepEqual(failed, [...notPassed]);
    t.deepEqual(skipped, []);
    t.is(passed.length, CASES - notPassed.length);
  },
  title: (given = '') => given,
});

test.serial(
  'H15: a port for HTTP/2 passes every case of h2spec, the strict ones too',
  conforms,
  'prefer-http2',
  [],
);
test.serial(
  'H15: a port for either version passes every case of h2spec that begins as HTTP/2',
  conforms,
  'detect',
  [NOT_HTTP2],
);
