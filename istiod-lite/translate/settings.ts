import type { TrustDomain } from '../../mesh/model/identity.ts';
import type { AuthorizationPolicy } from '../../mesh/model/authorization.ts';
import type { ObjectReference } from '../../mesh/kubernetes/object.ts';
import type { AddressRecord } from '../../mesh/xds/codec.ts';
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

/** What one object is turned into. */
export type Translation = Readonly<{
  addresses: readonly AddressRecord[];
  policies: readonly AuthorizationPolicy[];
  conditions: readonly Condition[];
  /** The VIPs given to it, by host. */
  vips: ReadonlyMap<string, string>;
}>;

export const NOTHING: Translation = {
  addresses: [],
  policies: [],
  conditions: [],
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
