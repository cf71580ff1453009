import { formatSocketAddress, parseIpAddress, type SocketAddress } from '../../base/address.ts';
import type { TcpRoute } from '../../mesh/model/http-route.ts';
import { chooseWeighted } from '../../mesh/model/weighted-choice.ts';
import type { ProxyState } from '../../mesh/proxy/state/store.ts';
import { openUdp, UdpSocket, type DatagramHandler } from '../../net/udp.ts';

/** 60 s, as Envoy udp_proxy idle_timeout. */
const IDLE_MS = 60_000;
/** Sessions of one port and thread; each is a socket. The one that is quiet for longest gives way. */
const MAX_SESSIONS = 1024;
const SWEEP_MS = 10_000;

export type UdpForwarderParts = Readonly<{
  state: ProxyState;
  /** As it is now; `undefined`: nothing is for this port. */
  route: () => TcpRoute | undefined;
  /** From 0 to below 1. */
  random: () => number;
  /** In milliseconds; one that only goes forward. */
  now: () => number;
}>;

type Session = { readonly socket: UdpSocket; readonly to: SocketAddress; usedMs: number };

/**
 * Datagrams of a port, in plain text as all UDP of the mesh. Each client has a socket of its own to the service that was
 * chosen for it, so that answers find their way back; the service's address spreads them over its endpoints.
 */
export class UdpForwarder implements DatagramHandler {
  readonly #parts: UdpForwarderParts;
  readonly #socket: UdpSocket;
  /** By client, the one that is quiet for longest first. */
  readonly #sessions = new Map<string, Session>();
  readonly #sweep: NodeJS.Timeout;

  /** @param fd bound, non-blocking; it becomes the forwarder's. */
  constructor(fd: number, parts: UdpForwarderParts) {
    this.#parts = parts;
    this.#socket = new UdpSocket(fd);
    this.#socket.setHandler(this);
    this.#sweep = setInterval(() => {
      this.#endIdle();
    }, SWEEP_MS).unref();
  }

  /** That it is bound to. */
  get port(): number {
    return this.#socket.local.port;
  }

  close(): void {
    clearInterval(this.#sweep);
    this.#socket.close();
    for (const { socket } of this.#sessions.values()) socket.close();
    this.#sessions.clear();
  }

  onMessage(bytes: Buffer, from: SocketAddress): void {
    const key = formatSocketAddress(from);
    const session = this.#sessions.get(key) ?? this.#open(from);
    if (session === undefined) return; // as a backend that is not there: the datagram is lost
    session.usedMs = this.#parts.now();
    this.#sessions.delete(key);
    this.#sessions.set(key, session);
    session.socket.send(bytes, session.to);
  }

  onError(): void {
    // A client that has gone; its session ends by itself.
  }

  #open(client: SocketAddress): Session | undefined {
    const to = this.#choose();
    if (to === undefined) return undefined;
    if (this.#sessions.size >= MAX_SESSIONS) this.#endOldest();
    const any = parseIpAddress(to.ip.includes(':') ? '::' : '0.0.0.0');
    const socket = openUdp({ local: { ip: any, port: 0 } });
    socket.setHandler({
      onMessage: (bytes, from) => {
        // Only what was asked may answer.
        if (from.ip === to.ip && from.port === to.port) this.#socket.send(bytes, client);
      },
      onError: () => undefined, // nobody is there now; the client's next datagram asks again
    });
    return { socket, to, usedMs: this.#parts.now() };
  }

  /** The address of a service, by weight. A backend that cannot be used keeps its share, which is lost. */
  #choose(): SocketAddress | undefined {
    const { route, state, random } = this.#parts;
    const backends = route()?.backends ?? [];
    const target = chooseWeighted(backends, ({ weight }) => weight, random())?.target;
    if (target === undefined) return undefined;
    const [address] = state.service(target.service)?.addresses ?? [];
    return address && { ip: address.ip, port: target.port };
  }

  #endOldest(): void {
    for (const [key, { socket }] of this.#sessions) {
      socket.close();
      this.#sessions.delete(key);
      return;
    }
  }

  #endIdle(): void {
    const oldest = this.#parts.now() - IDLE_MS;
    for (const [key, { socket, usedMs }] of this.#sessions) {
      if (usedMs > oldest) return;
      socket.close();
      this.#sessions.delete(key);
    }
  }
}
