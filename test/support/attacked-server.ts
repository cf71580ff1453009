import { once } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import tls from 'node:tls';
import type { ExecutionContext } from 'ava';
import { parseIpAddress, type SocketAddress } from '../../base/address.ts';
import { Http2Connection } from '../../net/h2/connection.ts';
import type { Http2ConnectionHandler } from '../../net/h2/connection-handler.ts';
import type { Http2Options } from '../../net/h2/options.ts';
import { listenTcp } from '../../net/tcp-listener.ts';
import { connectTcp } from '../../net/tcp.ts';
import { TlsContext } from '../../net/tls-context.ts';
import { acceptTls, connectTls } from '../../net/tls.ts';
import { request } from './h2-frames.ts';
import { RawPeer } from './h2-peer.ts';
import { CLIENT, SERVER } from './hbone-peer.ts';
import { collectGarbage } from './memory.ts';
import { makeTestCa } from './test-ca.ts';

/** Between two requests of the harmless client: its own work must not be taken for the attack's. */
const HARMLESS_PAUSE_MS = 2;

/** What an attack did to the server, and to a client that means no harm. */
export type Harm = Readonly<{
  /** Of this process: the attacker, the server and the harmless client. */
  processorMs: number;
  /** The longest wait of a harmless request meanwhile, beyond the longest before. */
  addedWaitMs: number;
}>;

/** Of an attack on a connection of its own. */
export type Damage = Harm &
  Readonly<{
    /** `GOAWAY code`, or `end` for a connection that was cut without a word. */
    end: string;
  }>;

/** Our server over mutual TLS on loopback, with attackers and a harmless client. */
export class AttackedServer {
  readonly address: SocketAddress;
  /** Sessions that attackers have, or had. */
  readonly connections: Http2Connection[] = [];
  closed = 0;
  /** Of attackers, while they are open: what is over must not weigh in the heap. */
  readonly #sockets = new Set<tls.TLSSocket>();
  readonly #ca = makeTestCa();
  readonly #client = this.#ca.issue(CLIENT);
  #harmless: Http2Connection | undefined;

  constructor(
    t: ExecutionContext,
    onRequest: NonNullable<Http2ConnectionHandler['onRequest']>,
    options: Http2Options = {},
  ) {
    const context = new TlsContext(this.#ca.issue(SERVER));
    const any = { address: { ip: parseIpAddress('127.0.0.1'), port: 0 } };
    const listener = listenTcp(any, (socket) => {
      void acceptTls(socket, context)
        .then((session) => {
          const onClose = (): void => {
            this.closed++;
          };
          const connection = Http2Connection.server(session, options, { onRequest, onClose });
          this.connections.push(connection);
        })
        .catch(() => undefined);
    });
    this.address = { ip: any.address.ip, port: listener.local.port };
    t.teardown(() => {
      listener.close();
      this.#harmless?.close();
      for (const socket of this.#sockets) socket.destroy();
      for (const connection of this.connections) connection.close();
    });
  }

  /** An attacker that has begun a session in order. */
  async attacker(...settings: Buffer[]): Promise<RawPeer> {
    const socket = tls.connect({
      ...{ host: this.address.ip, port: this.address.port, ALPNProtocols: ['h2'] },
      ...{ key: this.#client.privateKeyPem, cert: this.#client.chainPem.join('') },
      ...{ ca: [...this.#client.rootsPem], checkServerIdentity: () => undefined },
    });
    await once(socket, 'secureConnect');
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    const peer = new RawPeer(socket);
    await peer.begin(...settings);
    return peer;
  }

  /** Sends all of that on a connection of its own, and waits for its end. */
  async attack(frames: readonly Buffer[]): Promise<Damage> {
    const peer = await this.attacker();
    const bytes = Buffer.concat(frames);
    let end = '';
    const harm = await this.harmOf(async () => {
      peer.send(bytes);
      end = await peer.end();
    });
    peer.socket.destroy();
    return { end, ...harm };
  }

  /** What that costs this process and the harmless client, from its begin until it has settled. */
  async harmOf(action: () => Promise<unknown>): Promise<Harm> {
    const quietMs = await this.#longestWait((asked) => asked >= 30);
    const before = process.cpuUsage();
    let over = false;
    const ended = action().finally(() => {
      over = true;
    });
    const waitMs = await this.#longestWait((asked) => over && asked > 1);
    const { user, system } = process.cpuUsage(before);
    await ended;
    return { processorMs: (user + system) / 1000, addedWaitMs: waitMs - quietMs };
  }

  /** The heap in use, once what can go has gone. */
  async heapBytes(): Promise<number> {
    this.connections.splice(0);
    await pause(20); // sockets of node:tls are let go of in later turns
    await collectGarbage();
    return process.memoryUsage().heapUsed;
  }

  async #longestWait(enough: (asked: number) => boolean): Promise<number> {
    let longest = 0;
    for (let asked = 0; !enough(asked); asked++) {
      const beganMs = performance.now();
      await this.#ask();
      longest = Math.max(longest, performance.now() - beganMs);
      await pause(HARMLESS_PAUSE_MS);
    }
    return longest;
  }

  async #ask(): Promise<void> {
    this.#harmless ??= Http2Connection.client(
      await connectTls(await connectTcp(this.address), new TlsContext(this.#client)),
      {},
      {},
    );
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    this.#harmless.openStream(
      request('GET', '/harmless'),
      {
        onResponse: () => {
          resolve(undefined);
        },
        onError: reject,
      },
      { endStream: true },
    );
    await promise;
  }
}
