import { parseIpAddress } from '../../../base/address.ts';
import { DEFAULT_TRUST_DOMAIN } from '../../../mesh/model/identity.ts';
import { serviceKey, type Service } from '../../../mesh/model/service.ts';
import type { Workload, WorkloadUid } from '../../../mesh/model/workload.ts';
import {
  APP_NAMESPACE,
  APP_PORT,
  hostOf,
  SERVICE_PORT,
  type AppEndpoint,
} from '../../ambient/application.ts';

const PORTS = [{ servicePort: SERVICE_PORT, targetPort: APP_PORT, appProtocol: 'HTTP11' }] as const;
const CLUSTER = 'Kubernetes';

/** A service of the application, as a control plane would tell of it. */
export function makeService({ name, vip }: AppEndpoint): Service {
  return {
    ...{ name, namespace: APP_NAMESPACE, hostname: hostOf(name) },
    addresses: [{ network: '', ip: parseIpAddress(vip) }],
    ...{ ports: PORTS, subjectAltNames: [], weightedWaypoints: [] },
    loadBalancing: { routingPreference: [], mode: 'UNSPECIFIED', allowUnhealthy: false },
    ...{ ipFamilies: 'AUTOMATIC', canonical: true, ingressUseWaypoint: false },
    namespaceOnly: false,
  };
}

/** A pod of the application behind that service. @param ip where it is dialled. */
export function makeWorkload(
  ip: string,
  { name, account }: Pick<AppEndpoint, 'name' | 'account'>,
): Workload {
  return {
    uid: `${CLUSTER}//Pod/${APP_NAMESPACE}/${ip}` as WorkloadUid,
    ...{ name, namespace: APP_NAMESPACE, addresses: [parseIpAddress(ip)], hostname: '' },
    ...{ network: '', clusterId: CLUSTER, node: '' },
    // Its identity is proved by mTLS; here without the tunnel around it.
    ...{ tunnelProtocol: 'HBONE', nativeTunnel: false },
    ...{ trustDomain: DEFAULT_TRUST_DOMAIN, serviceAccount: account },
    ...{ canonicalName: name, canonicalRevision: 'latest' },
    ...{ workloadType: 'POD', workloadName: name, healthy: true, hostNetwork: false },
    ...{ locality: { region: '', zone: '', subzone: '' }, capacity: 1 },
    services: new Map([[serviceKey(APP_NAMESPACE, hostOf(name)), PORTS]]),
    authorizationPolicies: [],
  };
}
