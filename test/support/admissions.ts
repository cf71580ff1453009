import test from 'ava';
import { formatSocketAddress, parseIpAddress } from '../../base/address.ts';
import { OWN_PORTS } from '../../mesh/model/ports.ts';
import type { ExplainStep } from '../../mesh/model/explain.ts';
import { parseSpiffeId } from '../../mesh/model/identity.ts';
import type { DemandKey } from '../../mesh/proxy/state/answered.ts';
import { ProxyState } from '../../mesh/proxy/state/store.ts';
import type { Admission, TunnelRequest } from '../../ztunnel/inbound/admission.ts';
import { admitTunnel } from '../../ztunnel/inbound/admit.ts';
import { makeMatch, makePolicy, makeRule } from './policies.ts';
import {
  gatewayAt,
  makeService,
  makeWorkload,
  podUid,
  type ServiceFields,
  type WorkloadFields,
} from './workloads.ts';

export const WEB = 'shop/web.shop.svc.cluster.local';
export const WAYPOINT = 'shop/waypoint.shop.svc.cluster.local';

/** The local pod 10.0.0.2 serves "web"; the client is 10.0.0.1, the waypoint 10.0.0.9. */
export function mesh(
  local: Partial<WorkloadFields> = {},
  services: readonly ServiceFields[] = [],
  others: readonly WorkloadFields[] = [],
  answered?: readonly string[],
): ProxyState {
  const keys = answered && new Set(answered as readonly DemandKey[]);
  const state = new ProxyState(undefined, keys);
  const all: readonly ServiceFields[] = [
    { name: 'web', vips: ['10.96.0.1', 'fd00:96::1'] },
    { name: 'waypoint', vips: ['10.96.0.9'], ports: ['15008:15008'] },
    ...services,
  ];
  for (const service of all) state.setService(makeService(service));
  const workloads: readonly WorkloadFields[] = [
    { name: 'client', ips: ['10.0.0.1'] },
    { name: 'waypoint', ips: ['10.0.0.9'], serves: { [WAYPOINT]: ['15008:15008'] } },
    { name: 'local', ips: ['10.0.0.2', 'fd00::2'], serves: { [WEB]: ['80:8080'] }, ...local },
    ...others,
  ];
  for (const workload of workloads) state.setWorkload(makeWorkload(workload));
  return state;
}

type Asked = Partial<TunnelRequest> & Readonly<{ at?: string }>;

/** What becomes of a tunnel to an authority, at the pod `web` unless told otherwise. */
export function admit(
  state: ProxyState,
  authority: string,
  asked: Asked = {},
  steps?: ExplainStep[],
): Admission {
  const { at = 'local', ...rest } = asked;
  const request = {
    method: 'CONNECT',
    authority,
    workload: state.workload(podUid(at)),
    localIp: parseIpAddress('10.0.0.2'),
    peerIp: parseIpAddress('10.0.0.1'),
    peerIdentity: parseSpiffeId('spiffe://cluster.local/ns/shop/sa/client'),
    network: '',
    ownPorts: OWN_PORTS,
    tunnelOnLoopback: true,
    ...rest,
  };
  return admitTunnel(state, request, steps);
}

/** An admission in one line. */
export function shape(found: Admission): string {
  switch (found.kind) {
    case 'admit': {
      const bind = found.bindTo === undefined ? '' : ` from ${found.bindTo}`;
      const header = found.proxyHeader;
      const proxy = header === undefined ? '' : ` proxy ${formatSocketAddress(header.destination)}`;
      return `admit ${formatSocketAddress(found.connectTo)}${bind}${proxy}`;
    }
    case 'ask':
      return `ask ${found.key}`;
    case 'wait':
      return `wait ${found.policies.join()}`;
    case 'refuse':
      return `${found.status} ${found.reason}`;
  }
}

/** A tunnel is admitted or refused so, in one line. */
export const tunnels = test.macro({
  exec(t, state: ProxyState, authority: string, expected: string | RegExp, asked?: Asked) {
    const found = shape(admit(state, authority, asked));
    if (typeof expected === 'string') t.is(found, expected);
    else t.regex(found, expected);
  },
  title: (given = '') => `admitTunnel(): ${given}`,
});

export const plain = mesh();
export const fromWaypoint = {
  peerIp: parseIpAddress('10.0.0.9'),
  peerIdentity: parseSpiffeId('spiffe://cluster.local/ns/shop/sa/waypoint'),
};

export const guarded = mesh({ waypoint: gatewayAt(WAYPOINT) });

export function policed(...matches: Parameters<typeof makeMatch>[0][]): ProxyState {
  const state = mesh();
  const rules = matches.map((match) => makeRule([makeMatch(match)]));
  state.setPolicy(
    makePolicy({ name: 'p', namespace: 'shop', scope: 'NAMESPACE', action: 'DENY', rules }),
  );
  return state;
}
export const DENIED = '401 explicitly denied by: shop/p';
