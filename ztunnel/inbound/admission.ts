import type { IpAddress, SocketAddress } from '../../base/address.ts';
import type { PolicyKey } from '../../mesh/model/authorization.ts';
import type { Decision } from '../../mesh/model/authorize.ts';
import type { SpiffeId } from '../../mesh/model/identity.ts';
import type { OwnPorts } from '../../mesh/model/ports.ts';
import type { Service } from '../../mesh/model/service.ts';
import type { Workload } from '../../mesh/model/workload.ts';
import type { RefusalStatus } from '../../mesh/proxy/refused-error.ts';
import type { DemandKey } from '../../mesh/proxy/state/answered.ts';

/** One CONNECT request on a tunnel whose peer has been verified. */
export type TunnelRequest = Readonly<{
  method: string;
  /** As it came. */
  authority: string;
  /** The local workload; absent while the control plane has not told of it. */
  workload: Workload | undefined;
  /** The pod's own address, at which the tunnel was accepted. */
  localIp: IpAddress;
  peerIp: IpAddress;
  peerIdentity: SpiffeId;
  /** The network of this node. */
  network: string;
  ownPorts: OwnPorts;
  /** True: an application tunnel is dialled on loopback (LOCALHOST_APP_TUNNEL). */
  tunnelOnLoopback: boolean;
}>;

/** One connection that came without a tunnel. */
export type PlaintextRequest = Readonly<{
  workload: Workload | undefined;
  /** Where the client wanted to go before redirection. */
  destination: SocketAddress;
  peerIp: IpAddress;
  ownPorts: OwnPorts;
}>;

/** A PROXY protocol header to be sent before the payload: who asked, for what. */
export type ProxyHeader = Readonly<{
  destination: SocketAddress;
  sourceIdentity: SpiffeId;
}>;

/** What becomes of an inbound connection. */
export type Admission = Readonly<
  | {
      kind: 'admit';
      connectTo: SocketAddress;
      /** The address to dial from; absent: the kernel's choice. */
      bindTo?: IpAddress;
      proxyHeader?: ProxyHeader;
      /** The service that was asked for by name, for telemetry. */
      service?: Service;
      /** The pod's address and port as policy saw them. */
      destination: SocketAddress;
      decision: Decision;
    }
  /** Policies that the workload names have not arrived: ask again when they have. */
  | { kind: 'wait'; policies: readonly PolicyKey[] }
  /** Ask again when the control plane has answered for this key. */
  | { kind: 'ask'; key: DemandKey }
  /** `status` answers a tunnel; a plaintext connection is closed. */
  | {
      kind: 'refuse';
      status: RefusalStatus;
      reason: string;
      /** Of a refusal by policy, with the address and port that it saw. */
      decision?: Decision;
      destination?: SocketAddress;
    }
>;
