import { setTimeout as wait } from 'node:timers/promises';
import { socketAddress } from '../../base/address.ts';
import { connectTcp } from '../../net/tcp.ts';
import type { TcpStream } from '../../net/tcp-stream.ts';
import type { LoadOperations } from './protocol.ts';
import { Drain, Source } from './sinks.ts';

/** Runs streams at once and counts what each has carried once all have got going. */
export async function runBulk(
  ask: LoadOperations['bulk']['ask'],
): Promise<LoadOperations['bulk']['answer']> {
  const { host, port, direction, streams, stalled, warmMs, ms } = ask;
  const to = socketAddress(host, port);
  const open: TcpStream[] = [];
  try {
    const flows: Readonly<{ stream: TcpStream; end: Drain | Source }>[] = [];
    for (let index = 0; index < stalled + streams; index++) {
      const stream = await connectTcp(to);
      open.push(stream);
      const isStalled = index < stalled;
      const end = direction === 'down' ? new Drain(stream, isStalled) : new Source(stream);
      if (!isStalled) flows.push({ stream, end });
    }
    const count = (): number[] =>
      flows.map(({ stream }) => (direction === 'down' ? stream.bytesRead : stream.bytesWritten));
    await wait(warmMs);
    const [before, startMs] = [count(), performance.now()];
    await wait(ms);
    const [after, endMs] = [count(), performance.now()];
    for (const { end } of flows) if (end.error !== undefined) throw end.error;
    return {
      bytes: after.map((total, index) => total - (before[index] ?? 0)),
      ms: endMs - startMs,
    };
  } finally {
    for (const stream of open) stream.reset();
  }
}
