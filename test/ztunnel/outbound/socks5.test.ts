import test from 'ava';
import fc from 'fast-check';
import { socketAddress } from '../../../base/address.ts';
import {
  formatReply,
  SOCKS5_REPLY,
  Socks5Handshake,
  type Socks5Step,
} from '../../../ztunnel/outbound/socks5.ts';

/** Everything that the server does with these bytes, sent in pieces of at most so many. */
function run(
  bytes: Uint8Array,
  pieces: () => number = () => bytes.length,
): { steps: Socks5Step[]; left: number; needed: number } {
  const handshake = new Socks5Handshake();
  const steps: Socks5Step[] = [];
  let at = 0;
  while (handshake.needed > 0 && at < bytes.length) {
    const end = at + Math.max(1, Math.min(handshake.needed, pieces()));
    const step = handshake.take(bytes.subarray(at, end));
    at = Math.min(bytes.length, end);
    if (step !== undefined) steps.push(step);
  }
  return { steps, left: bytes.length - at, needed: handshake.needed };
}

const HELLO = [5, 1, 0];
const ACCEPTED: Socks5Step = { kind: 'reply', reply: Buffer.from([5, 0]) };
const NO_METHOD = Buffer.from([5, 0xff]);
const text = (hostname: string): number[] => [hostname.length, ...Buffer.from(hostname, 'latin1')];

const connects = test.macro({
  exec(t, request: readonly number[], target: Extract<Socks5Step, { kind: 'connect' }>['target']) {
    const payload = [1, 2, 3];
    const found = run(Buffer.from([...HELLO, ...request, ...payload]));
    t.deepEqual(found.steps, [ACCEPTED, { kind: 'connect', target }]);
    t.deepEqual([found.left, found.needed], [payload.length, 0]);
  },
  title: (given = '') => `a SOCKS5 client connects to ${given}, and what follows is left alone`,
});
test('an IPv4 address', connects, [5, 1, 0, 1, 10, 0, 0, 2, 0x1f, 0x90], {
  ...{ kind: 'address', address: socketAddress('10.0.0.2', 8080) },
});
test('an IPv6 address', connects, [5, 1, 0, 4, 0xfd, ...Array<number>(14).fill(0), 2, 0, 80], {
  kind: 'address',
  address: socketAddress('fd00::2', 80),
});
test(
  'an IPv4 address in IPv6 form, which is the same',
  connects,
  [5, 1, 0, 4, ...Array<number>(10).fill(0), 0xff, 0xff, 10, 0, 0, 2, 0, 80],
  { kind: 'address', address: socketAddress('10.0.0.2', 80) },
);
test('a name', connects, [5, 1, 0, 3, ...text('web.shop'), 0xff, 0xff], {
  ...{ kind: 'hostname', hostname: 'web.shop', port: 65_535 },
});
test('the longest name', connects, [5, 1, 0, 3, ...text('w'.repeat(255)), 0, 1], {
  ...{ kind: 'hostname', hostname: 'w'.repeat(255), port: 1 },
});
test('an address in the form of a name', connects, [5, 1, 0, 3, ...text('fd00::2'), 0, 80], {
  ...{ kind: 'address', address: socketAddress('fd00::2', 80) },
});

test('any of 255 methods may be the one without authentication', (t) => {
  const methods = Array.from({ length: 255 }, (_, index) => 254 - index);
  t.deepEqual(run(Buffer.from([5, 255, ...methods])).steps, [ACCEPTED]);
});

const refuses = test.macro({
  exec(t, bytes: readonly number[], reply: Buffer, reason: RegExp) {
    const { steps, needed } = run(Buffer.from(bytes));
    const last = steps.at(-1);
    t.like(last, { kind: 'refuse', reply });
    t.regex(last?.kind === 'refuse' ? last.reason : '', reason);
    t.is(needed, 0);
  },
  title: (given = '') => `a SOCKS5 client is refused for ${given}`,
});
const coded = (code: Parameters<typeof formatReply>[0]): Buffer => formatReply(code);
const FAILED = coded(SOCKS5_REPLY.generalFailure);
test('SOCKS4', refuses, [4, 1, 0, 80], Buffer.alloc(0), /version 4/);
test('HTTP', refuses, [...Buffer.from('GET / HTTP/1.1')], Buffer.alloc(0), /version 71/);
test('another version in its request', refuses, [...HELLO, 4, 1, 0, 1], Buffer.alloc(0), /n 4/);
test('no method at all', refuses, [5, 0], NO_METHOD, /no method/);
test('a password as its only method', refuses, [5, 2, 1, 2], NO_METHOD, /without authentication/);
const NOT_SERVED = coded(SOCKS5_REPLY.commandNotSupported);
test('BIND', refuses, [...HELLO, 5, 2, 0, 1], NOT_SERVED, /command 2/);
test('UDP ASSOCIATE', refuses, [...HELLO, 5, 3, 0, 1], NOT_SERVED, /command 3/);
test('a reserved byte', refuses, [...HELLO, 5, 1, 1, 1], FAILED, /reserved/);
const NO_TYPE = coded(SOCKS5_REPLY.addressTypeNotSupported);
test('an unknown address type', refuses, [...HELLO, 5, 1, 0, 2], NO_TYPE, /type 2/);
test('an empty name', refuses, [...HELLO, 5, 1, 0, 3, 0], FAILED, /empty/);
test('port 0', refuses, [...HELLO, 5, 1, 0, 1, 10, 0, 0, 2, 0, 0], FAILED, /port 0/);
test('port 0 of a name', refuses, [...HELLO, 5, 1, 0, 3, 1, 97, 0, 0], FAILED, /port 0/);

test('a reply has the version, the code, and an address of no meaning', (t) => {
  t.deepEqual([...coded(SOCKS5_REPLY.connectionRefused)], [5, 5, 0, 1, 0, 0, 0, 0, 0, 0]);
});

/** Of bytes at random few would get beyond the version. */
const likely = fc.array(fc.oneof(fc.constantFrom(0, 1, 2, 3, 4, 5), fc.nat(255)), {
  maxLength: 300,
});

test('however a handshake comes in pieces, it means the same, and takes the same bytes', (t) => {
  let done = 0;
  fc.assert(
    fc.property(likely, fc.infiniteStream(fc.integer({ min: 1, max: 9 })), (rest, pieces) => {
      const bytes = Buffer.from([...HELLO, 5, 1, 0, ...rest]);
      const whole = run(bytes);
      const parts = run(bytes, () => pieces.next().value as number);
      if (whole.needed === 0) done++;
      t.deepEqual(parts, whole);
    }),
    { numRuns: 2000 },
  );
  t.true(done > 500, `${done} came to an end`);
});

test('no bytes make a handshake wait for more than a name and its port, or go on for ever', (t) => {
  fc.assert(
    fc.property(fc.oneof(likely, fc.array(fc.nat(255), { maxLength: 600 })), (bytes) => {
      const { steps, needed } = run(Buffer.from(bytes));
      return needed <= 257 && steps.length <= 2;
    }),
    { numRuns: 2000 },
  );
  t.pass();
});
