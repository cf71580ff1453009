import { formatSocketAddress, type SocketAddress } from '../base/address.ts';
import { identityParts, type SpiffeId } from '../mesh/model/identity.ts';
import type { Service } from '../mesh/model/service.ts';
import type { Workload, WorkloadDescription } from '../mesh/model/workload.ts';

export type HttpVersion = 'HTTP/1.0' | 'HTTP/1.1' | 'HTTP/2';

/** A client that is no part of the mesh, at a gateway. */
export type Edge = Readonly<{
  /** What it speaks, whatever it says that it speaks. */
  scheme: 'http' | 'https';
  /** Of TLS: what it asked for in the handshake, which chose the listener; '' for nothing. */
  serverName?: string;
}>;

export type DownstreamFacts = Readonly<{
  version: HttpVersion;
  /** The client's pod. */
  remote: SocketAddress;
  /** What the client called: a VIP or a pod, and the port. */
  local: SocketAddress;
  /** The service that was called; `undefined` for a pod. */
  service?: Service | undefined;
  /** The pod that was called at its own address. */
  pod?: Workload | undefined;
  /** Proved by the tunnel's certificate. */
  identity?: SpiffeId | undefined;
  workload?: WorkloadDescription | undefined;
  /** At a gateway: then there is no service, pod or identity. */
  edge?: Edge | undefined;
}>;

/** The connection that requests come on: who calls, and what was called. It is the same for all of its requests. */
export class Downstream {
  readonly version: HttpVersion;
  readonly remote: SocketAddress;
  readonly local: SocketAddress;
  readonly service: Service | undefined;
  readonly pod: Workload | undefined;
  readonly identity: SpiffeId | undefined;
  /** Of the identity. */
  readonly namespace: string | undefined;
  readonly workload: WorkloadDescription | undefined;
  readonly edge: Edge | undefined;
  /** For the log. */
  readonly remoteText: string;
  readonly localText: string;

  constructor(facts: DownstreamFacts) {
    this.version = facts.version;
    this.remote = facts.remote;
    this.local = facts.local;
    this.service = facts.service;
    this.pod = facts.pod;
    this.identity = facts.identity;
    this.namespace = facts.identity && identityParts(facts.identity).namespace;
    this.workload = facts.workload;
    this.edge = facts.edge;
    this.remoteText = formatSocketAddress(facts.remote);
    this.localText = formatSocketAddress(facts.local);
  }
}
