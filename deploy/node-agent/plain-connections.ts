import { readFileSync } from 'node:fs';
import { errorCode } from '../../base/errors.ts';
import type { Netns } from '../../net/netns.ts';
import { inNetns } from '../../net/netns.ts';
import { runCommand } from '../../mesh/runtime/command.ts';

/** `local peer`, as `ss` writes both: enough to know a connection again. */
export type ConnectionKey = string;

const LOOPBACK = /^(?:127\.|\[::1\]|\[::ffff:127\.)/;

/** The TCP connections that are open in a namespace and leave it; listing costs a process. */
export async function listConnections(netns: Netns): Promise<ReadonlySet<ConnectionKey>> {
  const text = await runIn(netns, ['ss', '-Htn', 'state', 'established']);
  return new Set(parseConnections(text));
}

/** Whether a namespace has TCP sockets that are connected or listen; the kernel's count, which costs no process. */
export function hasTcpSockets(netns: Netns): boolean {
  const counts = inNetns(netns, () =>
    ['sockstat', 'sockstat6'].map((name) => readIfThere(`/proc/thread-self/net/${name}`)),
  );
  return counts.some((text) => /^TCP6?: inuse [1-9]/m.test(text));
}

/** Ends connections with a reset; where the kernel cannot, they stay. */
export async function resetConnections(netns: Netns, keys: Iterable<ConnectionKey>): Promise<void> {
  for (const key of keys) {
    const [local = '', peer = ''] = key.split(' ');
    await runIn(netns, ['ss', '-K', '-tn', 'src', local, 'dst', peer]).catch(() => undefined);
  }
}

/** Ends all TCP connections of a namespace with a reset; where the kernel cannot, they stay. */
export async function resetAll(netns: Netns): Promise<void> {
  await runIn(netns, ['ss', '-K', '-tn', 'state', 'connected', 'exclude', 'time-wait']);
}

export function parseConnections(text: string): ConnectionKey[] {
  return text.split('\n').flatMap((line) => {
    // Recv-Q Send-Q Local:Port Peer:Port; the state is left out when one is asked for.
    const [, , local, peer] = line.trim().split(/\s+/);
    if (local === undefined || peer === undefined || LOOPBACK.test(peer)) return [];
    return [`${local} ${peer}`];
  });
}

/** Runs a program inside a namespace: started from there, it lives there, and this thread is back at once. */
export function runIn(netns: Netns, command: readonly string[], input = ''): Promise<string> {
  return inNetns(netns, () => runCommand(command, { input }));
}

/** A kernel without IPv6 has no file for it. */
function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return '';
    throw error;
  }
}
