import { existsSync, readFileSync } from 'node:fs';
import {
  BRIDGE,
  bridgeAddresses,
  CONTROL_PLANE,
  controlPlaneAddresses,
  nodePrefix,
  OUTSIDE,
  outsideAddresses,
  PROBE_SOURCES,
  SERVICE_NETWORKS,
  type NodeAddresses,
} from './addresses.ts';
import { familyOf, formatCidr, type IpAddress } from '../../base/address.ts';
import { inNamespace, runCommand } from '../../mesh/runtime/command.ts';

/** Where `ip netns` keeps names; inside the sandbox this is a file system of its own. */
const NETNS_FOLDER = '/run/netns';

/**
 * Of TCP in all namespaces of a sandbox: Linux's own default, whatever the host has, where the kernel allows it. A host's `bbr`
 * paces each connection by timers for a way that the networks of one machine do not have, and bulk takes a third longer. See
 * docs/decisions/large-steps.md.
 */
export const CONGESTION_CONTROL = 'cubic';

/** That of a sandbox on this host. */
export function congestionControl(): string {
  const setting = (name: string): string[] =>
    readFileSync(`/proc/sys/net/ipv4/tcp_${name}`, 'utf8').trim().split(' ');
  const isAllowed = setting('allowed_congestion_control').includes(CONGESTION_CONTROL);
  return isAllowed ? CONGESTION_CONTROL : setting('congestion_control').join(' ');
}

export function netnsPath(name: string): string {
  return `${NETNS_FOLDER}/${name}`;
}

/** False where the kernel has no IPv6 or it is switched off. */
export function hasIpv6(): boolean {
  const path = '/proc/sys/net/ipv6/conf/all/disable_ipv6';
  return existsSync(path) && readFileSync(path, 'utf8').trim() === '0';
}

/** What every namespace needs before its interfaces exist: no wait for duplicate addresses, which cannot be here. */
function prepareNetns(name: string, forwarding: boolean): string {
  const settings = [
    ['net/ipv6/conf/default/accept_dad', '0'],
    ['net/ipv6/conf/all/accept_dad', '0'],
    ['net/ipv6/conf/default/accept_ra', '0'],
    ['net/ipv4/tcp_congestion_control', CONGESTION_CONTROL],
    ...(forwarding
      ? [
          ['net/ipv4/ip_forward', '1'],
          ['net/ipv6/conf/all/forwarding', '1'],
        ]
      : []),
  ];
  const writes = settings
    .map(([key, value]) => `[ ! -e /proc/sys/${key} ] || echo ${value} > /proc/sys/${key}`)
    .join('; ');
  return `nsenter --net=${netnsPath(name)} sh -c '${writes}; ip link set lo up'`;
}

/** The bridge that joins the nodes, in the sandbox's own outermost namespace. */
export async function createBridge(ipv6: boolean): Promise<void> {
  await ipBatch(undefined, [
    'link set lo up',
    `link add ${BRIDGE} type bridge`,
    `link set ${BRIDGE} up`,
    ...bridgeAddresses(ipv6).map((ip) => addressLine(ip, nodePrefix(ip), BRIDGE)),
  ]);
}

/** The namespaces beside the nodes: the control plane's, and one that stands for the world outside. */
export async function createSideNamespaces(
  nodes: readonly NodeAddresses[],
  ipv6: boolean,
): Promise<void> {
  await createBridged(CONTROL_PLANE, controlPlaneAddresses(ipv6), nodes);
  await createBridged(OUTSIDE, outsideAddresses(ipv6), nodes);
}

