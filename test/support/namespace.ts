import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { ExecutionContext } from 'ava';
import { systemPath } from '../../mesh/runtime/command.ts';
import { openNetns, type Netns } from '../../net/netns.ts';

/**
 * A network namespace of a test, with its loopback up. It has no name and no process: this process's descriptor alone
 * keeps it, so nothing is left of it however the test ends.
 */
export async function makeNamespace(t: Pick<ExecutionContext, 'teardown'>): Promise<Netns> {
  const child = spawn('unshare', ['--net', 'cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.write('entered\n');
  await once(child.stdout, 'data'); // what answers is inside
  const netns = openNetns(`/proc/${child.pid ?? 0}/ns/net`);
  child.stdin.end();
  await once(child, 'close');
  t.teardown(() => {
    netns.close();
  });
  runInside(netns, 'ip link set lo up');
  return netns;
}

/** Runs a shell script in a namespace, with the system's own programs; its standard output. */
export function runInside(netns: Netns, script: string, input = ''): string {
  return execFileSync('nsenter', [...inside(netns), 'sh', '-c', script], {
    ...{ input, encoding: 'utf8', env: { PATH: systemPath() } },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
}

/** Arguments by which `nsenter` runs a program in a namespace of this process. */
export function inside(netns: Netns): string[] {
  return [`--net=/proc/${process.pid}/fd/${netns.fd}`];
}
