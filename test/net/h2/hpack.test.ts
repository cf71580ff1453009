import test from 'ava';
import fc from 'fast-check';
import { Http2Violation } from '../../../net/h2/errors.ts';
import { HpackDecoder } from '../../../net/h2/hpack-decoder.ts';
import { HpackEncoder } from '../../../net/h2/hpack-encoder.ts';

const LIMIT = 16 << 10;

function decode(decoder: HpackDecoder, hex: string, limit = LIMIT): string[] {
  const bytes = Buffer.from(hex.replaceAll(' ', ''), 'hex');
  return decoder.decode(bytes, 0, bytes.length, limit);
}

function encode(encoder: HpackEncoder, headers: readonly string[], secret?: string[]): string {
  const buffer = Buffer.alloc(encoder.maxBlockBytes(headers) + 5);
  const end = encoder.encode(buffer, 5, headers, secret);
  return buffer.toString('hex', 5, end);
}

const get = (path: string, ...more: string[]): string[] => [
  ...[':method', 'GET', ':scheme', 'http', ':path', path, ':authority', 'www.example.com'],
  ...more,
];
const response = (status: string, date: string, ...more: string[]): string[] => [
  ...[':status', status, 'cache-control', 'private', 'date', date],
  ...['location', 'https://www.example.com', ...more],
];

test('HpackDecoder reads the single fields of RFC 7541 C.2', (t) => {
  const literal = '400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572';
  t.deepEqual(decode(new HpackDecoder(), literal), ['custom-key', 'custom-header']);
  t.deepEqual(decode(new HpackDecoder(), '040c 2f73 616d 706c 652f 7061 7468'), [
    ':path',
    '/sample/path',
  ]);
  const decoder = new HpackDecoder();
  t.deepEqual(decode(decoder, '1008 7061 7373 776f 7264 0673 6563 7265 74'), [
    'password',
    'secret',
  ]);
  t.deepEqual(decoder.neverIndexed, ['password']);
  t.deepEqual(decode(new HpackDecoder(), '82'), [':method', 'GET']);
});

test('HpackDecoder keeps its table over the requests of RFC 7541 C.3', (t) => {
  const decoder = new HpackDecoder();
  t.deepEqual(decode(decoder, '8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d'), get('/'));
  const second = get('/', 'cache-control', 'no-cache');
  t.deepEqual(decode(decoder, '8286 84be 5808 6e6f 2d63 6163 6865'), second);
  const third = get('/index.html', 'custom-key', 'custom-value').toSpliced(3, 1, 'https');
  const bytes = '8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65';
  t.deepEqual(decode(decoder, bytes), third);
});

test('HpackDecoder keeps its table over the Huffman requests of RFC 7541 C.4', (t) => {
  const decoder = new HpackDecoder();
  t.deepEqual(decode(decoder, '828684418cf1e3c2e5f23a6ba0ab90f4ff'), get('/'));
  const second = get('/', 'cache-control', 'no-cache');
  t.deepEqual(decode(decoder, '828684be5886a8eb10649cbf'), second);
  const third = get('/index.html', 'custom-key', 'custom-value').toSpliced(3, 1, 'https');
  t.deepEqual(decode(decoder, '828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf'), third);
});

test('HpackDecoder evicts over the responses of RFC 7541 C.6 with a table of 256 bytes', (t) => {
  const decoder = new HpackDecoder();
  decoder.setAllowedTableBytes(256);
  const [first, second] = ['Mon, 21 Oct 2013 20:13:21 GMT', 'Mon, 21 Oct 2013 20:13:22 GMT'];
  const update = '3fe101';
  const one =
    '488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3';
  t.deepEqual(decode(decoder, update + one), response('302', first));
  t.deepEqual(decode(decoder, '4883640effc1c0bf'), response('307', first));
  const three =
    '88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007';
  const cookie = 'foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1';
  const more = ['content-encoding', 'gzip', 'set-cookie', cookie];
  t.deepEqual(decode(decoder, three), response('200', second, ...more));
});

const breaks = test.macro({
  exec(t, hex: string) {
    const error = t.throws(() => decode(new HpackDecoder(), hex), { instanceOf: Http2Violation });
    t.is(error.h2Code, 0x9);
  },
  title: (given = '') => `HpackDecoder ends the connection for ${given}`,
});

test('index 0', breaks, '80');
test('an index beyond both tables', breaks, 'be');
test('a name index beyond both tables', breaks, '7f00 0161');
test('a table size beyond what is allowed', breaks, '3fe2 1f');
test('a table size update after a field', breaks, '8220');
test('an integer without end', breaks, 'ffff ffff ffff ff');
test('an integer that is cut', breaks, 'ff');
test('a string that is cut', breaks, '0005 6161');
test('a field without value', breaks, '0001 61');
test('EOS in a Huffman string', breaks, '0084 ffff ffff 0161');
test('a string longer than 28 bits can say', breaks, '007f ffff ffff ff0f');

