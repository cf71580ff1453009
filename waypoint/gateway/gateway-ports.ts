import { acceptOptions } from '../../mesh/proxy/accept-options.ts';
import { TcpListener } from '../../net/tcp-listener.ts';
import type { WaypointParts } from '../parts.ts';
import { portKey, type Transport } from './gateway-routes.ts';
import { serveEdge } from './serve-edge.ts';

/** The sockets that a thread accepts the gateway's clients from. */
export class GatewayPorts {
  readonly #parts: WaypointParts;
  readonly #listeners = new Map<string, TcpListener>();

  constructor(parts: WaypointParts) {
    this.#parts = parts;
  }

  /** @param fd listens at the port; it becomes the listener's. */
  open(port: number, transport: Transport, fd: number): void {
    this.close(port, transport);
    const options = acceptOptions({ keepAlive: undefined, log: this.#parts.log });
    const listener = new TcpListener({ fd, transparent: false }, options, (stream) => {
      serveEdge(stream, port, this.#parts);
    });
    this.#listeners.set(portKey(port, transport), listener);
  }

  /** Takes no more; who has been accepted goes on. */
  close(port: number, transport: Transport): void {
    const key = portKey(port, transport);
    this.#listeners.get(key)?.close();
    this.#listeners.delete(key);
  }

  closeAll(): void {
    for (const listener of this.#listeners.values()) listener.close();
    this.#listeners.clear();
  }
}
