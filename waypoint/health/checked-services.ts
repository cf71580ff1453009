import { endpointPort } from '../../mesh/model/endpoint.ts';
import type { ServiceKey } from '../../mesh/model/service.ts';
import { trafficPolicyOf } from '../../mesh/model/traffic-policy.ts';
import type { WorkloadUid } from '../../mesh/model/workload.ts';
import type { ProxyState } from '../../mesh/proxy/state/store.ts';
import type { WaypointStore } from '../../mesh/proxy/state/waypoint-store.ts';
import type { HealthChecker, Probed } from './checker.ts';

/** Tells the checker which endpoints a service has now: none without a policy that asks for checks. */
export function updateChecks(
  checker: HealthChecker,
  state: ProxyState,
  store: WaypointStore,
  key: ServiceKey,
): void {
  const service = state.service(key);
  const { backend, traffic } = store.config(key);
  const check = backend?.healthCheck;
  const servicePort = check?.port ?? service?.ports[0]?.servicePort;
  const policy = servicePort === undefined ? undefined : trafficPolicyOf(traffic, servicePort);
  // Where nothing may be sent, no check is sent either.
  if (service === undefined || check === undefined || policy?.problem !== undefined) {
    checker.update(key, undefined, new Map());
    return;
  }
  const declared = service.ports.find((port) => port.servicePort === servicePort);
  const endpoints = new Map<WorkloadUid, Probed>();
  if (servicePort !== undefined)
    for (const workload of state.endpointView(key).list) {
      const port = endpointPort(workload, key, servicePort, declared);
      if (port === undefined || workload.capacity <= 0) continue;
      const [protocol, tls] = [declared?.appProtocol, policy?.tls];
      endpoints.set(workload.uid, { service, workload, port, protocol, tls });
    }
  checker.update(key, check, endpoints);
}
