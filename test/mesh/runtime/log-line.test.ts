import test from 'ava';
import fc from 'fast-check';
import { socketAddress } from '../../../base/address.ts';
import { formatLogLine, type LogFields } from '../../../mesh/runtime/log-line.ts';

const timeMs = Date.UTC(2026, 0, 2, 3, 4, 5, 678);

function line(format: 'text' | 'json', fields: LogFields, message = 'a message'): string {
  return formatLogLine({ timeMs, level: 'info', scope: 'access', message, fields }, format);
}

test('a text line has time, level, scope and message between tabs, then fields between spaces', (t) => {
  const fields = {
    'src.addr': socketAddress('10.0.0.1', 80),
    'src.workload': 'client',
    'dst.addr': socketAddress('fd00::1', 15008),
    absent: undefined,
    bytes_sent: 12,
    open: true,
  };
  t.is(
    line('text', fields),
    '2026-01-02T03:04:05.678Z\tinfo\taccess\ta message\t' +
      'src.addr=10.0.0.1:80 src.workload="client" dst.addr=[fd00::1]:15008 bytes_sent=12 open=true\n',
  );
  t.is(line('text', {}), '2026-01-02T03:04:05.678Z\tinfo\taccess\ta message\n');
});

test('a JSON line has level, time, scope and message, then the fields', (t) => {
  const fields = { 'src.addr': socketAddress('10.0.0.1', 80), bytes_sent: 12, error: 'x "y"' };
  t.is(
    line('json', { ...fields, absent: undefined }),
    '{"level":"info","time":"2026-01-02T03:04:05.678Z","scope":"access","message":"a message",' +
      '"src.addr":"10.0.0.1:80","bytes_sent":12,"error":"x \\"y\\""}\n',
  );
});

const span = { name: 'inbound', id: '0af7651916cd43dd8448eb211c80319c' };

test('the span of a record stands behind the scope in text, and last in JSON', (t) => {
  const record = { timeMs, level: 'info', scope: 'access', message: 'a message' } as const;
  t.is(
    formatLogLine({ ...record, fields: { bytes_sent: 12 }, span }, 'text'),
    '2026-01-02T03:04:05.678Z\tinfo\taccess:inbound{id=0af7651916cd43dd8448eb211c80319c}\t' +
      'a message\tbytes_sent=12\n',
  );
  t.is(
    formatLogLine({ ...record, fields: { bytes_sent: 12 }, span }, 'json'),
    '{"level":"info","time":"2026-01-02T03:04:05.678Z","scope":"access","message":"a message",' +
      '"bytes_sent":12,"inbound":{"id":"0af7651916cd43dd8448eb211c80319c"}}\n',
  );
});

test('no value and no message can begin a line, a field or a terminal sequence of its own (M4)', (t) => {
  const hostile = 'x\n2026\tinfo\r\u001b[2J\u009b31m\u0085\u2028\u202ey" admin="true';
  for (const format of ['text', 'json'] as const) {
    const text = line(format, { error: hostile }, hostile);
    t.is(text.split('\n').length, 2);
    t.true(text.endsWith('\n'));
    t.notRegex(text.slice(0, -1), /[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u2028\u2029\u202e]/);
  }
  const text = line('text', { error: hostile });
  t.true(text.endsWith('y\\" admin=\\"true"\n'));
});

test('a long value is cut', (t) => {
  const text = line('text', { error: 'x'.repeat(1_000_000) });
  t.true(text.length < 3000);
  t.regex(text, /x\.\.\. \(1000000 characters\)"\n$/);
});

test('every JSON line of random fields parses back to them', (t) => {
  const property = fc.property(
    fc.dictionary(fc.string(), fc.oneof(fc.string(), fc.integer(), fc.boolean())),
    fc.string({ unit: 'binary' }),
    (random, message) => {
      const fields = Object.fromEntries(Object.entries(random).map(([key, v]) => [`f.${key}`, v]));
      const parsed: unknown = JSON.parse(line('json', fields, message));
      const head = { level: 'info', time: '2026-01-02T03:04:05.678Z', scope: 'access', message };
      t.deepEqual(parsed, { ...head, ...fields });
    },
  );
  fc.assert(property, { numRuns: 200 });
});
