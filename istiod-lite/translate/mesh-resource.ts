import type { AuthorizationPolicy } from '../../mesh/model/authorization.ts';
import { policyKey } from '../../mesh/model/authorization.ts';
import type { GatewayListeners } from '../../mesh/model/gateway-listener.ts';
import { serviceKey } from '../../mesh/model/service.ts';
import {
  ADDRESS_TYPE,
  AUTHORIZATION_TYPE,
  contentVersion,
  encodeAddress,
  type AddressRecord,
} from '../../mesh/xds/codec.ts';
import { encodeGatewayListeners, GATEWAY_LISTENERS_TYPE } from '../../mesh/xds/codec-gateway.ts';
import { encodeAuthorization } from '../../mesh/xds/codec-policy.ts';
import { sorted } from '../../mesh/xds/codec-values.ts';
import { encodeTargetSecurity, TARGET_SECURITY_TYPE } from '../../mesh/xds/codec-http-policy.ts';
import { encodeWaypointConfigs } from '../../mesh/xds/waypoint-codecs.ts';
import type { Translation, WaypointConfig, WaypointSecurity } from './settings.ts';

/** What proxies get, in the form it travels in. */
export type MeshResource = Readonly<{
  typeUrl: string;
  name: string;
  /** Of the bytes; equal bytes have equal versions. */
  version: string;
  bytes: Uint8Array;
  /** Of labels, which only waypoints are told; '' where there are none. */
  labelsVersion: string;
  /** The waypoints that may have it, `<namespace>/<name>` of their Gateways; absent: every proxy may. */
  readers?: ReadonlySet<string>;
  content: Readonly<
    AddressRecord | { kind: 'policy'; policy: AuthorizationPolicy } | { kind: 'waypoint config' }
  >;
}>;

/** What an object is turned into, as it travels. */
export function* resourcesOf(translation: Translation): Iterable<MeshResource> {
  for (const record of translation.addresses) yield addressResource(record);
  for (const policy of translation.policies) yield policyResource(policy);
  for (const config of translation.waypointConfigs) yield* waypointResources(config);
  for (const security of translation.waypointSecurities ?? []) yield securityResource(security);
  if (translation.gatewayListeners !== undefined)
    yield listenersResource(translation.gatewayListeners);
}

function addressResource(record: AddressRecord): MeshResource {
  const bytes = encodeAddress(record);
  const name =
    record.kind === 'workload'
      ? record.workload.uid
      : serviceKey(record.service.namespace, record.service.hostname);
  return {
    ...{ typeUrl: ADDRESS_TYPE, name, version: contentVersion(bytes), bytes },
    ...{ labelsVersion: labelsVersion(record), content: record },
  };
}

function policyResource(policy: AuthorizationPolicy): MeshResource {
  const bytes = encodeAuthorization(policy);
  return {
    ...{ typeUrl: AUTHORIZATION_TYPE, name: policyKey(policy.namespace, policy.name) },
    ...{ version: contentVersion(bytes), bytes, labelsVersion: '' },
    content: { kind: 'policy', policy },
  };
}

function securityResource({ security, readers }: WaypointSecurity): MeshResource {
  const bytes = encodeTargetSecurity(security);
  return {
    ...{ typeUrl: TARGET_SECURITY_TYPE, name: security.target, version: contentVersion(bytes) },
    ...{ bytes, labelsVersion: '', readers, content: { kind: 'waypoint config' } },
  };
}

function listenersResource(listeners: GatewayListeners): MeshResource {
  const bytes = encodeGatewayListeners(listeners);
  return {
    ...{ typeUrl: GATEWAY_LISTENERS_TYPE, name: listeners.gateway, version: contentVersion(bytes) },
    ...{ bytes, labelsVersion: '', readers: new Set([listeners.gateway]) },
    content: { kind: 'waypoint config' },
  };
}

function waypointResources({ service, configs, readers }: WaypointConfig): MeshResource[] {
  return encodeWaypointConfigs(configs).map(({ typeUrl, bytes }) => ({
    ...{ typeUrl, name: service, version: contentVersion(bytes), bytes, labelsVersion: '' },
    ...{ readers, content: { kind: 'waypoint config' } },
  }));
}

/** Cheaper than the version of all bytes with them, which few of many proxies ask for. */
function labelsVersion(record: AddressRecord): string {
  const labels = record.kind === 'workload' ? record.workload.labels : undefined;
  if (labels === undefined || labels.size === 0) return '';
  return contentVersion(Buffer.from(JSON.stringify(sorted(labels))));
}
