import { closeSync } from 'node:fs';
import { parseIpAddress } from '../../base/address.ts';
import { describeError } from '../../base/errors.ts';
import type { GatewayKey, GatewayListeners } from '../../mesh/model/gateway-listener.ts';
import type { Logger } from '../../mesh/runtime/log.ts';
import { decodeGatewayListeners } from '../../mesh/xds/codec-gateway.ts';
import { duplicate } from '../../net/descriptor.ts';
import { bindListener } from '../../net/tcp.ts';
import { bindUdp } from '../../net/udp.ts';
import type { GatewayPort } from '../thread-calls.ts';
import { portKey, transportOf } from './gateway-routes.ts';

/** The data threads, as far as they serve ports. */
export type PortThreads = Readonly<{
  count: number;
  open(thread: number, port: GatewayPort, fd: number): Promise<unknown>;
  close(port: GatewayPort): Promise<unknown>;
}>;

/** The ports of a gateway, as its listeners name them: each is a socket that all data threads accept from. */
export class GatewaySockets {
  readonly #gateway: GatewayKey;
  readonly #ipv6: boolean;
  readonly #threads: PortThreads;
  readonly #log: Logger;
  readonly #open = new Map<string, GatewayPort>();
  #wanted: ReadonlyMap<string, GatewayPort> = new Map();
  #serving = false;

  constructor(
    options: Readonly<{ gateway: GatewayKey; ipv6: boolean; threads: PortThreads; log: Logger }>,
  ) {
    this.#gateway = options.gateway;
    this.#ipv6 = options.ipv6;
    this.#threads = options.threads;
    this.#log = options.log;
  }

  /** Opens what has been asked for so far, and from here on what is asked for. */
  async serve(): Promise<void> {
    this.#serving = true;
    await this.#reconcile();
  }

  /** Takes a delta which the data threads have taken; settles when its ports are served. Never rejects. */
  async apply(
    resources: readonly Readonly<{ name: string; bytes: Uint8Array }>[],
    removed: readonly string[],
  ): Promise<void> {
    for (const { name, bytes } of resources) {
      if (name !== this.#gateway) continue;
      try {
        this.#wanted = portsOf(decodeGatewayListeners(bytes));
      } catch {
        // The threads have refused it too, and the last good one stays.
      }
    }
    if (removed.includes(this.#gateway)) this.#wanted = new Map();
    await this.#reconcile();
  }

  async #reconcile(): Promise<void> {
    if (!this.#serving) return;
    for (const [key, port] of this.#open)
      if (!this.#wanted.has(key)) {
        this.#open.delete(key);
        await this.#threads.close(port);
        this.#log.info('port is closed', port);
      }
    for (const [key, port] of this.#wanted)
      if (!this.#open.has(key)) {
        try {
          await this.#bind(port);
          this.#open.set(key, port);
          this.#log.info('port is served', port);
        } catch (error) {
          this.#log.error('cannot serve a port', { ...port, error: describeError(error) });
        }
      }
  }

  async #bind(port: GatewayPort): Promise<void> {
    const ip = parseIpAddress(this.#ipv6 ? '::' : '0.0.0.0');
    if (port.transport === 'udp') {
      // A client's datagrams must come to one thread, which remembers where they go.
      await this.#threads.open(0, port, bindUdp({ local: { ip, port: port.port } }));
      return;
    }
    const { fd } = bindListener({ address: { ip, port: port.port } });
    try {
      for (let index = 0; index < this.#threads.count; index++)
        await this.#threads.open(index, port, duplicate(fd));
    } finally {
      closeSync(fd);
    }
  }
}

function portsOf({ listeners }: GatewayListeners): ReadonlyMap<string, GatewayPort> {
  return new Map(
    listeners.map((listener) => {
      const { port } = listener;
      const transport = transportOf(listener);
      return [portKey(port, transport), { port, transport }];
    }),
  );
}
