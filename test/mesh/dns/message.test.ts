import test from 'ava';
import fc from 'fast-check';
import { parseIpAddress } from '../../../base/address.ts';
import { answerLimitBytes, encodeAnswer, encodeUpstreamQuery } from '../../../mesh/dns/encode.ts';
import { decodeQuery, decodeResponse } from '../../../mesh/dns/message.ts';
import { header, name, opt, POINTER, query, record, response, u16, u32 } from './fixtures.ts';

test('decodeQuery() reads the question, lower-cases its name and keeps its wire', (t) => {
  const decoded = decodeQuery(query('Server.APPS', 28));
  t.is(decoded.id, 0x1234);
  t.is(decoded.question.name.text, 'server.apps');
  t.deepEqual(decoded.question.name.wire, name('Server.APPS'));
  t.is(decoded.question.type, 28);
  t.is(decoded.edns, undefined);
});

test('decodeQuery() reads EDNS', (t) => {
  const bytes = Buffer.concat([query('a'), opt(4096)]);
  bytes.writeUInt16BE(1, 10);
  t.deepEqual(decodeQuery(bytes).edns, { udpBytes: 4096, dnssecOk: true, version: 0 });
});

test('bytes that are no plain characters cannot pass for others', (t) => {
  const label = Buffer.from([5, 0x61, 0x2e, 0x00, 0xff, 0x5c, 0]);
  const bytes = Buffer.concat([header(1, 0, 1, 0, 0, 0), label, u16(1, 1)]);
  t.is(decodeQuery(bytes).question.name.text, 'a\\046\\000\\255\\092');
});

const longName = name(Array.from({ length: 4 }, () => 'x'.repeat(62)).join('.'));

const malformed: readonly (readonly [string, Buffer])[] = [
  ['nothing', Buffer.alloc(0)],
  ['half a header', Buffer.alloc(11)],
  ['a response', response(query('a'), [])],
  ['no question', header(1, 0, 0, 0, 0, 0)],
  ['two questions', Buffer.concat([header(1, 0, 2, 0, 0, 0), name('a'), u16(1, 1, 0), u16(1, 1)])],
  ['10,000 questions', Buffer.concat([header(1, 0, 10_000, 0, 0, 0), Buffer.alloc(50_000)])],
  ['a question count that lies', header(1, 0, 1, 0, 0, 0)],
  ['record counts that lie', withCounts(query('a'), 0, 0, 1)],
  ['65,535 records in each section', withCounts(query('a'), 65_535, 65_535, 65_535)],
  ['an answer in a query', withCounts(query('a'), 1, 0, 0)],
  ['a label of 64 bytes', question(Buffer.concat([Buffer.from([64]), Buffer.alloc(65)]))],
  ['a label of a reserved kind', question(Buffer.from([0x80, 1, 0]))],
  ['a name of 256 bytes', question(Buffer.concat([Buffer.from([4, 1, 1, 1, 1]), longName]))],
  ['a name without end', question(Buffer.from([3, 1, 1]))],
  ['a name that points to itself', question(u16(0xc00c))],
  ['a name that points to the header', question(u16(0xc000))],
  ['a name that points behind the end', question(u16(0xffff))],
  ['a question that is cut', query('a').subarray(0, -1)],
  ['bytes behind the message', Buffer.concat([query('a'), Buffer.from([0])])],
  ['two OPT records', withCounts(Buffer.concat([query('a'), opt(1), opt(1)]), 0, 0, 2)],
  ['an OPT record with a name', withCounts(namedOpt(), 0, 0, 1)],
];

for (const [what, bytes] of malformed) {
  test(`decodeQuery() refuses ${what} (D2)`, (t) => {
    t.throws(() => decodeQuery(bytes), { code: 'ERR_DNS_FORMAT' });
  });
}

const soa = Buffer.concat([name('ns'), name('admin'), u32(1), u32(2), u32(3), u32(4), u32(60)]);

