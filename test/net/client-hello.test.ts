import test from 'ava';
import { MAX_CLIENT_HELLO_BYTES, readClientHello } from '../../net/client-hello.ts';
import { recordClientHello } from '../support/client-hello.ts';

const hello = (serverName: string, protocols: readonly string[] = []): unknown => ({
  ...{ kind: 'hello', hello: { serverName, protocols } },
});

test('readClientHello() tells the name and the protocols that a client asks for', async (t) => {
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    const named = await recordClientHello({
      ...{ servername: 'Shop.Example.com', ALPNProtocols: ['h2', 'http/1.1'], maxVersion },
    });
    t.deepEqual(readClientHello(named), hello('shop.example.com', ['h2', 'http/1.1']));
    t.deepEqual(readClientHello(await recordClientHello({ maxVersion })), hello(''));
  }
});

test('it may come in any pieces, and in several records', async (t) => {
  const bytes = await recordClientHello({ servername: 'a.example.com' });
  for (let length = 0; length < bytes.length; length++) {
    const found = readClientHello(bytes.subarray(0, length));
    t.true(found.kind === 'more' && found.atLeast > length && found.atLeast <= bytes.length);
  }
  const message = bytes.subarray(5);
  const record = (piece: Buffer): Buffer =>
    Buffer.concat([Buffer.from([22, 3, 1, piece.length >> 8, piece.length & 0xff]), piece]);
  for (const size of [100, 200]) {
    const records: Buffer[] = [];
    for (let at = 0; at < message.length; at += size)
      records.push(record(message.subarray(at, at + size)));
    t.deepEqual(readClientHello(Buffer.concat(records)), hello('a.example.com'));
  }
  const tiny = Buffer.concat([...message].map((byte) => record(Buffer.from([byte]))));
  t.deepEqual(readClientHello(tiny), {
    ...{ kind: 'refused', reason: 'its first message comes in more than 32 records' },
  });
});

const refused = test.macro<[Buffer, RegExp]>({
  exec(t, bytes, reason) {
    const found = readClientHello(bytes);
    t.is(found.kind, 'refused');
    t.regex(found.kind === 'refused' ? found.reason : '', reason);
  },
  title: (given = '') => `${given} is refused`,
});

/** A record with a ClientHello that has these extensions. */
function made(extensions: Buffer): Buffer {
  const u16 = (value: number): Buffer => Buffer.from([value >> 8, value & 0xff]);
  const body = Buffer.concat([
    ...[u16(0x303), Buffer.alloc(32), Buffer.from([0]), u16(2), u16(0x1301), Buffer.from([1, 0])],
    ...[u16(extensions.length), extensions],
  ]);
  const message = Buffer.concat([Buffer.from([1, 0]), u16(body.length), body]);
  return Buffer.concat([Buffer.from([22, 3, 1]), u16(message.length), message]);
}

function nameExtension(name: string): Buffer {
  const text = Buffer.from(name, 'latin1');
  const lengths = Buffer.alloc(9);
  lengths.writeUInt16BE(text.length + 5, 2);
  lengths.writeUInt16BE(text.length + 3, 4);
  lengths.writeUInt16BE(text.length, 7);
  return Buffer.concat([lengths, text]);
}

test('a made hello is one', (t) => {
  t.deepEqual(readClientHello(made(nameExtension('a.b'))), hello('a.b'));
  t.deepEqual(readClientHello(made(Buffer.alloc(0))), hello(''));
});

test('HTTP', refused, Buffer.from('GET / HTTP/1.1\r\n\r\n'), /no TLS/);
test('a record without bytes', refused, Buffer.from([22, 3, 1, 0, 0]), /odd length/);
test('a record that is too long', refused, Buffer.from([22, 3, 1, 0xff, 0xff]), /odd length/);
test('another message first', refused, Buffer.from([22, 3, 1, 0, 4, 2, 0, 0, 0]), /no ClientHello/);
test(
  'a message that is too long',
  refused,
  Buffer.from([22, 3, 1, 0, 4, 1, 0, (MAX_CLIENT_HELLO_BYTES >> 8) + 1, 0]),
  /too long/,
);
test(
  'the same extension twice',
  refused,
  made(Buffer.concat([nameExtension('a.b'), nameExtension('c.d')])),
  /twice/,
);
test('a name with a zero byte', refused, made(nameExtension('a.b\0.c')), /none of a host/);
test('an empty name', refused, made(nameExtension('')), /none of a host/);
test('a name that ends in a dot', refused, made(nameExtension('a.b.')), /none of a host/);
test('a wildcard for a name', refused, made(nameExtension('*.b')), /none of a host/);
test('a name that is too long', refused, made(nameExtension('a'.repeat(254))), /none of a host/);
test('an extension that ends early', refused, made(Buffer.from([0, 0, 0, 9, 0])), /ends inside/);
