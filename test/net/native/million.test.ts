import test from 'ava';
import { parseIpAddress } from '../../../base/address.ts';
import {
  AF_INET,
  bindSocket,
  closeDescriptor,
  duplicateDescriptor,
  EPOLL_CTL_ADD,
  EPOLL_DATA_OFFSET,
  EPOLL_EVENT_BYTES,
  epollControl,
  epollCreate,
  epollWait,
  getOption,
  openSocket,
  setIntOption,
  SOCK_DGRAM,
  SOCK_STREAM,
  socketName,
} from '../../../net/native/libc.ts';
import { LoopSeat } from '../../../net/native/libuv.ts';
import { allocateShared, copyNative, cString, nativeText } from '../../../net/native/memory.ts';
import { MessageBuffer } from '../../../net/native/message.ts';
import { withCertificates } from '../../../net/native/openssl-certificate.ts';
import { replaceCall } from '../../../net/native/openssl-library.ts';
import { Ssl } from '../../../net/native/openssl-session.ts';
import { allocateSockaddr, readSockaddr, writeSockaddr } from '../../../net/native/sockaddr.ts';
import {
  addressSpaceBytes,
  collectGarbage,
  medianGrowth,
  openDescriptors,
  privateDirtyBytes,
} from '../../support/memory.ts';
import { carry, nativeTls } from '../../support/native-tls.ts';
import { makeTestCa } from '../../support/test-ca.ts';

const OPERATIONS = 1_000_000;
const COLLECT_EVERY = 1_000;
/** The first part lets pools and caches grow to what they need. */
const SETTLED_FROM = 0.2;
const ALLOWED_BYTES = 2 << 20;
const READABLE = 1;
const [SOL_SOCKET, SO_REUSEADDR, SO_ERROR] = [1, 2, 4];

const tls = nativeTls(makeTestCa());
const [leafPem = ''] = tls.certificate.chainPem;
const context = tls.makeContext();
const loopback = { ip: parseIpAddress('127.0.0.1'), port: 0 };
const message = new MessageBuffer(64);

function expect(condition: boolean, what: string): void {
  if (!condition) throw new Error(`not as it should be: ${what}`);
}

function useMemory(): void {
  const text = cString('a text of native code');
  expect(nativeText(text.address) === 'a text of native code', 'a C string');
  const bytes = allocateShared(4096);
  bytes.buffer[7] = 7;
  expect(copyNative(bytes.address, 4096)[7] === 7, 'a copy');
}

function useSocket(): void {
  const fd = openSocket(AF_INET, SOCK_STREAM);
  const name = allocateSockaddr();
  const length = allocateShared(4);
  expect(setIntOption(fd, SOL_SOCKET, SO_REUSEADDR, 1) === 0, 'an option');
  expect(getOption(fd, SOL_SOCKET, SO_ERROR, allocateShared(4), length) === 4, 'no error');
  expect(bindSocket(fd, name, writeSockaddr(name, loopback, AF_INET)) === 0, 'an address');
  expect(socketName(fd, name, length) === 0 && readSockaddr(name)?.ip === loopback.ip, 'a name');
  const copy = duplicateDescriptor(fd);
  closeDescriptor(fd);
  closeDescriptor(copy);
}

function useEpoll(): void {
  const [epoll, fd] = [epollCreate(), openSocket(AF_INET, SOCK_STREAM)];
  const event = allocateShared(EPOLL_EVENT_BYTES);
  event.buffer.writeUInt32LE(READABLE, 0);
  event.buffer.writeInt32LE(fd, EPOLL_DATA_OFFSET);
  expect(epollControl(epoll, EPOLL_CTL_ADD, fd, event) === 0, 'a descriptor is watched');
  // An unconnected socket is hung up.
  expect(epollWait(epoll, allocateShared(4 * EPOLL_EVENT_BYTES), 4, 0) === 1, 'an event');
  closeDescriptor(epoll);
  closeDescriptor(fd);
}

/** A datagram that a socket sends to itself. */
function useMessage(): void {
  const fd = openSocket(AF_INET, SOCK_DGRAM);
  const { name } = message;
  bindSocket(fd, name, writeSockaddr(name, loopback, AF_INET));
  socketName(fd, name, allocateShared(4));
  expect(message.send(fd, Buffer.from('datagram'), undefined, 16) === 8, 'a datagram');
  expect(message.receive(fd) === 8 && !message.truncated, 'the same datagram');
  closeDescriptor(fd);
}

function useSession(): void {
  const session = new Ssl(context, 'server', undefined);
  session.feed(allocateShared(64), 0, 64);
  session.free();
}

function readPem(): void {
  withCertificates(leafPem, 'a certificate', (_x509, index) => {
    expect(index === 0, 'one certificate');
  });
}

function useHandshake(): void {
  tls.withPair(({ client, server }) => {
    expect(server.peerCertificate()?.uris[0] === tls.certificate.identity, 'the identity');
    expect(client.peerChain().length === 2, 'the chain');
    const bytes = allocateShared(1024);
    expect(client.write(bytes, 0, 1024) === 1024, 'a record');
    carry(server);
    expect(server.read(bytes, 0, 1024) === 1024, 'the same record');
    server.shutdown();
    carry(client);
  });
}

/** Every way in which something is not made must free what was made of it. */
function failToMake(): void {
  for (const name of ['SSL_new', 'BIO_new'] as const) {
    using _fault = replaceCall(name, () => 0n);
    expectThrow(useSession);
  }
  for (const name of ['PEM_read_bio_PrivateKey', 'BIO_new_mem_buf'] as const) {
    using _fault = replaceCall(name, () => 0n);
    expectThrow(tls.freeContext);
  }
  expectThrow(() => {
    withCertificates(leafPem.replace('MII', 'XXX'), 'a broken certificate', () => undefined);
  });
}

function expectThrow(action: () => void): void {
  let thrown = false;
  try {
    action();
  } catch {
    thrown = true;
  }
  expect(thrown, 'an error');
}

function useSeat(): void {
  new LoopSeat().close();
}

/** Of each thousand operations so many; what costs most comes least. */
const shares: readonly (readonly [number, () => void])[] = [
  [370, useMemory],
  [250, useSocket],
  [150, useEpoll],
  [100, useMessage],
  [80, useSession],
  [40, readPem],
  [4, tls.freeContext],
  [3, useHandshake],
  [2, failToMake],
  [1, useSeat],
];
const round = shares.flatMap(([share, operation]) =>
  Array.from({ length: share }, () => operation),
);

test('a million operations of the native layer leave address space, memory and descriptors as they were', async (t) => {
  t.timeout(180_000);
  t.is(round.length, COLLECT_EVERY);
  const descriptors = openDescriptors();
  const samples: { space: number; dirty: number }[] = [];
  for (let done = 0; done < OPERATIONS; ) {
    for (const operation of round) operation();
    done += round.length;
    await collectGarbage();
    t.is(openDescriptors(), descriptors);
    if (done >= OPERATIONS * SETTLED_FROM)
      samples.push({ space: addressSpaceBytes(), dirty: privateDirtyBytes() });
  }
  const space = medianGrowth(samples.map((sample) => sample.space));
  const dirty = medianGrowth(samples.map((sample) => sample.dirty));
  t.log(`address space ${space / 1024} KiB, private memory ${dirty / 1024} KiB more`);
  t.true(space < ALLOWED_BYTES, `the address space grew by ${space} bytes`);
  t.true(dirty < ALLOWED_BYTES, `private memory grew by ${dirty} bytes`);
});
