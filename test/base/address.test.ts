import { BlockList, isIP, SocketAddress as NodeSocketAddress } from 'node:net';
import test from 'ava';
import fc from 'fast-check';
import {
  cidrContains,
  familyOf,
  formatCidr,
  formatSocketAddress,
  ipFromBytes,
  ipToBytes,
  isLoopback,
  makeCidr,
  parseCidr,
  parseIpAddress,
  parseSocketAddress,
  socketAddress,
  tryParseIpAddress,
} from '../../base/address.ts';

const bytesOf = (length: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength: length, maxLength: length });
const v4 = fc.ipV4();
const v6 = fc.ipV6();
const anyIp = fc.oneof(v4, v6);

test('parseIpAddress() accepts exactly what node:net accepts, zones apart', (t) => {
  const text = fc.oneof(
    anyIp,
    fc.string(),
    fc.string({ unit: fc.constantFrom('0', '1', '9', 'a', 'f', '.', ':', '%') }),
  );
  fc.assert(
    fc.property(text, (candidate) => {
      const expected = isIP(candidate) !== 0 && !candidate.includes('%');
      return (tryParseIpAddress(candidate) !== undefined) === expected;
    }),
    { numRuns: 2000 },
  );
  t.pass();
});

test('parseIpAddress() writes IPv6 as node:net writes it, and one address in one way', (t) => {
  fc.assert(
    fc.property(v6, (text) => {
      const ip = parseIpAddress(text);
      if (familyOf(ip) === 4) return text.toLowerCase().includes('ffff');
      const canonical: string = new NodeSocketAddress({ address: text, family: 'ipv6' }).address;
      // Node keeps the last 32 bits of some addresses in dotted form, which RFC 5952 leaves open.
      return canonical.includes('.') || String(ip) === canonical;
    }),
    { numRuns: 2000 },
  );
  t.pass();
});

test('ipToBytes() and ipFromBytes() are inverse', (t) => {
  fc.assert(
    fc.property(fc.oneof(bytesOf(4), bytesOf(16)), (bytes) => {
      const ip = ipFromBytes(bytes);
      const again = ipToBytes(ip);
      return again.length === bytes.length
        ? again.every((byte, index) => byte === bytes[index])
        : again.every((byte, index) => byte === bytes[12 + index]);
    }),
  );
  fc.assert(
    fc.property(
      anyIp,
      (text) => ipFromBytes(ipToBytes(parseIpAddress(text))) === parseIpAddress(text),
    ),
  );
  for (const length of [0, 3, 5, 15, 17]) {
    t.throws(() => ipFromBytes(new Uint8Array(length)), { code: 'ERR_ADDRESS' });
  }
});

const canonicalForms: readonly (readonly [string, string])[] = [
  ['::', '::'],
  ['0:0:0:0:0:0:0:1', '::1'],
  ['2001:DB8::A', '2001:db8::a'],
  ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
  ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
  ['1:0:3:4:5:6:7:8', '1:0:3:4:5:6:7:8'],
  ['1:2:3:4:5:6:0:0', '1:2:3:4:5:6::'],
  ['::ffff:10.0.0.1', '10.0.0.1'],
  ['::FFFF:0a00:1', '10.0.0.1'],
  ['64:ff9b::10.0.0.1', '64:ff9b::a00:1'],
  ['1:2:3:4:5:6:1.2.3.4', '1:2:3:4:5:6:102:304'],
  ['1::1.2.3.4', '1::102:304'],
];
for (const [written, canonical] of canonicalForms) {
  test(`parseIpAddress() reads ${written} as ${canonical}`, (t) => {
    t.is(String(parseIpAddress(written)), canonical);
  });
}

const hostileAddresses = [
  '',
  ' 10.0.0.1',
  '10.0.0.1 ',
  '10.0.0.01',
  '010.0.0.1',
  '10.0.0',
  '10.1',
  '167772161',
  '0x0a000001',
  '1e1.1.1.1',
  '10.0.0.256',
  '10.0.0.-1',
  '10.0.0.1\0',
  '10.0.0.1\n',
  '１０.0.0.1',
  '10。0。0。1',
  'fe80::1%eth0',
  '::1%',
  '[::1]',
  '::ffff:10.0.0.256',
  '1:2:3:4:5:6:7',
  '1:2:3:4:5:6:7:8:9',
  '1::2::3',
  ':::',
  '12345::',
  'localhost',
];
for (const text of hostileAddresses) {
  test(`parseIpAddress() refuses ${JSON.stringify(text)}`, (t) => {
    t.throws(() => parseIpAddress(text), { code: 'ERR_ADDRESS' });
  });
}

