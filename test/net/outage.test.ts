import { setTimeout as wait } from 'node:timers/promises';
import test from 'ava';
import { parseIpAddress } from '../../base/address.ts';
import { AF_INET, closeDescriptor, openSocket, SOCK_STREAM } from '../../net/native/libc.ts';
import { setMaxRto } from '../../net/socket-options.ts';
import { connectTcp } from '../../net/tcp.ts';
import { listenTcp } from '../../net/tcp-listener.ts';
import type { TcpStream } from '../../net/tcp-stream.ts';
import { Collector } from '../support/collect.ts';
import { makeNamespace, runInside } from '../support/namespace.ts';

const MAX_RTO_MS = 1000;
/** TCP by itself repeats after some 6.5 s and then after 13. */
const OUTAGE_MS = 7000;
/** One more repeat, and what a busy machine takes to tell of it. */
const RECOVERED_MS = MAX_RTO_MS + 1000;

const kernelCan = ((): boolean => {
  const fd = openSocket(AF_INET, SOCK_STREAM);
  const can = setMaxRto(fd, MAX_RTO_MS);
  closeDescriptor(fd);
  return can;
})();

(kernelCan ? test : test.skip)(
  'what was written before and during an outage gets there soon after its end, both ways',
  async (t) => {
    const netns = await makeNamespace(t);
    const accepted = Promise.withResolvers<TcpStream>();
    const address = { ip: parseIpAddress('127.0.0.1'), port: 0 };
    const options = { address, netns, maxRtoMs: MAX_RTO_MS };
    const listener = listenTcp(options, accepted.resolve);
    t.teardown(() => {
      listener.close();
    });
    const dialled = await connectTcp(listener.local, { netns, maxRtoMs: MAX_RTO_MS });
    const ends = [new Collector(dialled), new Collector(await accepted.promise)] as const;
    for (const end of ends) await end.write('before ');
    for (const end of ends) await end.until((c) => c.text === 'before ');

    runInside(
      netns,
      "nft 'add table ip out; add chain ip out in { type filter hook prerouting priority 0; policy drop; }'",
    );
    for (const end of ends) await end.write('amid');
    await wait(OUTAGE_MS);
    t.deepEqual(
      ends.map((c) => c.text),
      ['before ', 'before '],
    );
    runInside(netns, 'nft delete table ip out');
    const overMs = performance.now();
    for (const end of ends) await end.until((c) => c.text === 'before amid');
    const tookMs = performance.now() - overMs;
    t.true(tookMs < RECOVERED_MS, `${Math.round(tookMs)} ms`);
    for (const { stream } of ends) stream.reset();
  },
);
