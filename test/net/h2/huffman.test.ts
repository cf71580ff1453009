import test from 'ava';
import fc from 'fast-check';
import { Http2Violation } from '../../../net/h2/errors.ts';
import { decodeHuffman, encodeHuffman, huffmanLength } from '../../../net/h2/huffman.ts';

const codes = test.macro({
  exec(t, text: string, hex: string) {
    const buffer = Buffer.alloc(64);
    const end = encodeHuffman(buffer, 3, text);
    t.is(buffer.toString('hex', 3, end), hex);
    t.is(huffmanLength(text), hex.length / 2);
    t.is(decodeHuffman(buffer, 3, end - 3), text);
  },
  title: (_, text: string) => `encodeHuffman() codes ${text} as RFC 7541 appendix C does`,
});

test(codes, 'www.example.com', 'f1e3c2e5f23a6ba0ab90f4ff');
test(codes, 'no-cache', 'a8eb10649cbf');
test(codes, 'custom-key', '25a849e95ba97d7f');
test(codes, 'custom-value', '25a849e95bb8e8b4bf');
test(codes, '302', '6402');
test(codes, 'private', 'aec3771a4b');
test(codes, 'Mon, 21 Oct 2013 20:13:21 GMT', 'd07abe941054d444a8200595040b8166e082a62d1bff');
test(codes, 'https://www.example.com', '9d29ad171863c78f0b97c8e9ae82ae43d3');
test(codes, 'gzip', '9bd9ab');

test('decodeHuffman() gives back what encodeHuffman() wrote, for any bytes', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
      const text = Buffer.from(bytes).toString('latin1');
      const buffer = Buffer.alloc(2000);
      const end = encodeHuffman(buffer, 0, text);
      t.is(end, huffmanLength(text));
      t.is(decodeHuffman(buffer, 0, end), text);
    }),
  );
});

test('decodeHuffman() gives back only what it was coded from, or refuses', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      const input = Buffer.from(bytes);
      let text: string;
      try {
        text = decodeHuffman(input, 0, input.length);
      } catch (error) {
        t.true(error instanceof Http2Violation);
        return;
      }
      const again = Buffer.alloc(200);
      t.deepEqual(again.subarray(0, encodeHuffman(again, 0, text)), input);
    }),
    { numRuns: 1000 },
  );
});

const refuses = test.macro({
  exec(t, hex: string) {
    const bytes = Buffer.from(hex, 'hex');
    t.throws(() => decodeHuffman(bytes, 0, bytes.length), { instanceOf: Http2Violation });
  },
  title: (given = '') => `decodeHuffman() refuses ${given}`,
});

test('EOS', refuses, 'ffffffff');
test('EOS after a symbol', refuses, '1fffffffff');
test('padding of eight ones', refuses, '1fff');
test('padding with a zero', refuses, '1e');
test('a code that is cut', refuses, 'fffe');
