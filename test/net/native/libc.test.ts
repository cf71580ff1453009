import test from 'ava';
import { parseIpAddress } from '../../../base/address.ts';
import { EFAULT, EINPROGRESS } from '../../../net/native/errno.ts';
import {
  acceptSocket,
  AF_INET,
  bindSocket,
  closeDescriptor,
  connectSocket,
  duplicateDescriptor,
  enterNetworkNamespace,
  EPOLL_CTL_ADD,
  EPOLL_EVENT_BYTES,
  epollControl,
  epollCreate,
  epollWait,
  getOption,
  listenSocket,
  MSGHDR_BYTES,
  openSocket,
  peerName,
  receiveMessage,
  sendMessage,
  setAbortiveClose,
  setIntOption,
  shutdownWrite,
  SOCK_DGRAM,
  SOCK_STREAM,
  socketName,
  writeNative,
} from '../../../net/native/libc.ts';
import { LoopSeat } from '../../../net/native/libuv.ts';
import {
  addressAt,
  allocateShared,
  shareBuffer,
  checkRange,
  copyNative,
  countOf,
  nativeText,
  viewNative,
} from '../../../net/native/memory.ts';
import { MessageBuffer } from '../../../net/native/message.ts';
import { allocateSockaddr, readSockaddr, writeSockaddr } from '../../../net/native/sockaddr.ts';

const EBADF = 9;
/** More than any process may have open. */
const NO_DESCRIPTOR = 2 ** 30;
const shorter = (bytes: number) => allocateShared(bytes - 1);

test('a structure that is too short for the kernel is not handed to it', (t) => {
  const socket = openSocket(AF_INET, SOCK_STREAM);
  const epoll = epollCreate();
  const name = allocateSockaddr();
  const tooShort: readonly (readonly [string, () => unknown])[] = [
    ['sendmsg', () => sendMessage(socket, shorter(MSGHDR_BYTES), 0)],
    ['recvmsg', () => receiveMessage(socket, shorter(MSGHDR_BYTES), 0)],
    ['epoll_ctl', () => epollControl(epoll, EPOLL_CTL_ADD, socket, shorter(EPOLL_EVENT_BYTES))],
    ['epoll_wait', () => epollWait(epoll, shorter(4 * EPOLL_EVENT_BYTES), 4, 0)],
    ['epoll_wait, less than none', () => epollWait(epoll, allocateShared(64), -1, 0)],
    ['bind', () => bindSocket(socket, name, name.buffer.length + 1)],
    ['connect', () => connectSocket(socket, name, name.buffer.length + 1)],
    ['connect, less than nothing', () => connectSocket(socket, name, -1)],
    ['accept4', () => acceptSocket(socket, name, shorter(4))],
    ['getsockname', () => socketName(socket, name, shorter(4))],
    ['getpeername', () => peerName(socket, name, shorter(4))],
    ['getsockopt', () => getOption(socket, 1, 4, allocateShared(4), shorter(4))],
    [
      'a range that is no number',
      () => {
        checkRange(name, Number.NaN, 1);
      },
    ],
  ];
  for (const [what, call] of tooShort) t.throws(call, { instanceOf: RangeError }, what);
  closeDescriptor(socket);
  closeDescriptor(epoll);
});

test('the kernel writes no more of an address than there is room for', (t) => {
  const socket = openSocket(AF_INET, SOCK_STREAM);
  const whole = allocateShared(64);
  whole.buffer.fill(0xaa);
  const short = shareBuffer(whole.buffer.subarray(0, 4));
  t.is(socketName(socket, short, allocateShared(4)), 0);
  t.true(whole.buffer.subarray(4).every((byte) => byte === 0xaa));
  closeDescriptor(socket);
});

test('a connection that was begun before is under way or there, not an error', (t) => {
  const address = allocateSockaddr();
  const loopback = writeSockaddr(address, { ip: parseIpAddress('127.0.0.1'), port: 0 }, AF_INET);
  const listener = openSocket(AF_INET, SOCK_STREAM);
  bindSocket(listener, address, loopback);
  listenSocket(listener, 0);
  socketName(listener, address, allocateShared(4));
  // A queue for none takes one, and nobody accepts it: the second waits for an answer to its SYN.
  const [done, waiting] = [0, 1].map(() => openSocket(AF_INET, SOCK_STREAM));
  for (let asked = 0; asked < 3; asked++) {
    t.is(connectSocket(done ?? -1, address, loopback), asked === 0 ? -EINPROGRESS : 0);
    t.is(connectSocket(waiting ?? -1, address, loopback), -EINPROGRESS);
  }
  for (const fd of [listener, done, waiting]) closeDescriptor(fd ?? -1);
});

