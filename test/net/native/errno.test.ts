import test from 'ava';
import { EAGAIN, errnoName, systemError } from '../../../net/native/errno.ts';
import {
  AF_INET,
  closeDescriptor,
  isNetworkNamespace,
  openSocket,
  readInto,
  SOCK_STREAM,
  writeFrom,
} from '../../../net/native/libc.ts';
import { allocateShared, checkRange, cString } from '../../../net/native/memory.ts';

test('systemError() names what could not be done and the error', (t) => {
  const error = systemError(111, 'connect to 10.0.0.1:80', 'upstream');
  t.like(error, { code: 'ERR_SYSTEM_ECONNREFUSED', side: 'upstream' });
  t.is(error.message, 'Cannot connect to 10.0.0.1:80: ECONNREFUSED');
  t.is(errnoName(EAGAIN), 'EAGAIN');
  t.is(errnoName(9999), 'errno 9999');
});

test('a call on a descriptor that is closed answers with its error', (t) => {
  const bytes = allocateShared(16);
  const fd = openSocket(AF_INET, SOCK_STREAM);
  t.is(readInto(fd, bytes, 0, 16), -107); // ENOTCONN
  t.is(writeFrom(fd, bytes, 0, 16), -32); // EPIPE, and no signal
  closeDescriptor(fd);
  t.is(readInto(fd, bytes, 0, 16), -9); // EBADF
  t.is(writeFrom(fd, bytes, 0, 16), -9);
  t.false(isNetworkNamespace(fd));
});

for (const [offset, length] of [
  [-1, 4],
  [0, -1],
  [0, 17],
  [16, 1],
  [2 ** 31, 1],
  [2 ** 32, 0],
  [0.5, 1],
  [0, 1.5],
  [0, NaN],
  [NaN, 1],
] as const)
  test(`no call gets bytes ${offset}+${length} of 16`, (t) => {
    const bytes = allocateShared(16);
    t.throws(
      () => {
        checkRange(bytes, offset, length);
      },
      { instanceOf: RangeError },
    );
    t.throws(() => readInto(0, bytes, offset, length), { instanceOf: RangeError });
    t.throws(() => writeFrom(1, bytes, offset, length), { instanceOf: RangeError });
  });

test('a text with NUL is no C string', (t) => {
  t.throws(() => cString('a\0b'), { instanceOf: RangeError });
});