test('parseSocketAddress() and formatSocketAddress() are inverse', (t) => {
  fc.assert(
    fc.property(anyIp, fc.integer({ min: 1, max: 65535 }), (ip, port) => {
      const address = socketAddress(ip, port);
      const again = parseSocketAddress(formatSocketAddress(address));
      return again.ip === address.ip && again.port === port;
    }),
  );
  t.deepEqual(parseSocketAddress('[::ffff:10.0.0.1]:80'), socketAddress('10.0.0.1', 80));
  t.deepEqual(
    { ...parseSocketAddress('[fd00::1]:15008') },
    { ip: parseIpAddress('fd00::1'), port: 15008 },
  );
});

const hostileSocketAddresses = [
  '',
  ':80',
  '10.0.0.1',
  '10.0.0.1:',
  '10.0.0.1:0',
  '10.0.0.1:65536',
  '10.0.0.1:080',
  '10.0.0.1:+80',
  '10.0.0.1:8e1',
  '10.0.0.1: 80',
  '10.0.0.1:80 ',
  '10.0.0.1:80\n',
  '10.0.0.1:80:80',
  'user@10.0.0.1:80',
  '[10.0.0.1]:80',
  '::1:80',
  '[::1]80',
  '[::1]',
  '[[::1]]:80',
  '[::1%lo]:80',
  'localhost:80',
  '10.0.0.1:８０',
];
for (const text of hostileSocketAddresses) {
  test(`parseSocketAddress() refuses ${JSON.stringify(text)}`, (t) => {
    t.throws(() => parseSocketAddress(text), { code: 'ERR_ADDRESS' });
  });
}

test('cidrContains() agrees with the BlockList of node:net', (t) => {
  const near = fc.tuple(v4, fc.integer({ min: 0, max: 32 }), fc.integer({ min: 0, max: 31 }));
  fc.assert(
    fc.property(near, ([ip, prefix, flip]) => {
      const bytes = ipToBytes(parseIpAddress(ip));
      const at = flip >> 3;
      bytes[at] = (bytes[at] ?? 0) ^ (1 << (flip & 7));
      const other = ipFromBytes(bytes);
      const list = new BlockList();
      list.addSubnet(ip, prefix, 'ipv4');
      return cidrContains(parseCidr(`${ip}/${prefix}`), other) === list.check(other, 'ipv4');
    }),
    { numRuns: 1000 },
  );
  const six = fc.tuple(v6, fc.integer({ min: 0, max: 128 }), v6);
  fc.assert(
    fc.property(six, ([ip, prefix, other]) => {
      const network = parseIpAddress(ip);
      const candidate = parseIpAddress(other);
      if (familyOf(network) === 4 || familyOf(candidate) === 4) return true;
      const list = new BlockList();
      list.addSubnet(network, prefix, 'ipv6');
      return cidrContains(makeCidr(network, prefix), candidate) === list.check(candidate, 'ipv6');
    }),
    { numRuns: 1000 },
  );
  t.false(cidrContains(parseCidr('0.0.0.0/0'), parseIpAddress('::1')));
});

const cidrs: readonly (readonly [string, string])[] = [
  ['10.1.2.3/8', '10.0.0.0/8'],
  ['10.1.2.3', '10.1.2.3/32'],
  ['0.0.0.0/0', '0.0.0.0/0'],
  ['fd00::1/64', 'fd00::/64'],
  ['::1', '::1/128'],
  ['::ffff:10.1.2.3/104', '10.0.0.0/8'],
  ['::ffff:10.1.2.3', '10.1.2.3/32'],
];
for (const [written, canonical] of cidrs) {
  test(`parseCidr() reads ${written} as ${canonical}`, (t) => {
    t.is(formatCidr(parseCidr(written)), canonical);
  });
}
for (const text of [
  ...[
    '',
    '/8',
    '10.0.0.0/',
    '10.0.0.0/33',
    '10.0.0.0/-1',
    '10.0.0.0/8/8',
    '10.0.0.0/ 8',
    'fd00::/129',
  ],
  ...['10.0.0.0/0x8', '10.0.0/8', '*', '::ffff:10.0.0.0/24', 'fe80::%eth0/64'],
]) {
  test(`parseCidr() refuses ${JSON.stringify(text)}`, (t) => {
    t.throws(() => parseCidr(text), { code: 'ERR_ADDRESS' });
  });
}

test('isLoopback() knows 127.0.0.0/8 and ::1 only', (t) => {
  t.true(
    ['127.0.0.1', '127.255.0.9', '::1', '::ffff:127.0.0.1'].every((ip) =>
      isLoopback(parseIpAddress(ip)),
    ),
  );
  t.false(['128.0.0.1', '10.127.0.1', '::', '::127'].some((ip) => isLoopback(parseIpAddress(ip))));
});
