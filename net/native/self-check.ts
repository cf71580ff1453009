import ffi from 'node:ffi';
import os from 'node:os';
import { libuvFacts } from './libuv.ts';

/*
 * Runs when the engine is first imported. The native layer knows layouts and behaviour of certain versions; on what it
 * does not know it refuses to run, because a wrong layout is not an error but a crash or worse.
 */

export type NativeFacts = Readonly<{
  platform: string;
  architecture: string;
  endianness: string;
  nodeMajor: number;
  libuv: string;
  asyncHandleBytes: number;
  idleHandleBytes: number;
  openssl: string;
  hasEventLoop: boolean;
}>;

/** What this process is. */
export function nativeFacts(): NativeFacts {
  const { version, asyncHandleBytes, idleHandleBytes } = libuvFacts();
  return {
    platform: process.platform,
    architecture: process.arch,
    endianness: os.endianness(),
    nodeMajor: Number(process.versions.node.split('.')[0]),
    libuv: version,
    asyncHandleBytes,
    idleHandleBytes,
    openssl: process.versions.openssl,
    hasEventLoop: typeof ffi.getCurrentEventLoop === 'function',
  };
}

/** The sentences that say what is wrong with it; none when the native layer knows it. */
export function judgeNativeFacts(facts: NativeFacts): readonly string[] {
  const expected: readonly (readonly [string, boolean, string | number])[] = [
    ['the platform must be linux', facts.platform === 'linux', facts.platform],
    [
      'the architecture must be x64 or arm64',
      ['x64', 'arm64'].includes(facts.architecture),
      facts.architecture,
    ],
    ['the byte order must be little-endian', facts.endianness === 'LE', facts.endianness],
    ['Node must be of release line 26', facts.nodeMajor === 26, facts.nodeMajor],
    ['node:ffi must have getCurrentEventLoop (Node 26.6)', facts.hasEventLoop, 'none'],
    ['libuv must be of release line 1.52', facts.libuv.startsWith('1.52.'), facts.libuv],
    ['uv_async_t must have 128 bytes', facts.asyncHandleBytes === 128, facts.asyncHandleBytes],
    ['uv_idle_t must have 120 bytes', facts.idleHandleBytes === 120, facts.idleHandleBytes],
    ['OpenSSL must be of release line 3.5', facts.openssl.startsWith('3.5.'), facts.openssl],
  ];
  return expected
    .filter(([, holds]) => !holds)
    .map(([rule, , found]) => `${rule}: found ${String(found)}`);
}

const problems = judgeNativeFacts(nativeFacts());
if (problems.length > 0)
  throw new Error(
    `Cannot use the native layer on this Node: ${problems.join('; ')}. Start Halo with the Node that its package.json pins (npm ci installs it)`,
  );
