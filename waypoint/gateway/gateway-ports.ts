import { acceptOptions } from '../../mesh/proxy/accept-options.ts';
import { TcpListener } from '../../net/tcp-listener.ts';
import type { WaypointParts } from '../parts.ts';
import { portKey, type Transport } from './gateway-routes.ts';
import { serveEdge } from './serve-edge.ts';
import { UdpForwarder } from './udp-forwarder.ts';

/** The sockets that a thread takes the gateway's clients from. */
export class GatewayPorts {
  readonly #parts: WaypointParts;
  readonly #open = new Map<string, Readonly<{ close: () => void }>>();

  constructor(parts: WaypointParts) {
    this.#parts = parts;
  }

  /** @param fd listens at the port, or is bound to it; it becomes the thread's. */
  open(port: number, transport: Transport, fd: number): void {
    this.close(port, transport);
    const opened = transport === 'udp' ? this.#forward(port, fd) : this.#accept(port, fd);
    this.#open.set(portKey(port, transport), opened);
  }

  /** Takes no more; connections that have been accepted go on. */
  close(port: number, transport: Transport): void {
    const key = portKey(port, transport);
    this.#open.get(key)?.close();
    this.#open.delete(key);
  }

  closeAll(): void {
    for (const opened of this.#open.values()) opened.close();
    this.#open.clear();
  }

  #accept(port: number, fd: number): TcpListener {
    const options = acceptOptions(this.#parts);
    return new TcpListener({ fd, transparent: false }, options, (stream) => {
      void serveEdge(stream, port, this.#parts);
    });
  }

  #forward(port: number, fd: number): UdpForwarder {
    const { state } = this.#parts;
    return new UdpForwarder(fd, {
      ...{ state, random: Math.random, now: () => performance.now() },
      route: () => this.#parts.gateway.port(port, 'udp')?.listenerOf('')?.route(''),
    });
  }
}