test('HpackDecoder demands the table size update that our SETTINGS made due', (t) => {
  const decoder = new HpackDecoder();
  decoder.setAllowedTableBytes(0);
  t.throws(() => decode(decoder, '82'), { instanceOf: Http2Violation });
  const other = new HpackDecoder();
  other.setAllowedTableBytes(0);
  t.deepEqual(decode(other, '2082'), [':method', 'GET']);
});

test('HpackDecoder counts the decoded size, so that a small block of references cannot grow', (t) => {
  const decoder = new HpackDecoder();
  const value = '61'.repeat(3900);
  decode(decoder, `4001 62 7fbd1d ${value}`);
  t.false(decoder.oversized);
  const list = decode(decoder, 'be'.repeat(4000));
  t.true(decoder.oversized);
  t.true(list.length <= 2 * (LIMIT / 3900));
  t.deepEqual(decode(decoder, '82'), [':method', 'GET']);
  t.false(decoder.oversized);
});

test('HpackDecoder tells a malformed field also when it comes from the table', (t) => {
  const decoder = new HpackDecoder();
  decode(decoder, '4001 41 01 61');
  t.true(decoder.malformed, 'an upper-case name');
  decode(decoder, '82');
  t.false(decoder.malformed);
  decode(decoder, 'be');
  t.true(decoder.malformed, 'the same by index');
  decode(decoder, 'b9');
  t.true(decoder.malformed, 'transfer-encoding of the static table');
});

test('HpackEncoder makes one byte of each field that repeats', (t) => {
  const encoder = new HpackEncoder();
  const headers = [':method', 'CONNECT', ':authority', '10.0.0.1:8080', 'baggage', 'k8s.node=a'];
  t.true(encode(encoder, headers).length > 20);
  t.is(encode(encoder, headers), 'c0bfbe');
});

test('HpackEncoder keeps secrets and changing values out of the table', (t) => {
  const encoder = new HpackEncoder();
  const headers = ['authorization', 'Bearer x', 'traceparent', '00-1', 'x-own', 'secret'];
  const once = encode(encoder, headers, ['x-own']);
  t.is(encode(encoder, headers, ['x-own']), once);
  const decoder = new HpackDecoder();
  t.deepEqual(decode(decoder, once), headers);
  t.deepEqual(decoder.neverIndexed, ['authorization', 'x-own']);
});

test('HpackEncoder announces a table that went down and up again', (t) => {
  const encoder = new HpackEncoder();
  encode(encoder, ['a', 'b']);
  encoder.setAllowedTableBytes(4096, 0);
  t.is(encode(encoder, [':method', 'GET']), '203fe11f82');
  t.is(encode(encoder, [':method', 'GET']), '82');
});

const name = fc.constantFrom(...[':path', ':authority', 'accept', 'x-a', 'x-b', 'x-c', 'date']);
const value = fc.oneof(
  fc.constantFrom('', '/', 'gzip, deflate', 'v1', 'v2', 'v3'),
  fc.string({ unit: 'grapheme-ascii', maxLength: 300 }),
  fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
);
const list = fc.array(fc.tuple(name, value), { maxLength: 12 }).map((fields) => fields.flat());

test('HpackDecoder reads what HpackEncoder writes, through table changes on either side', (t) => {
  const change = fc.record({ allowed: fc.nat(5000), lowest: fc.nat(5000) });
  const step = fc.oneof({ weight: 5, arbitrary: list }, { weight: 1, arbitrary: change });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.nat(6000), (steps, wanted) => {
      const encoder = new HpackEncoder(wanted);
      const decoder = new HpackDecoder();
      for (const one of steps) {
        if (Array.isArray(one)) t.deepEqual(decode(decoder, encode(encoder, one), 1 << 20), one);
        else {
          const lowest = Math.min(one.lowest, one.allowed);
          decoder.setAllowedTableBytes(lowest);
          decoder.setAllowedTableBytes(one.allowed);
          encoder.setAllowedTableBytes(one.allowed, lowest);
        }
      }
    }),
    { numRuns: 300 },
  );
});

test('HpackDecoder survives any bytes', (t) => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 10 }), (blocks) => {
      const decoder = new HpackDecoder();
      try {
        for (const block of blocks) decoder.decode(Buffer.from(block), 0, block.length, LIMIT);
      } catch (error) {
        t.true(error instanceof Http2Violation, String(error));
      }
    }),
    { numRuns: 2000 },
  );
});
