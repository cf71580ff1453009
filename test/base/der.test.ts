import test from 'ava';
import fc from 'fast-check';
import {
  derBitFlags,
  derContext,
  derOid,
  derSequence,
  derTime,
  derUnsigned,
} from '../../base/der-write.ts';
import { der } from '../../base/der-write.ts';
import {
  DerReader,
  MAX_DER_BYTES,
  Tag,
  contextTag,
  readBitFlags,
  readBitStringBytes,
  readBoolean,
  readDer,
  readOid,
  readTime,
  readUnsigned,
} from '../../base/der.ts';

const bytes = (hex: string): Buffer => Buffer.from(hex.replaceAll(' ', ''), 'hex');
const value = (hex: string): ReturnType<DerReader['any']> => new DerReader(bytes(hex), 'x').any();

const writes = test.macro({
  exec(t, written: Buffer, hex: string) {
    t.is(written.toString('hex'), hex.replaceAll(' ', ''));
  },
  title: (given = '') => `DER writes ${given}`,
});
test('an empty sequence', writes, derSequence(), '30 00');
test(
  'nested values',
  writes,
  derContext(3, derSequence(derUnsigned(Buffer.of(5)))),
  'a3 05 30 03 02 01 05',
);
test('a length of 127', writes, der(4, Buffer.alloc(127)).subarray(0, 3), '04 7f 00');
test('a length of 128', writes, der(4, Buffer.alloc(128)).subarray(0, 4), '04 81 80 00');
test('a length of 256', writes, der(4, Buffer.alloc(256)).subarray(0, 5), '04 82 01 00 00');
test('a length of 65536', writes, der(4, Buffer.alloc(65_536)).subarray(0, 6), '04 83 01 00 00 00');
test('a number with its highest bit set', writes, derUnsigned(Buffer.of(0x80)), '02 02 00 80');
test('a number with zeros before it', writes, derUnsigned(Buffer.of(0, 0, 0x7f)), '02 01 7f');
test('zero', writes, derUnsigned(Buffer.of(0)), '02 01 00');
test(
  'an identifier with large arcs',
  writes,
  derOid('1.2.840.10045.3.1.7'),
  '06 08 2a 86 48 ce 3d 03 01 07',
);
test('an identifier below 2', writes, derOid('2.5.29.17'), '06 03 55 1d 11');
test('flags, without trailing zeros', writes, derBitFlags(0, 2), '03 02 05 a0');
test('a flag in the second byte', writes, derBitFlags(8), '03 03 07 00 80');
test(
  'a time of 2049',
  writes,
  derTime(Date.UTC(2049, 11, 31, 23, 59, 59)),
  `17 0d ${Buffer.from('491231235959Z').toString('hex')}`,
);
test(
  'a time of 2050',
  writes,
  derTime(Date.UTC(2050, 0, 1)),
  `18 0f ${Buffer.from('20500101000000Z').toString('hex')}`,
);

