import test from 'ava';
import { judgeNativeFacts, nativeFacts } from '../../../net/native/self-check.ts';

test('the Node that the project pins is one that the native layer knows', (t) => {
  t.deepEqual(judgeNativeFacts(nativeFacts()), []);
});

for (const [what, change, sentence] of [
  ['another platform', { platform: 'darwin' }, 'the platform must be linux: found darwin'],
  [
    'another architecture',
    { architecture: 's390x' },
    'the architecture must be x64 or arm64: found s390x',
  ],
  ['big-endian numbers', { endianness: 'BE' }, 'the byte order must be little-endian: found BE'],
  ['another release line of Node', { nodeMajor: 27 }, 'Node must be of release line 26: found 27'],
  ['another libuv', { libuv: '1.53.0' }, 'libuv must be of release line 1.52: found 1.53.0'],
  [
    'another size of uv_async_t',
    { asyncHandleBytes: 136 },
    'uv_async_t must have 128 bytes: found 136',
  ],
  [
    'another size of uv_idle_t',
    { idleHandleBytes: 128 },
    'uv_idle_t must have 120 bytes: found 128',
  ],
  ['another OpenSSL', { openssl: '4.0.0' }, 'OpenSSL must be of release line 3.5: found 4.0.0'],
  [
    'no way to the event loop',
    { hasEventLoop: false },
    'node:ffi must have getCurrentEventLoop (Node 26.6): found none',
  ],
] as const)
  test(`the native layer refuses ${what}, in a sentence`, (t) => {
    t.deepEqual(judgeNativeFacts({ ...nativeFacts(), ...change }), [sentence]);
  });