test('every call on a descriptor that is not open answers with its error', (t) => {
  const name = allocateSockaddr();
  const length = allocateShared(4);
  const message = new MessageBuffer(16);
  for (const fd of [-1, NO_DESCRIPTOR]) {
    const answers: readonly (readonly [string, number])[] = [
      ['bind', bindSocket(fd, name, 16)],
      ['listen', listenSocket(fd, 1)],
      ['accept4', acceptSocket(fd, name, length)],
      ['connect', connectSocket(fd, name, 16)],
      ['shutdown', shutdownWrite(fd)],
      ['getsockname', socketName(fd, name, length)],
      ['getpeername', peerName(fd, name, length)],
      ['setsockopt', setIntOption(fd, 1, 2, 1)],
      ['getsockopt', getOption(fd, 1, 4, allocateShared(4), length)],
      ['sendmsg', message.send(fd, Buffer.from('x'))],
      ['recvmsg', message.receive(fd)],
      ['epoll_ctl', epollControl(fd, EPOLL_CTL_ADD, 0, allocateShared(EPOLL_EVENT_BYTES))],
      ['epoll_wait', epollWait(fd, allocateShared(EPOLL_EVENT_BYTES), 1, 0)],
      ['setns', enterNetworkNamespace(fd)],
      ['fcntl', duplicateDescriptor(fd)],
    ];
    for (const [what, answer] of answers) t.is(answer, -EBADF, `${what} on ${fd}`);
    t.deepEqual(message.descriptors(), []);
    setAbortiveClose(fd, true);
    closeDescriptor(fd);
  }
});

test('memory that is not there is an error of the kernel, and a length below nothing one of ours', (t) => {
  const socket = openSocket(AF_INET, SOCK_DGRAM);
  const name = allocateSockaddr();
  const discard = writeSockaddr(name, { ip: parseIpAddress('127.0.0.1'), port: 9 }, AF_INET);
  t.is(connectSocket(socket, name, discard), 0);
  t.is(writeNative(socket, 0n, 16), -EFAULT);
  t.throws(() => writeNative(socket, 0n, -1));
  t.throws(() => writeNative(socket, -1n, 1));
  closeDescriptor(socket);
});

test('addresses and counts are told anew for each offset and length, and for none that is not whole', (t) => {
  const bytes = allocateShared(64);
  for (const offset of [0, 9, 9, 63, 0, 9])
    t.is(addressAt(bytes, offset), bytes.address + BigInt(offset));
  t.throws(() => addressAt(bytes, 1.5), { instanceOf: RangeError });
  t.is(addressAt(bytes, 9), bytes.address + 9n);
  for (const count of [0, 1, 4096, 4097, 4096, 1]) t.is(countOf(count), BigInt(count));
  for (const count of [1.5, NaN, Infinity])
    t.throws(() => countOf(count), { instanceOf: RangeError });
});

test('NULL and nothing are empty, and a length below nothing is an error', (t) => {
  const { address } = allocateShared(8);
  t.is(copyNative(0n, 8).length, 0);
  t.is(viewNative(0n, 8).length, 0);
  t.is(copyNative(address, 0).length, 0);
  t.is(nativeText(0n), '');
  for (const length of [-1, 1.5, Number.NaN]) {
    t.throws(() => copyNative(address, length));
    t.throws(() => viewNative(address, length));
  }
});

test('a message longer than its buffer is refused', (t) => {
  t.throws(() => new MessageBuffer(16).send(NO_DESCRIPTOR, Buffer.alloc(17)), {
    instanceOf: RangeError,
  });
});

test('an address fits its family, and one of another family is nobody’s', (t) => {
  const into = allocateSockaddr();
  t.throws(() => writeSockaddr(into, { ip: parseIpAddress('fd00::1'), port: 1 }, AF_INET), {
    instanceOf: RangeError,
  });
  for (const port of [-1, 65_536])
    t.throws(() => writeSockaddr(into, { ip: parseIpAddress('10.0.0.1'), port }, AF_INET));
  into.buffer.fill(0);
  t.is(readSockaddr(into), undefined);
  t.throws(() => readSockaddr(allocateShared(1)), { instanceOf: RangeError });
});

test('LoopSeat knows when the loop wants its turn, and ends twice', (t) => {
  const seat = new LoopSeat();
  t.true(seat.descriptor > 0);
  const immediate = setImmediate(() => undefined);
  t.is(seat.timeoutMs(), 0);
  clearImmediate(immediate);
  seat.keepAwake(true);
  t.is(seat.timeoutMs(), 0);
  seat.close();
  seat.close();
  seat.keepAlive(true);
  seat.keepAwake(true);
});