/** A node: its namespace on the bridge, with routes to the pods of the others. */
export async function createNode(
  node: NodeAddresses,
  nodes: readonly NodeAddresses[],
): Promise<void> {
  const others = nodes.filter((other) => other.name !== node.name);
  await createBridged(node.name, node.ips, others);
  const probes = PROBE_SOURCES.slice(0, node.ips.length).map((ip) =>
    ip.includes(':') ? `address add ${ip}/128 dev lo nodad` : `address add ${ip}/32 dev lo`,
  );
  // The rules put an endpoint in a Service's place only for what has a route at all: the node's own programs need one.
  const services = node.ips.flatMap((ip) => {
    const network = SERVICE_NETWORKS.find((cidr) => familyOf(cidr.ip) === familyOf(ip));
    return network === undefined ? [] : [`route add ${formatCidr(network)} dev eth0`];
  });
  await ipBatch(node.name, [...probes, ...services]);
}

async function createBridged(
  name: string,
  ips: readonly IpAddress[],
  neighbours: readonly NodeAddresses[],
): Promise<void> {
  await runShell(`ip netns add ${name}\n${prepareNetns(name, true)}`);
  const port = `br-${name}`.slice(0, 15);
  await ipBatch(undefined, [
    `link add ${port} type veth peer name eth0 netns ${name}`,
    `link set ${port} master ${BRIDGE}`,
    `link set ${port} up`,
  ]);
  const routes = neighbours.flatMap((node) =>
    node.podCidrs.flatMap((cidr, family) => {
      const via = node.ips[family];
      return via === undefined ? [] : [`route add ${formatCidr(cidr)} via ${via} dev eth0`];
    }),
  );
  await ipBatch(name, [
    'link set eth0 up',
    ...ips.map((ip) => addressLine(ip, nodePrefix(ip), 'eth0')),
    ...routes,
  ]);
}

/** A pod's namespace, in which loopback alone works yet. */
export async function createPodNamespace(name: string): Promise<void> {
  await runShell(`ip netns add ${name}\n${prepareNetns(name, false)}`);
}

/**
 * Joins a pod's namespace to its node by a veth. Every packet is routed by the node, also between pods of one node, so
 * that the node's translation of Service addresses sees both directions.
 *
 * @param name of the namespace; its first 12 characters after the dash name the node's end of the veth.
 */
export async function connectPodNamespace(
  name: string,
  node: NodeAddresses,
  ips: readonly IpAddress[],
): Promise<void> {
  const port = vethName(name);
  await ipBatch(node.name, [
    `link add ${port} type veth peer name eth0 netns ${name}`,
    ...node.gateways.map((ip) => addressLine(ip, ip.includes(':') ? 128 : 32, port)),
    `link set ${port} up`,
    ...ips.map((ip) => `route add ${ip} dev ${port}`),
  ]);
  await ipBatch(name, [
    'link set eth0 up',
    ...ips.map((ip) => addressLine(ip, ip.includes(':') ? 128 : 32, 'eth0')),
    ...node.gateways.flatMap((gateway) => [
      `route add ${gateway} dev eth0`,
      `route add default via ${gateway} dev eth0`,
    ]),
  ]);
}

/** Takes a pod's network away; the namespace itself ends when nobody holds it any more. */
export async function deletePodNetwork(name: string, node: NodeAddresses): Promise<void> {
  const port = vethName(name);
  await runShell(
    `nsenter --net=${netnsPath(node.name)} ip link delete ${port} 2>/dev/null; ip netns delete ${name}`,
  );
}

function vethName(netns: string): string {
  return `v${netns.replace(/^[a-z]+-/, '')}`.slice(0, 15);
}

function addressLine(ip: IpAddress, prefix: number, device: string): string {
  return `address add ${ip}/${prefix} dev ${device}${ip.includes(':') ? ' nodad' : ''}`;
}

async function ipBatch(netns: string | undefined, lines: readonly string[]): Promise<void> {
  const command = ['ip', '-batch', '-'];
  await runCommand(netns === undefined ? command : inNamespace(netnsPath(netns), command), {
    input: `${lines.join('\n')}\n`,
  });
}

async function runShell(script: string): Promise<void> {
  await runCommand(['sh', '-e', '-c', script]);
}
