import type { MeshError } from '../base/errors.ts';
import type { SpiffeId, TrustDomain } from '../mesh/model/identity.ts';
import type { PeerDescriptions } from '../mesh/hbone/peer-descriptions.ts';
import type { OwnPorts } from '../mesh/model/ports.ts';
import type { SessionPool } from '../mesh/hbone/pool.ts';
import type { ConnectionMetrics } from '../mesh/proxy/connection-metrics.ts';
import type { Connections } from '../mesh/proxy/connections.ts';
import type { HandshakeAdmission } from '../mesh/proxy/handshake-admission.ts';
import type { ProxyState } from '../mesh/proxy/state/store.ts';
import type { StateWaiters } from '../mesh/proxy/state/waiters.ts';
import type { TlsContexts } from '../mesh/proxy/tls-contexts.ts';
import type { LogLevel } from '../mesh/runtime/log-line.ts';
import type { Logger } from '../mesh/runtime/log.ts';
import type { Http2Options } from '../net/h2/options.ts';
import type { Netns } from '../net/netns.ts';
import type { KeepAlive } from '../net/socket-options.ts';
import type { Demand } from './demand.ts';
import type { DnsPod, DnsProxy, PodNames } from './dns.ts';

/** Where decisions of policy are written. */
export type PolicyLog = Readonly<{
  logger: Logger;
  /** Of an enforced decision: info with AUTHZ_POLICY_INFO_LOGGING, else debug. */
  level: LogLevel;
}>;

/** What the connections of a data thread share. */
export type DataParts = Readonly<{
  state: ProxyState;
  waiters: StateWaiters;
  /** Absent where everything is subscribed to (XDS_ON_DEMAND). */
  demand?: Demand;
  pool: SessionPool;
  contexts: TlsContexts;
  connections: Connections;
  metrics: ConnectionMetrics;
  accessLog: Logger;
  log: Logger;
  policyLog: PolicyLog;
  /** The network of this node. */
  network: string;
  ownPorts: OwnPorts;
  /** With it begins the uid of a pod of this node. */
  clusterId: string;
  /** Of every socket in a pod, so that the rules there let it pass; undefined where they know it by other means. */
  packetMark: number | undefined;
  /** Who may begin a session with the pods of this thread. */
  handshakes: HandshakeAdmission;
  keepAlive: KeepAlive | undefined;
  /** Other data threads have the same listening sockets. */
  takesTurns: boolean;
  tunnelOnLoopback: boolean;
  /** ENABLE_RESPONSE_BAGGAGE: clients are told who answered them, and what peers say of themselves is read. */
  responseBaggage: boolean;
  peerDescriptions: PeerDescriptions;
  clientHttp2: Http2Options;
  serverHttp2: Http2Options;
  /** Own, and those that are one with it. */
  trustDomains: ReadonlySet<TrustDomain>;
  /** Absent: revocation is not checked. */
  revocation?: Readonly<{
    check: (chain: readonly Buffer[], side: 'downstream' | 'upstream') => MeshError | undefined;
  }>;
  /** By the node's own resolvers. */
  resolveHostname: (hostname: string) => Promise<readonly string[]>;
  /** In the thread that serves DNS, and nowhere when it is off. */
  dns?: DnsProxy;
  /** Names as the pod's own clients would resolve them, for what they leave to us. */
  namesOf: (pod: DnsPod) => PodNames;
}>;

/** A pod as its connections see it. */
export type PodContext = Readonly<{
  uid: string;
  name: string;
  namespace: string;
  serviceAccount: string;
  /** As far as it is known; final once the control plane has told of the pod. */
  identity: SpiffeId;
  /** Undefined: the one that this process is in. */
  netns: Netns | undefined;
  /** Where tunnels may lead to, when that is not for policy alone to say. */
  onlyPort?: number;
  /** Aborts when the pod is gone for good. */
  gone: AbortSignal;
}>;

/** 5 s for what the control plane has not told yet, as istio/ztunnel waits for a workload. */
export const STATE_WAIT_MS = 5_000;
