import { unreachable } from '../../base/unreachable.ts';
import type { KnownObject } from '../../mesh/kubernetes/resources.ts';
import type { AddressRecord } from '../../mesh/xds/codec.ts';
import type { Picture } from '../snapshot.ts';
import { attachedCondition } from './attached-policies.ts';
import { backendPolicyConditions } from './backend-policies.ts';
import { backendTlsAncestors } from './backend-tls.ts';
import {
  serviceEntryWorkloads,
  translateEndpointSlice,
  translateWorkloadEntry,
} from './external-workloads.ts';
import { classConditions, translateGateway } from './gateways.ts';
import { INGRESS_GATEWAY_CLASS } from './gateway/ingress-objects.ts';
import { staticStrictPolicy, translatePeerAuthentication } from './peer-authentication.ts';
import { translatePolicy } from './policies.ts';
import { waypointAccepted } from './policy-status.ts';
import { routeParents } from './route-status.ts';
import { translateService, translateServiceEntry } from './services.ts';
import { NOTHING, type AllocateVip, type MeshSettings, type Translation } from './settings.ts';
import { destinationRuleCondition } from './traffic-policies.ts';
import { virtualServiceCondition } from './virtual-status.ts';
import { withWaypointConfigs } from './waypoint-configs.ts';
import { WAYPOINT_GATEWAY_CLASS } from './waypoint-objects.ts';
import { translatePod } from './workloads.ts';

/** What one object is turned into, as the picture stands. */
export function translateObject(
  picture: Picture,
  settings: MeshSettings,
  object: KnownObject,
  allocateVip: AllocateVip,
): Translation {
  switch (object.kind) {
    case 'Pod':
      return translatePod(picture, settings, object);
    case 'Service':
      return withWaypointConfigs(
        ...([picture, settings, object] as const),
        translateService(picture, settings, object),
      );
    case 'EndpointSlice':
      return translateEndpointSlice(picture, settings, object);
    case 'WorkloadEntry':
      return translateWorkloadEntry(picture, settings, object);
    case 'ServiceEntry': {
      const translation = translateServiceEntry(picture, settings, object, allocateVip);
      const workloads = serviceEntryWorkloads(picture, settings, object);
      return withWaypointConfigs(picture, settings, object, {
        ...translation,
        addresses: [
          ...translation.addresses,
          ...workloads.map((workload): AddressRecord => ({ kind: 'workload', workload })),
        ],
      });
    }
    case 'AuthorizationPolicy': {
      const condition = waypointAccepted(picture, settings, object);
      const translation = translatePolicy(object, settings);
      return condition === undefined ? translation : { ...translation, conditions: [condition] };
    }
    case 'PeerAuthentication': {
      const policy = translatePeerAuthentication(picture, settings, object);
      return policy === undefined ? NOTHING : { ...NOTHING, policies: [policy] };
    }
    case 'Gateway':
      return translateGateway(picture, settings, object);
    case 'Namespace':
    case 'Node':
    case 'ServiceAccount':
    case 'Deployment':
    case 'ReplicaSet':
    case 'ConfigMap':
    case 'Secret':
    case 'ReferenceGrant':
    // Told to waypoints by what it is attached to.
    case 'RequestAuthentication':
      return NOTHING;
    case 'GatewayClass':
      return { ...NOTHING, conditions: classConditions(object) };
    case 'HTTPRoute':
    case 'GRPCRoute':
    case 'TCPRoute':
    case 'TLSRoute':
    case 'UDPRoute':
      return { ...NOTHING, parents: routeParents(picture, settings, object) };
    case 'BackendTLSPolicy':
      return { ...NOTHING, ancestors: backendTlsAncestors(picture, settings, object) };
    case 'RateLimitPolicy':
      return { ...NOTHING, conditions: [attachedCondition(picture, settings, object)] };
    case 'BackendPolicy':
      return { ...NOTHING, conditions: backendPolicyConditions(picture, settings, object) };
    case 'DestinationRule':
      return { ...NOTHING, conditions: [destinationRuleCondition(picture, settings, object)] };
    case 'VirtualService':
      return { ...NOTHING, conditions: [virtualServiceCondition(picture, settings, object)] };
    default:
      return unreachable(object);
  }
}

/** What follows from the mesh as a whole. */
export function meshTranslation(picture: Picture, settings: MeshSettings): Translation {
  const [any] = picture.all('PeerAuthentication');
  const policies = any === undefined ? [] : [staticStrictPolicy(settings)];
  return { ...NOTHING, policies, generated: [WAYPOINT_GATEWAY_CLASS, INGRESS_GATEWAY_CLASS] };
}
