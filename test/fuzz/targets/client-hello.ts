import { deepStrictEqual, ok } from 'node:assert';
import { MAX_CLIENT_HELLO_BYTES, readClientHello } from '../../../net/client-hello.ts';
import type { Target } from '../oracle.ts';

/** What is told does not depend on how the bytes came, and a name is one that a listener could have. */
export const target: Target = {
  maxBytes: 4096,
  check(input) {
    const found = readClientHello(input);
    if (found.kind === 'more') {
      ok(found.atLeast > input.length, 'it waits for what is here');
      ok(found.atLeast <= 2 * MAX_CLIENT_HELLO_BYTES + 512, 'it waits without end');
      return;
    }
    // What is behind the message changes nothing, and no part of it tells anything else.
    deepStrictEqual(readClientHello(Buffer.concat([input, Buffer.from([1])])), found);
    for (const cut of [1, input.length >> 1, input.length - 1]) {
      const part = readClientHello(input.subarray(0, Math.max(0, cut)));
      if (part.kind !== 'more' && found.kind === 'hello') deepStrictEqual(part, found);
    }
    if (found.kind === 'refused') return;
    const { serverName, protocols } = found.hello;
    ok(serverName === '' || /^[a-z0-9_-][a-z0-9._-]{0,252}$/.test(serverName));
    ok(protocols.every((name) => name.length > 0 && name.length < 256));
  },
};
