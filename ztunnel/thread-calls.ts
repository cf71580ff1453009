import type { IpAddress } from '../base/address.ts';
import type { WorkloadCertificate } from '../mesh/model/certificate.ts';
import type { InboundExplanation, OutboundExplanation } from '../mesh/model/explain.ts';
import type { SpiffeId } from '../mesh/model/identity.ts';
import type { WorkloadUid } from '../mesh/model/workload.ts';
import type { LiveConnection } from '../mesh/admin/config-dump.ts';
import type { DemandKey } from '../mesh/proxy/state/answered.ts';
import type { Rejection } from '../mesh/proxy/state/apply.ts';
import type { DrainCalls } from '../mesh/proxy/drain-threads.ts';
import type { RevocationCalls } from '../mesh/proxy/follow-revocations.ts';
import type { PageCalls } from '../mesh/proxy/proxy-pages.ts';
import type { ProfileCalls } from '../mesh/proxy/thread-profiles.ts';
import type { LogFormat } from '../mesh/runtime/log-line.ts';
import type { LogLevels } from '../mesh/runtime/log.ts';
import type { ZtunnelConfig } from './config.ts';

/** The one data thread that answers names, for all pods; see DnsProxy. */
export const DNS_THREAD = 0;

/** What a data thread begins with; cloned into it. */
export type DataThreadSettings = Readonly<{
  config: ZtunnelConfig;
  logFormat: LogFormat;
  logLevels: LogLevels;
  /** The file of CRL_PATH. */
  revocations?: Uint8Array;
}>;

/** A listening socket in a pod's namespace: this thread's own descriptor of it. */
export type HandedListener = Readonly<{
  fd: number;
  transparent: boolean;
  /** The node agent keeps it as well: what waits in its queue is served by whoever comes after us. */
  kept: boolean;
}>;

/** The sockets of DNS on one of a pod's loopback addresses, which the node agent keeps as well. */
export type HandedDns = Readonly<{ ip: IpAddress; udpFd: number; tcpFd: number }>;

/** A pod that is served from now on. The descriptors become the thread's. */
export type PodHandover = Readonly<{
  /** The node agent's name for it: the Kubernetes uid. */
  uid: string;
  name: string;
  namespace: string;
  serviceAccount: string;
  /** Absent: the namespace that this process is in. */
  netnsFd: number | undefined;
  outbound: HandedListener;
  plaintext: HandedListener;
  hbone: HandedListener;
  /** Absent: SOCKS5 is not served. */
  socks5: HandedListener | undefined;
  /** Where an address is not among them, and DNS is served, the thread makes the sockets itself. */
  dns: readonly HandedDns[];
}>;

/** This proxy as a pod of the mesh, so that its metrics can be read over mTLS. */
export type SelfHandover = Readonly<{
  name: string;
  namespace: string;
  serviceAccount: string;
  hbone: HandedListener;
  /** The one port that tunnels may lead to. */
  statsPort: number;
}>;

export type XdsDelta = Readonly<{
  type: 'address' | 'policy';
  resources: readonly Readonly<{ name: string; bytes: Uint8Array }>[];
  removed: readonly string[];
}>;

export type XdsResult = Readonly<{
  rejected: readonly Rejection[];
  /** The identities of the workloads of this node that speak HBONE, for certificates to be fetched ahead. */
  localIdentities: readonly SpiffeId[];
}>;

export type ExplainRequest = Readonly<
  | { direction: 'outbound'; source: WorkloadUid; destination: string }
  | {
      direction: 'inbound';
      workload: WorkloadUid;
      peerIp: string;
      peerIdentity: string | undefined;
      /** `ip:port`, or for a tunnel also `host:port`. */
      target: string;
    }
>;

/** What the control thread asks of a data thread. */
export type DataThreadCalls = ProfileCalls &
  DrainCalls &
  RevocationCalls &
  PageCalls & {
    applyXds: { request: XdsDelta; response: XdsResult };
    addPod: { request: PodHandover; response: null };
    /** Tunnels to this proxy's own metrics; at most once. */
    serveSelf: { request: SelfHandover; response: null };
    /** No new connections; those that are open go on. */
    removePod: { request: { uid: string }; response: null };
    certificate: { request: WorkloadCertificate; response: null };
    /** The live connections by pod uid. */
    connections: {
      request: null;
      response: readonly Readonly<{ podUid: string; connection: LiveConnection }>[];
    };
    /** The parts of `/config_dump` that a thread knows, as JSON text. */
    dump: { request: null; response: string };
    explain: {
      request: ExplainRequest;
      response: OutboundExplanation | InboundExplanation | { error: string };
    };
    /** What the start has left behind can go; what it has compiled is kept for the next one. */
    startIsOver: { request: null; response: null };
  };

/** What a data thread asks of the control thread. */
export type ControlCalls = {
  certificate: { request: { identity: SpiffeId }; response: WorkloadCertificate };
  /** On demand: answers when the control plane has answered for the key, and every thread has what it said. */
  demand: { request: { key: DemandKey }; response: null };
  /** The thread relies on the key no more. */
  release: { request: { key: DemandKey }; response: null };
};
