import { isDeepStrictEqual } from 'node:util';
import { serviceKey } from '../../mesh/model/service.ts';
import type { StateChange } from '../../mesh/proxy/state/apply.ts';
import type { ProxyState } from '../../mesh/proxy/state/store.ts';
import type { UpstreamEndpoint } from './endpoint.ts';
import { isTargetEndpoint, reachOf } from './target-backend.ts';

/**
 * Tells which endpoints a change took away, of those that connections were made to: the workload is gone or reached in
 * another way, or it serves the service no more. A service that names other identities than before counts too, for what
 * was proved was proved by the old ones.
 */
export function departedBy(
  { workloads, services }: Pick<StateChange, 'workloads' | 'services'>,
  state: Pick<ProxyState, 'workload' | 'service' | 'endpoints'>,
): (endpoint: UpstreamEndpoint) => boolean {
  return (place) => {
    if (!isTargetEndpoint(place)) return false;
    const { endpoint, tls, through, key } = place;
    // Of a waypoint in front of a service it is the instances that come and go.
    const service = through?.waypoint ?? place.service;
    const { uid } = endpoint.workload;
    if (workloads.has(uid)) {
      const workload = state.workload(uid);
      if (workload === undefined || reachOf(workload, endpoint.port, tls, through).key !== key)
        return true;
    }
    if (service === undefined) return false;
    const name = serviceKey(service.namespace, service.hostname);
    if (!services.has(name)) return false;
    const now = state.service(name);
    if (now === undefined || !state.endpoints(name).has(uid)) return true;
    return !isDeepStrictEqual(now.subjectAltNames, service.subjectAltNames);
  };
}
