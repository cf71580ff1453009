import type { SocketAddress } from '../../base/address.ts';
import type { ByteStream } from '../../net/byte-stream.ts';

/** A UDP socket, as net/udp.ts has it; tests bring others. */
export interface DatagramSocket {
  /** Where it is bound. */
  readonly local: SocketAddress;
  send(bytes: Uint8Array, to: SocketAddress): void;
  setHandler(handler: {
    /** `bytes` is valid during the call. */
    onMessage(bytes: Buffer, from: SocketAddress): void;
    onError(error: Error): void;
  }): void;
  close(): void;
}

/** Sockets towards resolvers, made in the pod's own namespace. */
export type ResolverSockets = Readonly<{
  /** On a port that the kernel chooses, which is half of what a forger has to guess. */
  openUdp(to: SocketAddress): DatagramSocket;
  connectTcp(to: SocketAddress, options: { timeoutMs: number }): Promise<ByteStream>;
}>;
