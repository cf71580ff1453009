import type { ExecutionContext } from 'ava';
import { parseIpAddress, socketAddress, type SocketAddress } from '../../base/address.ts';
import { serveTunnels, type TunnelRequest } from '../../mesh/hbone/server.ts';
import { HboneSession } from '../../mesh/hbone/session.ts';
import type { SpiffeId } from '../../mesh/model/identity.ts';
import type { Http2Connection } from '../../net/h2/connection.ts';
import type { Http2Options } from '../../net/h2/options.ts';
import { listenTcp } from '../../net/tcp-listener.ts';
import { TlsContext } from '../../net/tls-context.ts';
import { acceptTls } from '../../net/tls.ts';
import type { TestCa } from './test-ca.ts';

export const CLIENT = 'spiffe://cluster.local/ns/shop/sa/client' as SpiffeId;
export const SERVER = 'spiffe://cluster.local/ns/shop/sa/server' as SpiffeId;

/** The serving end of tunnels on loopback, over mTLS. */
export type HbonePeer = Readonly<{
  address: SocketAddress;
  /** Every session so far. */
  sessions: readonly Http2Connection[];
  /** How many sockets were accepted, TLS or not. */
  accepted: () => number;
}>;

/** Serves tunnels until the test is over; `onTunnel` answers each. */
export function openHbonePeer(
  t: ExecutionContext,
  ca: TestCa,
  onTunnel: (request: TunnelRequest) => void,
  options: Http2Options = {},
): HbonePeer {
  const context = new TlsContext(ca.issue(SERVER));
  const sessions: Http2Connection[] = [];
  let accepted = 0;
  const any = { address: { ip: parseIpAddress('127.0.0.1'), port: 0 } };
  const listener = listenTcp(any, (stream) => {
    accepted++;
    acceptTls(stream, context)
      .then((tls) => {
        sessions.push(serveTunnels(tls, options, { onTunnel, onClose: () => undefined }));
      })
      .catch(() => undefined);
  });
  t.teardown(() => {
    listener.close();
    for (const session of sessions) session.close();
    context.free();
  });
  const address = socketAddress('127.0.0.1', listener.local.port);
  return { address, sessions, accepted: () => accepted };
}

/** Dials a peer, as the client's proxy would. */
export function dialHbone(
  t: ExecutionContext,
  ca: TestCa,
  to: SocketAddress,
  options: Readonly<{
    http2?: Http2Options;
    peers?: readonly SpiffeId[];
    limits?: Readonly<{ timeoutMs: number; signal: AbortSignal }>;
  }> = {},
): Promise<HboneSession> {
  const context = new TlsContext(ca.issue(CLIENT));
  t.teardown(() => {
    context.free();
  });
  const { peers = [SERVER], http2 = {}, limits = {} } = options;
  return HboneSession.open(to, limits, {
    ...{ context: () => Promise.resolve(context), peers, http2, ...limits },
  });
}
