import { formatSocketAddress, type SocketAddress } from '../../base/address.ts';
import { MeshError } from '../../base/errors.ts';
import { Http2Connection } from '../../net/h2/connection.ts';
import type { HeaderList } from '../../net/h2/headers.ts';
import type { Http2Options } from '../../net/h2/options.ts';
import type { Http2Stream } from '../../net/h2/stream.ts';
import type { Http2StreamHandler } from '../../net/h2/stream-input.ts';
import type { ByteStream } from '../../net/byte-stream.ts';
import { connectTcp, type TcpConnectOptions } from '../../net/tcp.ts';
import { connectTls } from '../../net/tls.ts';
import type { TlsContext } from '../../net/tls-context.ts';
import type { TlsSession } from '../../net/tls-session.ts';
import type { SpiffeId } from '../model/identity.ts';
import { checkServer } from './peer.ts';

export type SessionOptions = Readonly<{
  /** Asked for when the connection stands: one that was taken before may have been replaced and freed meanwhile. */
  context: () => Promise<TlsContext>;
  /** Who is accepted on the other side. */
  peers: readonly SpiffeId[];
  http2: Http2Options;
  /** A further check of the verified chain, DER; the chain is kept then. */
  checkChain?: ((chain: readonly Buffer[]) => MeshError | undefined) | undefined;
  /** For the handshake. */
  timeoutMs?: number;
  signal?: AbortSignal;
}>;

/**
 * A peer in the same cluster answers within milliseconds. One that answers no tunnel for so long, and then no PING, has
 * vanished, or its packets have: TCP repeats those after 0.2, 0.6, 1.4 s and so on, whenever the way is free. Or they
 * stand behind much data: TCP goes on for seconds at the rate that a way had while it was bad. Where a request passes several
 * proxies, each of them finds out when it arrives there.
 */
const PATIENCE_MS = 100;
/** Of a peer that is far away: so many times what the handshake took, which is a round trip. It may have taken long by bad luck too. */
const HANDSHAKES_OF_PATIENCE = 2;
const MOST_PATIENCE_MS = 400;

/**
 * While nothing gets through, TCP waits twice as long for each repeat, up to two minutes, and for the next one when the way is free
 * again. The tunnels of a session cannot go to another one. The least that Linux takes.
 */
export const SESSION_MAX_RTO_MS = 1000;

/** What a session tells its owner. */
export interface SessionOwner {
  /** Over, or closed to new tunnels: not to be used for another one. */
  onRetired(session: HboneSession): void;
}

/** One mTLS HTTP/2 session to a peer that has been proved and accepted, for tunnels of one client. */
export class HboneSession {
  readonly peerIdentity: SpiffeId;
  /** The key exchange, such as `X25519MLKEM768`. */
  readonly tlsGroup: string;
  /** Empty where nobody has asked for its check. */
  readonly peerChain: readonly Buffer[];
  readonly #connection: Http2Connection;
  #owner: SessionOwner | undefined;
  #retired = false;
  /** When the last tunnel began or ended; milliseconds of performance.now(). */
  lastUsedMs = performance.now();

  private constructor(
    transport: ByteStream,
    http2: Http2Options,
    peer: Readonly<{
      identity: SpiffeId;
      group: string;
      chain: readonly Buffer[];
      handshakeMs: number;
    }>,
  ) {
    const patienceMs = HANDSHAKES_OF_PATIENCE * peer.handshakeMs;
    const answerPatienceMs = Math.min(Math.max(PATIENCE_MS, patienceMs), MOST_PATIENCE_MS);
    this.peerIdentity = peer.identity;
    this.tlsGroup = peer.group;
    this.peerChain = peer.chain;
    this.#connection = Http2Connection.client(
      transport,
      { ...http2, answerPatienceMs },
      {
        onGoaway: () => {
          this.#retire();
        },
        onAvailable: () => {
          this.lastUsedMs = performance.now();
        },
        onClose: () => {
          this.#retire();
        },
      },
    );
  }

  /**
   * Dials, proves both ends and begins HTTP/2.
   *
   * @throws {MeshError} ERR_CONNECT, ERR_CONNECT_TIMEOUT, ERR_TLS_HANDSHAKE, ERR_TLS_TIMEOUT, or ERR_PEER_IDENTITY
   *   when the peer is somebody else.
   */
  static async open(
    connectTo: SocketAddress,
    tcp: TcpConnectOptions,
    options: SessionOptions,
  ): Promise<HboneSession> {
    const below = await connectTcp(connectTo, { ...tcp, maxRtoMs: SESSION_MAX_RTO_MS });
    return await HboneSession.openOver(below, formatSocketAddress(connectTo), options);
  }

  /** As open(), over a stream that is there: the inner session of double HBONE. A failure resets the stream. */
  static async openOver(
    below: ByteStream,
    where: string,
    options: SessionOptions,
  ): Promise<HboneSession> {
    const { context, peers, http2, timeoutMs, signal } = options;
    let tls: TlsSession;
    let beganMs: number;
    try {
      const limits = { ...(timeoutMs !== undefined && { timeoutMs }), ...(signal && { signal }) };
      const own = await context();
      beganMs = performance.now();
      tls = await connectTls(below, own, limits);
    } catch (error) {
      below.reset(); // a failed handshake alone would only end our side
      throw error;
    }
    const handshakeMs = performance.now() - beganMs;
    try {
      const check = checkServer(tls.peerCertificate, peers);
      if (check.kind === 'refused') {
        const message = `Cannot accept the peer at ${where}: ${check.reason}`;
        throw new MeshError('ERR_PEER_IDENTITY', 'upstream', message);
      }
      const chain = options.checkChain === undefined ? [] : tls.peerChain();
      const flaw = options.checkChain?.(chain);
      if (flaw !== undefined) throw flaw;
      const { identity } = check;
      return new HboneSession(tls, http2, { identity, group: tls.group, chain, handshakeMs });
    } catch (error) {
      tls.reset();
      throw error;
    }
  }

  setOwner(owner: SessionOwner): void {
    this.#owner = owner;
    if (this.#retired) owner.onRetired(this);
  }

  get retired(): boolean {
    return this.#retired;
  }

  get activeTunnels(): number {
    return this.#connection.activeStreams;
  }

  /** How many more tunnels could begin now. */
  availableTunnels(): number {
    return this.#retired ? 0 : this.#connection.availableStreams();
  }

  /** Whether a new tunnel would wait with all those that do. */
  isUnresponsive(): boolean {
    return this.#connection.isUnresponsive();
  }

  /** `undefined` when there is no room (any more). */
  openStream(headers: HeaderList, handler: Http2StreamHandler): Http2Stream | undefined {
    this.lastUsedMs = performance.now();
    return this.#retired ? undefined : this.#connection.openStream(headers, handler);
  }

  /** No new tunnels; those that run go on, and the session ends with the last one. Idempotent. */
  retire(): void {
    this.#retire();
    this.#connection.drain();
  }

  /** Ends at once, and every tunnel with it. */
  close(): void {
    this.#retire();
    this.#connection.close();
  }

  #retire(): void {
    if (this.#retired) return;
    this.#retired = true;
    this.#owner?.onRetired(this);
  }
}
