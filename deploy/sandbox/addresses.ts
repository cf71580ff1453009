import {
  formatCidr,
  ipFromBytes,
  ipToBytes,
  parseCidr,
  parseIpAddress,
  type AddressFamily,
  type Cidr,
  type IpAddress,
} from '../../base/address.ts';
import { MeshError } from '../../base/errors.ts';

/**
 * The sandbox's addresses. They exist only inside its own network namespaces, so they are fixed: two sandboxes use
 * the same ones and never meet. Pods and Services have the networks that kubeadm and kind use.
 */
export type NodeAddresses = Readonly<{
  name: string;
  ips: readonly IpAddress[];
  podCidrs: readonly Cidr[];
  /** The pods' default gateways: the first address of each pod network, on every pod's veth. */
  gateways: readonly IpAddress[];
}>;

export const BRIDGE = 'halo0';
const NODE_NETWORKS: readonly Cidr[] = [parseCidr('172.18.0.0/16'), parseCidr('fd00:172:18::/64')];
export const SERVICE_NETWORKS: readonly Cidr[] = [
  parseCidr('10.96.0.0/16'),
  parseCidr('fd00:10:96::/112'),
];
/** The resolver of pods, where clusters have it. */
export const CLUSTER_DNS_VIP = parseIpAddress('10.96.0.10');
/** Whom probes come from: never redirected, never judged. As Istio's HOST_PROBE_SNAT_IP. */
export const PROBE_SOURCES: readonly IpAddress[] = [
  parseIpAddress('169.254.7.127'),
  parseIpAddress('fd16:9254:7127:1337:ffff:ffff:ffff:ffff'),
];

const BRIDGE_HOST = 1;
const CONTROL_PLANE_HOST = 2;
const OUTSIDE_HOST = 3;
const FIRST_NODE_HOST = 10;
/** 4,093 pods a node. */
const POD_PREFIX_V4 = 20;

/** The machine that stands for the world outside of the mesh: a namespace that is no pod. */
export const OUTSIDE = 'outside';
export const CONTROL_PLANE = 'control-plane';

export function nodePrefix(ip: IpAddress): number {
  return ip.includes(':') ? 64 : 16;
}

export function bridgeAddresses(ipv6: boolean): IpAddress[] {
  return networks(NODE_NETWORKS, ipv6).map((network) => hostOf(network, BRIDGE_HOST));
}

export function controlPlaneAddresses(ipv6: boolean): IpAddress[] {
  return networks(NODE_NETWORKS, ipv6).map((network) => hostOf(network, CONTROL_PLANE_HOST));
}

export function outsideAddresses(ipv6: boolean): IpAddress[] {
  return networks(NODE_NETWORKS, ipv6).map((network) => hostOf(network, OUTSIDE_HOST));
}

/** @param index from 1. */
export function nodeAddresses(index: number, ipv6: boolean): NodeAddresses {
  const podCidrs = [
    parseCidr(`10.244.${index * 16}.0/${POD_PREFIX_V4}`),
    ...(ipv6 ? [parseCidr(`fd00:10:244:${index}::/64`)] : []),
  ];
  return {
    name: `node-${index}`,
    ips: networks(NODE_NETWORKS, ipv6).map((network) => hostOf(network, FIRST_NODE_HOST + index)),
    podCidrs,
    gateways: podCidrs.map((cidr) => hostOf(cidr, 1)),
  };
}

/** The `offset`-th address of a network; below 2^32. */
export function hostOf(network: Cidr, offset: number): IpAddress {
  const bytes = Buffer.from(ipToBytes(network.ip));
  const at = bytes.length - 4;
  bytes.writeUInt32BE((bytes.readUInt32BE(at) + offset) >>> 0, at);
  return ipFromBytes(bytes);
}

/**
 * Hands out addresses of one network, in order and round again, so that an address rests as long as possible before
 * another pod has it.
 */
export class AddressPool {
  readonly #network: Cidr;
  readonly #first: number;
  readonly #last: number;
  readonly #taken = new Map<IpAddress, string>();
  #next: number;

  /** @param first offset of the first address to hand out. */
  constructor(network: Cidr, first: number) {
    this.#network = network;
    this.#first = first;
    const bits = (network.ip.includes(':') ? 128 : 32) - network.prefix;
    // The last one of an IPv4 network is its broadcast address.
    this.#last = Math.min(2 ** bits, 1 << 20) - 2;
    this.#next = first;
  }

  /** @throws {MeshError} ERR_ADDRESSES_USED_UP */
  take(owner: string): IpAddress {
    for (let tries = this.#first; tries <= this.#last; tries++) {
      const ip = hostOf(this.#network, this.#next);
      this.#next = this.#next >= this.#last ? this.#first : this.#next + 1;
      if (this.#taken.has(ip)) continue;
      this.#taken.set(ip, owner);
      return ip;
    }
    const network = formatCidr(this.#network);
    throw new MeshError(
      'ERR_ADDRESSES_USED_UP',
      'local',
      `Cannot take an address of ${network}: all ${this.#taken.size} are in use`,
    );
  }

  /**
   * Takes an address that was asked for.
   *
   * @throws {MeshError} ERR_ADDRESS_TAKEN when another owner has it.
   */
  claim(ip: IpAddress, owner: string): void {
    if (this.tryClaim(ip, owner)) return;
    const message = `Cannot give ${ip} to ${owner}: ${this.#taken.get(ip) ?? ''} has it`;
    throw new MeshError('ERR_ADDRESS_TAKEN', 'local', message);
  }

  /** As claim(). @returns whether the owner has it now. */
  tryClaim(ip: IpAddress, owner: string): boolean {
    const holder = this.#taken.get(ip);
    if (holder !== undefined && holder !== owner) return false;
    this.#taken.set(ip, owner);
    return true;
  }

  give(ip: IpAddress): void {
    this.#taken.delete(ip);
  }
}

function networks(all: readonly Cidr[], ipv6: boolean): readonly Cidr[] {
  return ipv6 ? all : all.filter((network) => familyOfCidr(network) === 4);
}

function familyOfCidr(cidr: Cidr): AddressFamily {
  return cidr.ip.includes(':') ? 6 : 4;
}
