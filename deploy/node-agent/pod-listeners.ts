import { closeSync } from 'node:fs';
import { parseIpAddress } from '../../base/address.ts';
import { MeshError } from '../../base/errors.ts';
import type { PodListener } from '../../mesh/zds/listeners.ts';
import { POD_PORTS } from '../../mesh/zds/listeners.ts';
import type { Netns } from '../../net/netns.ts';
import { socketLocal } from '../../net/socket-address.ts';
import { bindListener } from '../../net/tcp.ts';
import { PROXY_MARK } from './rules.ts';

/** What waits while a proxy is replaced; the kernel caps it by net.core.somaxconn, 4096 by default. */
const BACKLOG = 4096;

/**
 * The listening sockets of one pod: made in its namespace, kept here, so that clients wait instead of being refused
 * while no proxy runs. One socket for both families; none shares its port by SO_REUSEPORT, because a socket of such a
 * group that nobody accepts from swallows its share.
 */
export class PodListeners {
  readonly #netns: Netns;
  readonly #ipv6: boolean;
  readonly #listeners = new Map<number, PodListener>();

  constructor(netns: Netns, ipv6: boolean) {
    this.#netns = netns;
    this.#ipv6 = ipv6;
  }

  /** Of the sockets that are kept here. */
  get ports(): number[] {
    return [...this.#listeners.keys()].sort();
  }

  /**
   * Makes what is not there yet. A port that is taken is left alone: after a restart of the agent the proxy holds the
   * sockets that the agent before gave it.
   */
  openAll(): void {
    for (const port of POD_PORTS)
      try {
        this.open(port);
      } catch (error) {
        if (!(error instanceof MeshError) || error.code !== 'ERR_SYSTEM_EADDRINUSE') throw error;
      }
  }

  /** @throws {MeshError} ERR_SYSTEM_EADDRINUSE and the like */
  open(port: number): PodListener {
    const known = this.#listeners.get(port);
    if (known !== undefined) return known;
    const made = bindListener({
      address: { ip: parseIpAddress(this.#ipv6 ? '::' : '0.0.0.0'), port },
      netns: this.#netns,
      mark: PROXY_MARK,
      transparent: 'best-effort',
      backlog: BACKLOG,
    });
    this.#listeners.set(port, made);
    return made;
  }

  /**
   * Takes the proxy's copy of a socket that an agent before this one made, so that it outlives the proxy; the
   * descriptor is ours from here on.
   *
   * @throws {MeshError} ERR_LISTENER for a socket of another port.
   */
  adopt(port: number, listener: PodListener): void {
    if (this.#listeners.has(port)) {
      closeSync(listener.fd);
      return;
    }
    const found = localPort(listener.fd);
    if (found !== port) {
      closeSync(listener.fd);
      const message = `Cannot keep a socket for port ${port}: it has ${found ?? 'no port'}`;
      throw new MeshError('ERR_LISTENER', 'local', message);
    }
    this.#listeners.set(port, listener);
  }

  close(): void {
    for (const { fd } of this.#listeners.values()) closeSync(fd);
    this.#listeners.clear();
  }
}

function localPort(fd: number): number | undefined {
  try {
    return socketLocal(fd).port;
  } catch {
    return undefined; // no socket at all
  }
}
