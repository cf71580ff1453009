import test from 'ava';
import { countTlsRecords, joinStreams, parseSegment, type Segment } from '../../cli/demo/frames.ts';
import { ipToBytes, parseIpAddress } from '../../base/address.ts';

/** An Ethernet frame with a TCP segment from port 40000 to 15008. */
function frame(from: string, to: string, sequence: number, payload: string): Buffer {
  const [source, destination] = [from, to].map((ip) => ipToBytes(parseIpAddress(ip)));
  if (source === undefined || destination === undefined) throw new Error('two addresses');
  const tcp = Buffer.alloc(20);
  tcp.writeUInt16BE(40_000, 0);
  tcp.writeUInt16BE(15_008, 2);
  tcp.writeUInt32BE(sequence, 4);
  tcp[12] = 5 << 4;
  const segment = Buffer.concat([tcp, Buffer.from(payload)]);
  const v4 = source.length === 4;
  const header = Buffer.alloc(v4 ? 20 : 40);
  if (v4) {
    header[0] = 0x45;
    header.writeUInt16BE(20 + segment.length, 2);
    header[9] = 6;
    header.set(source, 12);
    header.set(destination, 16);
  } else {
    header[0] = 0x60;
    header.writeUInt16BE(segment.length, 4);
    header[6] = 6;
    header.set(source, 8);
    header.set(destination, 24);
  }
  const ethernet = Buffer.alloc(14);
  ethernet.writeUInt16BE(v4 ? 0x0800 : 0x86dd, 12);
  return Buffer.concat([ethernet, header, segment]);
}

function segmentOf(bytes: Buffer): Segment {
  const segment = parseSegment(bytes);
  if (segment === undefined) throw new Error('no segment');
  return segment;
}

test('parseSegment() reads TCP in IPv4, and leaves padding out', (t) => {
  const segment = segmentOf(
    Buffer.concat([frame('10.0.0.1', '10.0.0.2', 7, 'hello'), Buffer.alloc(9)]),
  );
  t.is(String(segment.source.ip), '10.0.0.1');
  t.is(segment.source.port, 40_000);
  t.is(String(segment.destination.ip), '10.0.0.2');
  t.is(segment.destination.port, 15_008);
  t.is(segment.sequence, 7);
  t.is(segment.payload.toString(), 'hello');
});

test('parseSegment() reads TCP in IPv6', (t) => {
  const segment = segmentOf(frame('fd00::1', 'fd00::2', 7, 'hello'));
  t.is(String(segment.destination.ip), 'fd00::2');
  t.is(segment.payload.toString(), 'hello');
});

test('parseSegment() leaves alone what is no TCP, a fragment, or cut short at any byte', (t) => {
  for (const ip of [4, 6]) {
    const whole =
      ip === 4 ? frame('10.0.0.1', '10.0.0.2', 7, '') : frame('fd00::1', 'fd00::2', 7, '');
    for (let length = 0; length < whole.length; length++)
      t.is(parseSegment(whole.subarray(0, length)), undefined, `${length} bytes`);
  }
  const udp = frame('10.0.0.1', '10.0.0.2', 7, 'x');
  udp[23] = 17;
  t.is(parseSegment(udp), undefined);
  const fragment = frame('10.0.0.1', '10.0.0.2', 7, 'x');
  fragment.writeUInt16BE(0x2000, 20);
  t.is(parseSegment(fragment), undefined);
});

test('joinStreams() puts segments in order, once each, across the end of the numbers', (t) => {
  const at = (sequence: number, text: string): Segment =>
    segmentOf(frame('10.0.0.1', '10.0.0.2', sequence >>> 0, text));
  const start = 0xffff_fffe;
  const segments = [
    at(start, 'abc'),
    at(start + 6, 'ghi'),
    at(start + 3, 'def'),
    at(start + 3, 'def'),
    at(start + 1, 'bcde'),
    segmentOf(frame('10.0.0.2', '10.0.0.1', 5, 'back')),
  ];
  t.deepEqual(joinStreams(segments).map(String), ['abcdefghi', 'back']);
});

test('countTlsRecords() counts records, and tells other bytes from TLS', (t) => {
  const record = (type: number, length: number): Buffer =>
    Buffer.concat([Buffer.from([type, 3, 3, length >> 8, length & 0xff]), Buffer.alloc(length)]);
  t.is(countTlsRecords(Buffer.concat([record(22, 300), record(23, 5), record(21, 2)])), 3);
  t.is(countTlsRecords(record(23, 100).subarray(0, 50)), 1);
  t.is(countTlsRecords(Buffer.from('GET / HTTP/1.1\r\n')), undefined);
  t.is(countTlsRecords(Buffer.concat([record(22, 3), Buffer.from('plain text')])), undefined);
  t.is(countTlsRecords(record(23, 20_000)), undefined);
});
