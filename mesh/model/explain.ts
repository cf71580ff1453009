import type { EndpointCondition } from './endpoint-report.ts';

/** One look-up or check of a decision, in words: what was asked and what was found. */
export type ExplainStep = Readonly<{ step: string; found: string }>;

/** What a proxy would do with an outbound connection, as JSON. */
export type OutboundExplanation = Readonly<{
  direction: 'outbound';
  source: Readonly<{ workload: string; ip: string; identity: string }>;
  destination: string;
  steps: readonly ExplainStep[];
  outcome: Readonly<{
    kind: 'hbone' | 'double-hbone' | 'plain' | 'passthrough' | 'resolve' | 'ask' | 'reject';
    reason: string;
    /** What the control plane must be asked for first. */
    key?: string;
    /** The next hop, with the workload that is dialled there and the identities that are accepted of it. */
    connectTo?: string;
    authority?: string;
    via?: 'direct' | 'waypoint';
    workload?: string;
    node?: string;
    service?: string;
    peers?: readonly string[];
  }>;
}>;

/** A policy that concerns a workload, and what it says of a connection. */
export type PolicyExplanation = Readonly<{
  policy: string;
  scope: string;
  action: 'ALLOW' | 'DENY';
  dryRun: boolean;
  /** From 0; absent when no rule matches. */
  matchedRule?: number;
}>;

/** What a proxy would do with an inbound connection, as JSON. */
export type InboundExplanation = Readonly<{
  direction: 'inbound';
  workload: string;
  peer: Readonly<{ ip: string; identity?: string }>;
  /** The authority of the tunnel; the address for plaintext. */
  target: string;
  plaintext: boolean;
  steps: readonly ExplainStep[];
  policies: readonly PolicyExplanation[];
  outcome: Readonly<{
    kind: 'admit' | 'refuse' | 'wait' | 'ask';
    reason: string;
    /** What the control plane must be asked for first. */
    key?: string;
    /** Of the refusal; absent for plaintext, which is closed. */
    status?: number;
    connectTo?: string;
    policy?: string;
    rule?: number;
  }>;
  /** Of a refusal by policy: the rule that comes closest to allowing it, and what it lacks. */
  nearestAllow?: Readonly<{ policy: string; rule: number; unmet: readonly string[] }>;
}>;

/** What a waypoint would do with a request, as JSON. */
export type RequestExplanation = RequestStory &
  Readonly<{
    direction: 'waypoint';
    /** Its pod. */
    waypoint: string;
    source: Readonly<{ ip: string; identity: string }>;
  }>;

/** What a gateway would do with a request from outside of the mesh, as JSON. */
export type GatewayExplanation = RequestStory &
  Readonly<{
    direction: 'gateway';
    /** Its pod. */
    gateway: string;
    /** The client's address. */
    client: string;
  }>;

type RequestStory = Readonly<{
  /** `<method> <authority><path>`. */
  request: string;
  steps: readonly ExplainStep[];
  /** Of the backends of the rule: every one with its part of the requests. */
  backends: readonly BackendExplanation[];
  outcome: Readonly<{
    kind: 'forward' | 'answer' | 'refuse' | 'bytes';
    reason: string;
    /** What the client gets, where it is answered here. */
    status?: number;
    policy?: string;
    rule?: number;
  }>;
  /** Whom the proxy asks next: the first endpoint that is available. Absent where it ends here, or nobody knows. */
  next?: NextHop;
}>;

/** How a proxy of requests reaches an endpoint, and with what. */
export type NextHop = Readonly<{
  via: 'waypoint' | 'direct' | 'plain';
  workload: string;
  node: string;
  connectTo: string;
  /** Of the tunnel; absent in plain text. */
  authority?: string;
  /** As whom the proxy comes there. */
  source: Readonly<{ ip: string; identity: string }>;
  /** The request as the rule has left it. */
  request: Readonly<{
    method: string;
    path: string;
    headers: readonly (readonly [name: string, value: string])[];
  }>;
}>;

export type BackendExplanation = Readonly<{
  backend: string;
  weight: number;
  /** What a BackendPolicy says of it, with the policy's name. */
  policy?: string;
  /** Why it answers with an error. */
  problem?: string;
  /** The waypoint that stands between a gateway and it; its endpoints are that waypoint's. */
  waypoint?: string;
  /** How TLS is spoken with its application; absent: it is not. */
  tls?: string;
  endpoints: readonly Readonly<{
    workload: string;
    address: string;
    state: EndpointCondition;
  }>[];
}>;