const refused = test.macro({
  exec(t, read: () => unknown) {
    t.throws(read, { code: 'ERR_DER' });
  },
  title: (given = '') => `DER refuses ${given}`,
});
const whole = (hex: string) => () => readDer(bytes(hex), Tag.sequence, 'x');
test('nothing', refused, whole(''));
test('a tag alone', refused, whole('30'));
test('another tag', refused, whole('31 00'));
test('a tag of several bytes', refused, () => value('1f 81 01 00'));
test('an indefinite length', refused, whole('30 80 00 00'));
test('a long form of a short length', refused, whole(`30 81 01 05`));
test('zeros before a length', refused, whole(`30 82 00 80 ${'00'.repeat(128)}`));
test('a length of four bytes', refused, whole('30 84 00 00 00 00'));
test('a length that is cut short', refused, whole('30 82 01'));
test('a value that is cut short', refused, whole('30 02 05'));
test('bytes behind', refused, whole('30 00 00'));
test('more than 64 KiB', refused, () => readDer(Buffer.alloc(MAX_DER_BYTES + 1), 0x30, 'x'));
test('a boolean of 1', refused, () => readBoolean(value('01 01 01'), 'x'));
test('a boolean of two bytes', refused, () => readBoolean(value('01 02 ff ff'), 'x'));
test('a negative number', refused, () => readUnsigned(value('02 01 80'), 'x'));
test('a number with zeros before it', refused, () => readUnsigned(value('02 02 00 01'), 'x'));
test('an empty number', refused, () => readUnsigned(value('02 00'), 'x'));
test('an empty identifier', refused, () => readOid(value('06 00'), 'x'));
test('an identifier that does not end', refused, () => readOid(value('06 02 2a 86'), 'x'));
test('an identifier with padding', refused, () => readOid(value('06 03 2a 80 01'), 'x'));
test('an identifier out of range', refused, () =>
  readOid(value('06 0a 2a ff ff ff ff ff ff ff ff 7f'), 'x'),
);
test('an identifier of 65 bytes', refused, () => readOid(value(`06 41 ${'01'.repeat(65)}`), 'x'));
test('bits that do not fill their bytes', refused, () =>
  readBitStringBytes(value('03 02 01 02'), 'x'),
);
test('flags with padding that is not zero', refused, () => readBitFlags(value('03 02 05 bf'), 'x'));
test('flags of three bytes', refused, () => readBitFlags(value('03 04 00 00 00 00'), 'x'));
const time = (tag: number, text: string) => () =>
  readTime({ tag, content: Buffer.from(text), bytes: Buffer.alloc(0) }, 'x');
test('a time without seconds', refused, time(Tag.utcTime, '2601010000Z'));
test('a time with an offset', refused, time(Tag.utcTime, '260101000000+0100'));
test('a time with a fraction', refused, time(Tag.generalizedTime, '20260101000000.5Z'));
test('the 31st of February', refused, time(Tag.utcTime, '260231000000Z'));
test('a 61st second', refused, time(Tag.utcTime, '260101000060Z'));
test('a text as time', refused, time(Tag.utf8String, '260101000000Z'));

test('DER reads the years of UTCTime as RFC 5280 has them', (t) => {
  t.is(time(Tag.utcTime, '491231235959Z')(), Date.UTC(2049, 11, 31, 23, 59, 59));
  t.is(time(Tag.utcTime, '500101000000Z')(), Date.UTC(1950, 0, 1));
  t.is(time(Tag.generalizedTime, '00010101000000Z')(), Date.parse('0001-01-01T00:00:00Z'));
});

test('DerReader walks optional and nested values', (t) => {
  const reader = new DerReader(bytes('30 03 02 01 05 a0 02 05 00'), 'x');
  t.is(reader.optional(Tag.integer), undefined);
  const inner = reader.enter(Tag.sequence);
  t.deepEqual(inner.next(Tag.integer).content, bytes('05'));
  t.true(inner.done);
  t.is(reader.peek(), contextTag(0, true));
  t.deepEqual(reader.any().bytes, bytes('a0 02 05 00'));
  t.notThrows(() => {
    reader.end();
  });
});

test('what is written is read back: numbers, identifiers, times, flags', (t) => {
  const arc = fc.nat(0x7fffffff);
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 40 }),
      fc.tuple(fc.nat(2), fc.nat(39), arc, arc),
      fc.integer({ min: 0, max: Date.UTC(9999, 0, 1) / 1000 }),
      fc.uniqueArray(fc.nat(15), { minLength: 1 }),
      (number, arcs, seconds, flags) => {
        const read = new DerReader(
          Buffer.concat([
            derUnsigned(number),
            derOid(arcs.join('.')),
            derTime(seconds * 1000),
            derBitFlags(...flags),
          ]),
          'x',
        );
        const digits = readUnsigned(read.any(), 'x').toString('hex');
        t.is(BigInt(`0x${digits}`), BigInt(`0x${Buffer.from(number).toString('hex')}`));
        t.is(readOid(read.any(), 'x'), arcs.join('.'));
        const time = read.any();
        t.is(readTime(time, 'x'), seconds * 1000);
        t.deepEqual(
          [...readBitFlags(read.any(), 'x')],
          flags.toSorted((a, b) => a - b),
        );
        read.end();
      },
    ),
    { numRuns: 300 },
  );
});
