import { closeSync } from 'node:fs';
import { formatSocketAddress, parseIpAddress, type SocketAddress } from '../../base/address.ts';
import { MeshError } from '../../base/errors.ts';
import { DNS_PORT } from '../../mesh/model/ports.ts';
import type { PodListener } from '../../mesh/zds/listeners.ts';
import {
  POD_SOCKETS,
  type PodSocketName,
  type PodSocketPlace,
} from '../../mesh/zds/pod-sockets.ts';
import type { Netns } from '../../net/netns.ts';
import { isAbsentAddress, socketLocal } from '../../net/socket-address.ts';
import { bindListener } from '../../net/tcp.ts';
import { bindUdp } from '../../net/udp.ts';
import { PROXY_MARK } from './rules.ts';

/**
 * The sockets of one pod: made in its namespace, kept here, so that clients wait instead of being refused while no proxy
 * runs. One socket for both families, but for DNS, which is on loopback alone; none shares its port by SO_REUSEPORT,
 * because a socket of such a group that nobody takes from swallows its share.
 */
export class PodListeners {
  readonly #netns: Netns;
  readonly #ipv6: boolean;
  readonly #listeners = new Map<PodSocketName, PodListener>();

  constructor(netns: Netns, ipv6: boolean) {
    this.#netns = netns;
    this.#ipv6 = ipv6;
  }

  /** Of the sockets that are kept here. */
  get names(): PodSocketName[] {
    return [...this.#listeners.keys()].sort();
  }

  get descriptors(): number[] {
    return [...this.#listeners.values()].map(({ fd }) => fd);
  }

  /**
   * Makes what is not there yet. A port that is taken is left alone: after a restart of the agent the proxy holds the
   * sockets that the agent before gave it.
   *
   * @param options `dns`: whether the pod's queries are redirected.
   */
  openAll(options: Readonly<{ dns: boolean }>): void {
    for (const [name, place] of POD_SOCKETS) {
      if (place.port === DNS_PORT && !options.dns) continue;
      try {
        this.open(name);
      } catch (error) {
        const code = error instanceof MeshError ? error.code : undefined;
        const absent = place.ip !== undefined && isAbsentAddress(error);
        if (code !== 'ERR_SYSTEM_EADDRINUSE' && !absent) throw error;
      }
    }
  }

  /** @throws {MeshError} ERR_SYSTEM_EADDRINUSE and the like */
  open(name: PodSocketName): PodListener {
    const known = this.#listeners.get(name);
    if (known !== undefined) return known;
    const made = this.#make(placeOf(name));
    this.#listeners.set(name, made);
    return made;
  }

  /**
   * Takes the proxy's copy of a socket that an agent before this one made, so that it outlives the proxy; the
   * descriptor is ours from here on.
   *
   * @throws {MeshError} ERR_LISTENER for a socket of another port.
   */
  adopt(name: PodSocketName, listener: PodListener): void {
    if (this.#listeners.has(name)) {
      closeSync(listener.fd);
      return;
    }
    const { port, ip } = placeOf(name);
    const found = localAddress(listener.fd);
    if (found?.port !== port || (ip !== undefined && found.ip !== ip)) {
      closeSync(listener.fd);
      const has = found === undefined ? 'no address' : formatSocketAddress(found);
      const message = `Cannot keep a socket for ${name} (port ${port}): it has ${has}`;
      throw new MeshError('ERR_LISTENER', 'local', message);
    }
    this.#listeners.set(name, listener);
  }

  close(): void {
    for (const { fd } of this.#listeners.values()) closeSync(fd);
    this.#listeners.clear();
  }

  #make({ port, transport, ip }: PodSocketPlace): PodListener {
    const options = { netns: this.#netns, mark: PROXY_MARK };
    if (transport === 'udp' && ip !== undefined)
      return { fd: bindUdp({ local: { ip, port }, ...options }), transparent: false };
    return bindListener({
      address: { ip: ip ?? parseIpAddress(this.#ipv6 ? '::' : '0.0.0.0'), port },
      ...options,
      // Nobody is dialled from the sockets of DNS.
      ...(ip === undefined && { transparent: 'best-effort' }),
    });
  }
}

function placeOf(name: PodSocketName): PodSocketPlace {
  const place = POD_SOCKETS.get(name);
  if (place !== undefined) return place;
  throw new MeshError('ERR_LISTENER', 'local', `Cannot make ${name}: it is no socket of a pod`);
}

function localAddress(fd: number): SocketAddress | undefined {
  try {
    return socketLocal(fd);
  } catch {
    return undefined; // no socket at all
  }
}