test('decodeResponse() tells how long an answer holds', (t) => {
  const a = record(POINTER, 1, 300, Buffer.from([10, 0, 0, 1]));
  const b = record(POINTER, 1, 20, Buffer.from([10, 0, 0, 2]));
  const decoded = decodeResponse(response(query('a'), [a, b]));
  t.is(decoded.answers, 2);
  t.is(decoded.minTtlSeconds, 20);
  t.is(decoded.negativeTtlSeconds, undefined);
});

test('decodeResponse() takes how long a negative answer holds from its SOA', (t) => {
  const authorities = [record(name('example'), 6, 3600, soa)];
  const decoded = decodeResponse(response(query('a'), [], { rcode: 3, authorities }));
  t.is(decoded.rcode, 3);
  t.is(decoded.negativeTtlSeconds, 60);
});

test('a TTL with its first bit set is zero', (t) => {
  const a = record(POINTER, 1, 0xffffffff, Buffer.from([10, 0, 0, 1]));
  t.is(decodeResponse(response(query('a'), [a])).minTtlSeconds, 0);
});

for (const [what, owner] of [
  ['itself', u16(0xc000 + 19)],
  ['what comes later', u16(0xc0ff)],
] as const) {
  test(`decodeResponse() refuses a record whose name points to ${what} (D2)`, (t) => {
    const bytes = response(query('a'), [record(owner, 1, 1, Buffer.alloc(4))]);
    t.throws(() => decodeResponse(bytes), { code: 'ERR_DNS_FORMAT' });
  });
}

