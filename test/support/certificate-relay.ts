import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';
import { resetSocket } from '../../base/reset-socket.ts';
import type { SocketAddress } from '../../base/address.ts';
import type { Netns } from '../../net/netns.ts';
import { connectTcp } from '../../net/tcp.ts';
import type { TlsContext } from '../../net/tls-context.ts';
import { connectTls } from '../../net/tls.ts';
import { Collector } from './collect.ts';

/** Long enough for a program to write what belongs together, in however many writes. */
const GATHER_MS = 10;

/** `mark`: of packets that no rule of a pod leads to its proxy. */
export type CertificateRelayOptions = Readonly<{ netns?: Netns; mark?: number }>;

/**
 * Lets a program that has no client certificate speak to a server that wants one: plain TCP on loopback, mutual TLS from
 * there to `target`. What the program writes in a burst arrives in one piece, so that what the server makes of it does
 * not hang on how the bytes were cut.
 *
 * @returns the port, until the test is over.
 */
export async function openCertificateRelay(
  t: ExecutionContext,
  context: TlsContext,
  target: SocketAddress,
  options: CertificateRelayOptions = {},
): Promise<number> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket)).on('error', () => undefined);
    relay(socket).catch(() => {
      resetSocket(socket);
    });
  });
  const relay = async (socket: net.Socket): Promise<void> => {
    const upstream = new Collector(await connectTls(await connectTcp(target, options), context));
    const gathered: Buffer[] = [];
    socket.on('close', () => {
      upstream.stream.reset();
    });
    void sendBack(upstream, socket);
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      if (gathered.push(chunk) > 1) continue;
      void wait(GATHER_MS).then(() => upstream.write(Buffer.concat(gathered.splice(0))));
    }
  };
  const sendBack = async (upstream: Collector, socket: net.Socket): Promise<void> => {
    const over = (): boolean => upstream.ended || upstream.error !== undefined;
    do {
      await upstream.until(({ chunks }) => chunks.length > 0 || over());
      socket.write(Buffer.concat(upstream.chunks.splice(0)));
    } while (!over());
    socket.destroySoon();
  };
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return (server.address() as AddressInfo).port;
}
