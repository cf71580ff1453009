import type { TrustDomain } from '../../mesh/model/identity.ts';
import type { AuthorizationPolicy } from '../../mesh/model/authorization.ts';
import type { ObjectReference } from '../../mesh/kubernetes/object.ts';
import type { ParentRef } from '../../mesh/kubernetes/route-references.ts';
import type { GatewayListeners } from '../../mesh/model/gateway-listener.ts';
import type { TargetSecurity } from '../../mesh/model/target-security.ts';
import type { ServiceKey } from '../../mesh/model/service.ts';
import type { AddressRecord } from '../../mesh/xds/codec.ts';
import type { WaypointConfigs } from '../../mesh/xds/waypoint-codecs.ts';
import { TOPOLOGY_NETWORK } from '../../mesh/kubernetes/labels.ts';
import type { Picture } from '../snapshot.ts';

/** What holds for the whole mesh. */
export type MeshSettings = Readonly<{
  clusterId: string;
  clusterDomain: string;
  rootNamespace: string;
  trustDomain: TrustDomain;
  trustDomainAliases: readonly TrustDomain[];
  /** This cluster's network where the root namespace's label names none. */
  network: string;
  /** Dry-run policies are sent; off by default, for an old ztunnel would enforce them. */
  dryRunPolicies: boolean;
}>;

/** A condition of an object's status, with upstream's type and reason. */
export type Condition = Readonly<{
  type: string;
  status: 'True' | 'False';
  reason: string;
  message: string;
}>;

/** What waypoints are told of one service. */
export type WaypointConfig = Readonly<{
  service: ServiceKey;
  configs: Partial<WaypointConfigs>;
  /** The waypoints that may know it, `<namespace>/<name>` of their Gateways. */
  readers: ReadonlySet<string>;
}>;

/** What waypoints are told of the policies that are attached to one target. */
export type WaypointSecurity = Readonly<{
  security: TargetSecurity;
  readers: ReadonlySet<string>;
}>;

/** What a route's status says of one of its parents. */
export type RouteParentStatus = Readonly<{
  parentRef: ParentRef;
  controllerName: string;
  /** Of the route as it was translated. */
  observedGeneration: number;
  conditions: readonly Condition[];
}>;

/** What a policy's status says of one of those that it is in force for. */
export type PolicyAncestorStatus = Readonly<{
  ancestorRef: Readonly<{ group: string; kind: string; namespace: string; name: string }>;
  controllerName: string;
  /** Of the policy as it was translated. */
  observedGeneration: number;
  conditions: readonly Condition[];
}>;

/** What one object is turned into. */
export type Translation = Readonly<{
  addresses: readonly AddressRecord[];
  policies: readonly AuthorizationPolicy[];
  /** For the waypoints of the object's services alone. */
  waypointConfigs: readonly WaypointConfig[];
  waypointSecurities?: readonly WaypointSecurity[];
  conditions: readonly Condition[];
  /** Of a route. */
  parents: readonly RouteParentStatus[];
  /** Of a policy that is attached to backends. */
  ancestors?: readonly PolicyAncestorStatus[];
  /** The VIPs given to it, by host. */
  vips: ReadonlyMap<string, string>;
  /** What a gateway listens for; it alone is told. */
  gatewayListeners?: GatewayListeners;
  /** Of a Gateway. */
  gateway?: GatewayStatus;
  /** What is to exist because of it. */
  generated?: readonly GeneratedObject[];
}>;

/** The part of a Gateway's status that is no condition of the Gateway itself. */
export type GatewayStatus = Readonly<{
  addresses: readonly GatewayStatusAddress[];
  listeners: readonly ListenerStatus[];
}>;

export type GatewayStatusAddress = Readonly<{ type: string; value: string }>;

export type ListenerStatus = Readonly<{
  name: string;
  supportedKinds: readonly Readonly<{ group: string; kind: string }>[];
  attachedRoutes: number;
  conditions: readonly Condition[];
}>;

/** A Kubernetes object that is to be made, as its manifest has it. */
export type GeneratedObject = Readonly<{
  apiVersion: string;
  kind: string;
  metadata: Readonly<{ name: string; namespace?: string } & Record<string, unknown>>;
}> &
  Readonly<Record<string, unknown>>;

export const NOTHING: Translation = {
  addresses: [],
  policies: [],
  waypointConfigs: [],
  conditions: [],
  parents: [],
  vips: new Map(),
};

/** Gives a host a VIP of its own, always the same one: that which its status says, where nobody else has it. */
export type AllocateVip = (
  entry: ObjectReference,
  host: string,
  inStatus: readonly string[],
) => string;

/** The network that every pod and Service of this cluster is in. */
export function clusterNetwork(picture: Picture, settings: MeshSettings): string {
  const root = picture.get('Namespace', '', settings.rootNamespace);
  return root?.metadata.labels.get(TOPOLOGY_NETWORK) ?? settings.network;
}