test('D2: decoding looks at no byte more often than a few times, whatever the message', (t) => {
  // Chains of pointers are where decoders go quadratic; here every record's name points into the one before.
  const records = Array.from({ length: 1000 }, (_, index) =>
    record(u16(0xc000 | (index === 0 ? 12 : 19 + (index - 1) * 12)), 1, 1, Buffer.alloc(0)),
  );
  const bytes = response(query('a'), records);
  let reads = 0;
  const counting = new Proxy(bytes, {
    get(target, property) {
      if (typeof property === 'string' && /^\d+$/.test(property)) reads++;
      const value: unknown = Reflect.get(target, property, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
  t.is(decodeResponse(counting).answers, 1000);
  t.true(reads < 2 * bytes.length, `${reads} reads of ${bytes.length} bytes`);
});

test('random bytes are decoded or refused, never anything else', (t) => {
  const property = fc.property(
    fc.uint8Array({ maxLength: 600 }),
    fc.boolean(),
    (random, plausible) => {
      const bytes = Buffer.from(random);
      if (plausible && bytes.length >= 12) header(1, bytes[2] ?? 0, 1, 0, 0, 0).copy(bytes);
      for (const decode of [decodeQuery, decodeResponse]) {
        try {
          decode(bytes);
        } catch (error) {
          t.like(error, { code: 'ERR_DNS_FORMAT' });
        }
      }
    },
  );
  fc.assert(property, { numRuns: 2000 });
  t.pass();
});

test('encodeAnswer() points to the question and echoes id, RD and EDNS', (t) => {
  const asked = Buffer.concat([query('Server'), opt(4096)]);
  asked.writeUInt16BE(1, 10);
  const decoded = decodeQuery(asked);
  const records = [{ kind: 'address', ip: parseIpAddress('10.0.0.1') } as const];
  const bytes = encodeAnswer(
    decoded,
    { rcode: 0, authoritative: true, ttlSeconds: 30, records },
    512,
  );
  const expected = Buffer.concat([
    header(0x1234, 0x8580, 1, 1, 0, 1),
    ...[name('Server'), u16(1, 1)],
    record(POINTER, 1, 30, Buffer.from([10, 0, 0, 1])),
    ...[Buffer.from([0]), u16(41, 1232), u32(0x8000), u16(0)],
  ]);
  t.deepEqual(bytes, expected);
});

test('D1: an answer over UDP has at most 1,232 bytes, and says when it was cut', (t) => {
  const ips = Array.from({ length: 1000 }, (_, index) => `10.0.${index >> 8}.${index & 255}`);
  const records = ips.map((ip) => ({ kind: 'address', ip: parseIpAddress(ip) }) as const);
  for (const [edns, limit] of [
    [undefined, 512],
    [65_535, 1232],
    [100, 512],
    [900, 900],
  ] as const) {
    const asked = edns === undefined ? query('a') : Buffer.concat([query('a'), opt(edns)]);
    asked.writeUInt16BE(edns === undefined ? 0 : 1, 10);
    const decoded = decodeQuery(asked);
    t.is(answerLimitBytes(decoded, 'udp'), limit);
    const bytes = encodeAnswer(decoded, { rcode: 0, records }, limit);
    t.true(bytes.length <= limit && bytes.length > limit - 32, `${bytes.length}`);
    t.is(bytes.readUInt16BE(2) & 0x0200, 0x0200);
    t.notThrows(() => decodeResponse(bytes));
  }
});

test('encodeUpstreamQuery() asks the same without the client’s options', (t) => {
  const options = Buffer.concat([
    Buffer.from([0]),
    u16(41, 65_535),
    u32(0),
    u16(8),
    u16(8, 4, 1, 1),
  ]);
  const asked = Buffer.concat([query('Secret.example'), options]);
  asked.writeUInt16BE(1, 10);
  const sent = encodeUpstreamQuery(decodeQuery(asked), 7);
  const expected = Buffer.concat([query('Secret.example', 1, 7), opt(1232)]);
  expected.writeUInt16BE(1, 10);
  expected.writeUInt32BE(0, expected.length - 6);
  t.deepEqual(sent, expected);
});

function withCounts(bytes: Buffer, answers: number, authorities: number, more: number): Buffer {
  u16(answers, authorities, more).copy(bytes, 6);
  return bytes;
}

function question(nameBytes: Buffer): Buffer {
  return Buffer.concat([header(1, 0, 1, 0, 0, 0), nameBytes, u16(1, 1)]);
}

function namedOpt(): Buffer {
  return Buffer.concat([query('a'), name('b'), u16(41, 512), u32(0), u16(0)]);
}

test('D2: labels, names, counts and ends that lie are refused within a millisecond', (t) => {
  const label = (length: number): Buffer =>
    Buffer.concat([Buffer.of(length), Buffer.alloc(length, 97)]);
  const asked = (...parts: readonly Buffer[]): Buffer =>
    Buffer.concat([header(1, 0x0100, 1, 0, 0, 0), ...parts, Buffer.of(0), u16(1, 1)]);
  const hostile: readonly Buffer[] = [
    asked(label(64)),
    asked(Buffer.of(0xc0, 12)),
    asked(...Array.from({ length: 128 }, () => label(1))), // 257 bytes
    asked(...Array.from({ length: 32_000 }, () => label(1))),
    Buffer.concat([header(1, 0x0100, 10_000, 0, 0, 0), name('a'), u16(1, 1)]),
    Buffer.concat([header(1, 0x0100, 0xffff, 0, 0, 0), Buffer.alloc(60_000)]),
    Buffer.concat([header(1, 0x0100, 0, 0, 0, 0), name('a'), u16(1, 1)]),
    Buffer.concat([header(1, 0x0100, 1, 0, 0, 0xffff), name('a'), u16(1, 1)]),
    Buffer.concat([query('a'), Buffer.of(0)]),
    ...Array.from({ length: 18 }, (_, end) => query('a').subarray(0, end)),
  ];
  for (const bytes of hostile) {
    const times = Array.from({ length: 5 }, () => {
      const before = process.threadCpuUsage();
      t.throws(() => decodeQuery(bytes), { code: 'ERR_DNS_FORMAT' });
      const { user, system } = process.threadCpuUsage(before);
      return (user + system) / 1000;
    });
    // The assertion's own time is in it.
    t.true(Math.min(...times) < 2, `${bytes.length} bytes took ${Math.min(...times)} ms`);
  }
});
