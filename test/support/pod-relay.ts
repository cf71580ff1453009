import type { ExecutionContext } from 'ava';
import { parseIpAddress, type SocketAddress } from '../../base/address.ts';
import { outsidePid } from '../../bench/harness/processes.ts';
import { openNetns, type Netns } from '../../net/netns.ts';
import { Relay } from '../../net/relay.ts';
import { connectTcp } from '../../net/tcp.ts';
import { listenTcp } from '../../net/tcp-listener.ts';
import type { Mesh } from './mesh.ts';

/** The network namespace of a pod with a scripted peer, until the test is over: what dials from it is that pod. */
export async function openPodNetns(t: ExecutionContext, mesh: Mesh, pod: string): Promise<Netns> {
  const { supervisorPid } = await mesh.sandbox.status();
  const { pid } = await (await mesh.peer(pod)).ask('self', {});
  const netns = openNetns(`/proc/${outsidePid(pid, supervisorPid) ?? 0}/ns/net`);
  t.teardown(() => {
    netns.close();
  });
  return netns;
}

/**
 * Lets this process speak for a pod: what dials a port of loopback dials `to` from there.
 *
 * @returns the port, until the test is over.
 */
export function openPodRelay(t: ExecutionContext, netns: Netns, to: SocketAddress): number {
  const relays = new Set<Relay>();
  const address = { ip: parseIpAddress('127.0.0.1'), port: 0 };
  const listener = listenTcp({ address }, (downstream) => {
    connectTcp(to, { netns }).then(
      (upstream) => {
        const relay = new Relay(downstream, upstream, () => relays.delete(relay));
        relays.add(relay);
      },
      () => {
        downstream.reset();
      },
    );
  });
  t.teardown(() => {
    listener.close();
    for (const relay of relays) relay.cut(new Error('the test is over'));
  });
  return listener.local.port;
}
