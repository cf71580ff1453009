import test from 'ava';
import { resetSocket } from '../../base/reset-socket.ts';
import { judgeSniffed, sniff, sniffBytes, type SniffedProtocol } from '../../waypoint/sniff.ts';
import { Collector } from '../support/collect.ts';
import { tcpPair } from '../support/tcp-pair.ts';

const known: readonly (readonly [string, SniffedProtocol])[] = [
  ['GET / HTTP/1.1\r\n', 'HTTP11'],
  ['get /x?y HTTP/1.0\nHost: a', 'HTTP11'],
  ['BREW /pot HTTP/1.1\r\n\r\n', 'HTTP11'],
  ['\r\n\r\nGET / HTTP/1.1\r\n', 'HTTP11'],
  ['GET / http/1.1\r\n', 'HTTP11'],
  ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'HTTP2'],
  ['\x16\x03\x01\x02\x00', 'TCP'],
  ['HELO mail.example\r\n', 'TCP'],
  ['*1\r\n$4\r\nPING\r\n', 'TCP'],
  ['GET key\r\n', 'TCP'],
  ['\n'.repeat(9), 'HTTP11'],
  ['\0\0\0\x08\x04\xd2\x16\x2f', 'TCP'],
  [' GET / HTTP/1.1\r\n', 'TCP'],
];

for (const [text, protocol] of known)
  test(`${JSON.stringify(text)} is ${protocol}, and no earlier byte says otherwise`, (t) => {
    t.is(sniffBytes(text), protocol);
    for (let length = 1; length < text.length; length++)
      t.true([undefined, protocol].includes(sniffBytes(text.slice(0, length))), `${length} bytes`);
  });

const late: readonly (readonly [string, SniffedProtocol])[] = [
  ['', 'TCP'],
  ['G', 'HTTP11'],
  ['GE', 'HTTP11'],
  ['\r\nPOS', 'HTTP11'],
  ['GET /slow', 'HTTP11'],
  ['BREW /pot', 'HTTP11'],
  ['PRI *', 'HTTP2'],
  ['HELLO', 'TCP'],
  ['EHLO mail', 'TCP'],
  [`GET /${'x'.repeat(9000)}`, 'HTTP11'],
];

for (const [text, protocol] of late)
  test(`when time or room is over, ${JSON.stringify(text.slice(0, 12))} is ${protocol}`, (t) => {
    t.is(judgeSniffed(text), protocol);
  });

test('what was sniffed is read again, then the rest, then the end', async (t) => {
  const { ours, theirs } = await tcpPair(t);
  theirs.write('GET / HTTP/1.1\r\nHost: a\r\n');
  const { protocol, stream } = await sniff(ours);
  t.is(protocol, 'HTTP11');
  t.is(stream.bytesRead, 0);
  const collector = new Collector(stream);
  theirs.end('\r\nbody');
  await collector.until(({ ended }) => ended);
  t.is(collector.text, 'GET / HTTP/1.1\r\nHost: a\r\n\r\nbody');
});

test('a client that waits for the server is taken for TCP, and loses nothing', async (t) => {
  const { ours, theirs } = await tcpPair(t);
  const { protocol, stream } = await sniff(ours, 20);
  t.is(protocol, 'TCP');
  const collector = new Collector(stream);
  theirs.end('after the greeting');
  await collector.until(({ ended }) => ended);
  t.is(collector.text, 'after the greeting');
});

test('a client that has ended is judged by what it said, and its end is told', async (t) => {
  const { ours, theirs } = await tcpPair(t);
  theirs.end('bye');
  const { protocol, stream } = await sniff(ours);
  t.is(protocol, 'TCP');
  const collector = new Collector(stream);
  await collector.until(({ ended }) => ended);
  t.is(collector.text, 'bye');
});

test('a client that breaks off while it is sniffed is an error', async (t) => {
  const { ours, theirs } = await tcpPair(t);
  const sniffed = sniff(ours);
  resetSocket(theirs);
  await t.throwsAsync(sniffed);
});

test('a sink that takes little gets the rest of what was sniffed when it asks', async (t) => {
  const { ours, theirs } = await tcpPair(t);
  theirs.end('GET / HTTP/1.1\r\n\r\n');
  const { stream } = await sniff(ours);
  const collector = new Collector(stream);
  collector.allowance = 4;
  await collector.until(({ received }) => received === 4);
  t.is(stream.bytesRead, 4);
  collector.release();
  await collector.until(({ ended }) => ended);
  t.is(collector.text, 'GET / HTTP/1.1\r\n\r\n');
});
