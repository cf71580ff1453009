import { OUTSIDE } from '../../support/mesh.ts';
import { together, undoneBy, type ActiveFault, type Fault } from '../fault.ts';
import type { FaultPlace } from '../place.ts';

/** Every pod that a load begins or ends in. */
const PODS = ['client', 'other', 'near', 'far', 'open'] as const;
/** What goes between a pod and its node; not what the pod says to itself. */
const ACROSS = 'iifname "eth0" meta l4proto tcp';

/** Adds rules in namespaces; they are gone at the end with their table. */
async function filtered(
  place: FaultPlace,
  where: readonly string[],
  rules: readonly string[],
): Promise<ActiveFault> {
  const script = ['nft -f - <<END', 'table inet fault {', ...rules, '}', 'END'].join('\n');
  return together(
    where.map((name) => async () => {
      await place.run(name, script);
      return undoneBy(() => place.run(name, 'nft delete table inet fault'));
    }),
  );
}

/** The node's end of a pod's link goes down; the kernel forgets what was said of it, so that is said again. */
async function unplugged(place: FaultPlace, pod: string): Promise<ActiveFault> {
  const [{ node }, ip] = [await place.mesh.pod(pod), await place.mesh.ip(pod)];
  const port = (await place.run(node, `ip -o route get ${ip}`)).match(/ dev (\S+)/)?.[1] ?? '';
  const saved = await place.run(
    node,
    `ip -4 route show dev ${port} | sed 's/^/route replace /; s/$/ dev ${port}/'
     ip -6 route show dev ${port} | grep -v -e ^fe80 -e 'proto kernel' | sed 's/^/route replace /; s/$/ dev ${port}/'
     ip -6 -o address show dev ${port} scope global | sed 's/.*inet6 \\([^ ]*\\) .*/address replace \\1 dev ${port} nodad/'`,
  );
  const again = saved.split('\n').map((line) => line.replace(/ linkdown| pref medium/g, ''));
  await place.run(node, `ip link set ${port} down`);
  return undoneBy(async () => {
    const [routes, addresses] = [
      again.filter((line) => line.startsWith('route ')),
      again.filter((line) => line.startsWith('address ')),
    ];
    // At once: an ARP request that comes between link and route has no answer, and is repeated only after a second.
    const lines = [`link set ${port} up`, ...addresses, ...routes];
    await place.run(node, `ip -batch - <<'END'\n${lines.join('\n')}\nEND`);
    // Nor may the pod wait for its own next one, of those that went nowhere.
    await place.run(pod, 'ip neigh flush dev eth0');
  });
}

async function slowed(place: FaultPlace, where: string): Promise<ActiveFault> {
  await place.run(where, 'tc qdisc add dev eth0 root tbf rate 4mbit burst 16k latency 100ms');
  return undoneBy(() => place.run(where, 'tc qdisc del dev eth0 root'));
}

export const packetFaults: readonly Fault[] = [
  {
    name: '30 % of packets are dropped',
    class: '30 % of packets dropped',
    spares: {},
    holdMs: 1_000,
    begin: (place) =>
      filtered(
        place,
        [...PODS, ...place.pods],
        [
          'chain input { type filter hook prerouting priority -310',
          `${ACROSS} numgen random mod 100 < 30 drop`,
          '}',
        ],
      ),
  },
  {
    name: 'resets are injected',
    class: 'resets injected',
    spares: {},
    leavesHalfOpen: 'only who sent the packet is told of the reset',
    holdMs: 1_000,
    begin: (place) =>
      filtered(
        place,
        [...PODS, ...place.pods],
        [
          'chain input { type filter hook input priority 10',
          `${ACROSS} numgen random mod 100 < 3 reject with tcp reset`,
          '}',
        ],
      ),
  },
  {
    name: 'connection tracking is full',
    class: 'connection tracking full',
    spares: {},
    holdMs: 1_000,
    begin: (place) =>
      filtered(
        place,
        [...PODS, ...place.pods],
        [
          'chain input { type filter hook input priority 10',
          `${ACROSS} ct state new ct count over 1 drop`,
          '}',
          'chain output { type filter hook output priority 10',
          'oifname "eth0" meta l4proto tcp ct state new ct count over 1 drop',
          '}',
        ],
      ),
  },
  {
    name: 'the links of pods are down',
    class: 'link down and up',
    spares: {},
    holdMs: 2_500,
    begin: (place) => together([...PODS, ...place.pods].map((pod) => () => unplugged(place, pod))),
  },
  {
    name: 'the rate of links is limited',
    class: 'rate limited',
    spares: {},
    holdMs: 1_000,
    begin: (place) =>
      together([...PODS, ...place.pods, OUTSIDE].map((where) => () => slowed(place, where))),
  },
];
