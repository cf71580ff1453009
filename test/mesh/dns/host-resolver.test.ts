import test from 'ava';
import fc from 'fast-check';
import { MeshError } from '../../../base/errors.ts';
import { decodeAddresses, HostResolver } from '../../../mesh/dns/host-resolver.ts';
import { TYPE, type DnsQuery } from '../../../mesh/dns/message.ts';
import { name, POINTER, query, record, response, u16 } from './fixtures.ts';

const v4 = (last: number): Buffer => Buffer.from([192, 0, 2, last]);
const v6 = (last: number): Buffer =>
  Buffer.concat([Buffer.from([0x20, 1]), Buffer.alloc(13), Buffer.from([last])]);

/** A resolver whose answers are the test's. */
function resolver(
  answer: (host: string, type: number) => Buffer,
  ipv6 = true,
): { hosts: HostResolver; asked: DnsQuery[] } {
  const asked: DnsQuery[] = [];
  const ask = (each: DnsQuery): Promise<Buffer> => {
    asked.push(each);
    return Promise.resolve().then(() => answer(each.question.name.text, each.question.type));
  };
  return { hosts: new HostResolver({ ask }, { ipv6 }), asked };
}

test('HostResolver gives the addresses of both families, IPv4 first', async (t) => {
  const { hosts, asked } = resolver((host, type) =>
    response(query(host, type), [record(POINTER, type, 60, type === TYPE.A ? v4(7) : v6(7))]),
  );
  t.deepEqual([...(await hosts.resolve('DB.Example.org.'))].map(String), ['192.0.2.7', '2001::7']);
  t.deepEqual(
    asked.map(({ question }) => [question.name.text, question.type]),
    [
      ['db.example.org', TYPE.A],
      ['db.example.org', TYPE.AAAA],
    ],
  );
});

test('HostResolver asks for no IPv6 address where IPv6 is off', async (t) => {
  const { hosts, asked } = resolver((host) => response(query(host), []), false);
  t.deepEqual(await hosts.resolve('db.example.org'), []);
  t.is(asked.length, 1);
});

test('HostResolver needs one family to be answered, and fails when none is', async (t) => {
  const failure = new MeshError('ERR_DNS_UPSTREAM', 'upstream', 'Cannot resolve "x"');
  const half = resolver((host, type) => {
    if (type === TYPE.AAAA) throw failure;
    return response(query(host, type), [record(POINTER, TYPE.A, 60, v4(7))]);
  });
  t.deepEqual((await half.hosts.resolve('x')).map(String), ['192.0.2.7']);
  const none = resolver(() => {
    throw failure;
  });
  await t.throwsAsync(none.hosts.resolve('x'), { code: 'ERR_DNS_UPSTREAM' });
});

test('HostResolver refuses what is no host name before it asks anybody', async (t) => {
  const { hosts, asked } = resolver((host) => response(query(host), []));
  for (const wrong of [
    '',
    '.',
    'a..b',
    '*.example.org',
    'a b',
    'ä.example',
    '-a',
    'a'.repeat(64),
    'a.'.repeat(130),
  ])
    await t.throwsAsync(hosts.resolve(wrong), { code: 'ERR_DNS_NAME' }, wrong);
  t.is(asked.length, 0);
});

test('decodeAddresses() follows aliases, also compressed ones, and passes over what nobody asked for', (t) => {
  const asked = query('www.example.org');
  // 16 is where `example.org` stands in the question.
  const alias = Buffer.concat([Buffer.from([3]), Buffer.from('cdn'), u16(0xc010)]);
  const message = response(asked, [
    record(POINTER, TYPE.CNAME, 60, alias),
    record(name('bank.example'), TYPE.A, 60, v4(66)),
    record(name('CDN.example.org'), TYPE.A, 60, v4(7)),
    record(name('cdn.example.org'), TYPE.AAAA, 60, v6(7)),
    record(name('cdn.example.org'), TYPE.A, 60, v4(8)),
    record(name('cdn.example.org'), TYPE.A, 60, Buffer.from([1, 2, 3])),
  ]);
  t.deepEqual(decodeAddresses(message, 'www.example.org', TYPE.A).map(String), [
    '192.0.2.7',
    '192.0.2.8',
  ]);
});

test('decodeAddresses() ends on names that point to themselves or on', (t) => {
  const asked = query('www.example.org');
  const behindQuestion = 12 + name('www.example.org').length + 4;
  // The data of the alias begins 12 bytes behind its record.
  for (const target of [behindQuestion + 12, behindQuestion + 14, 0x3fff]) {
    const loop = response(asked, [record(POINTER, TYPE.CNAME, 60, u16(0xc000 | target))]);
    t.throws(() => decodeAddresses(loop, 'www.example.org', TYPE.A), { code: 'ERR_DNS_FORMAT' });
  }
});

test('decodeAddresses() throws nothing but ERR_DNS_FORMAT on whatever bytes follow the question', (t) => {
  const head = response(query('www.example.org'), []);
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 300 }),
      fc.integer({ min: 0, max: 9 }),
      (tail, count) => {
        const message = Buffer.concat([head, tail]);
        message.writeUInt16BE(count, 6);
        try {
          for (const ip of decodeAddresses(message, 'www.example.org', TYPE.A)) t.regex(ip, /^\d/);
        } catch (error) {
          t.true(error instanceof MeshError && error.code === 'ERR_DNS_FORMAT');
        }
      },
    ),
  );
});
