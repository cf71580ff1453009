import type { ExecutionContext } from 'ava';
import { parseSpiffeId } from '../../mesh/model/identity.ts';
import type { HttpPolicy } from '../../mesh/model/http-policy.ts';
import { serviceKey } from '../../mesh/model/service.ts';
import { gatewayTarget, serviceTarget } from '../../mesh/model/target-security.ts';
import { WaypointStore } from '../../mesh/proxy/state/waypoint-store.ts';
import { encodeTargetSecurity, TARGET_SECURITY_TYPE } from '../../mesh/xds/codec-http-policy.ts';
import type { RequestJudges } from '../../waypoint/http-steps.ts';
import { Security } from '../../waypoint/security.ts';
import { servePlainWaypoint } from './plain-waypoint.ts';

const SERVICE = serviceTarget(serviceKey('shop', 'web.shop.svc.cluster.local'));
const GATEWAY = gatewayTarget('shop', 'waypoint');

export type SecureWaypoint = Readonly<{
  port: number;
  security: Security;
  setPolicies: (policies: readonly HttpPolicy[]) => void;
}>;

/** A plain waypoint whose service has policies, until the test ends. */
export function serveSecureWaypoint(
  t: ExecutionContext,
  backEndPort: number,
  policies: readonly HttpPolicy[],
): SecureWaypoint {
  const store = new WaypointStore();
  const security = new Security({
    ...{ store, gateway: GATEWAY, now: Date.now },
    identity: parseSpiffeId('spiffe://cluster.local/ns/shop/sa/waypoint'),
  });
  const setPolicies = (wanted: readonly HttpPolicy[]): void => {
    const resources = [SERVICE, GATEWAY].map((target) => ({
      name: target,
      bytes: encodeTargetSecurity({
        ...{ target, authentications: [], policies: target === SERVICE ? wanted : [] },
      }),
    }));
    store.apply(TARGET_SECURITY_TYPE, resources, []);
    security.onChange(new Set([SERVICE, GATEWAY]));
  };
  setPolicies(policies);
  const judges: Partial<Pick<RequestJudges, 'authorize' | 'onRequestEnd'>> = {
    authorize: (request) => security.authorize(request),
    onRequestEnd(request) {
      security.onRequestEnd(request);
    },
  };
  const { port } = servePlainWaypoint(t, backEndPort, { judges });
  t.teardown(() => {
    security[Symbol.dispose]();
  });
  return { port, security, setPolicies };
}
