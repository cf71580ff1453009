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

/** A bridge, `br0`, in a namespace, for others to be joined by; with an address of its own where one is given. */
export function addBridge(netns: Netns, address?: string): void {
  const own = address === undefined ? '' : `ip addr add ${address} dev br0 && `;
  runInside(netns, `ip link add br0 type bridge && ${own}ip link set br0 up`);
}

/**
 * Joins a namespace to the bridge of another one: its end is `eth0`.
 *
 * @param options `link`: the bridge's end; `address`: with the length of the prefix; `route`: the default one, as `ip` takes it.
 */
export function joinBridge(
  bridge: Netns,
  netns: Netns,
  { link, address, route }: Readonly<{ link: string; address: string; route: string }>,
): void {
  const other = `/proc/${process.pid}/fd/${netns.fd}`;
  runInside(
    bridge,
    `ip link add ${link} type veth peer name eth0 netns ${other} && ip link set ${link} master br0 up`,
  );
  runInside(
    netns,
    `ip addr add ${address} dev eth0 && ip link set eth0 up && ip route add default ${route}`,
  );
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
