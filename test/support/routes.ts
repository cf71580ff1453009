import test from 'ava';
import { formatSocketAddress, parseIpAddress, parseSocketAddress } from '../../base/address.ts';
import { OWN_PORTS } from '../../mesh/model/ports.ts';
import { formatAuthority } from '../../mesh/hbone/authority.ts';
import type { DemandKey } from '../../mesh/proxy/state/answered.ts';
import { ProxyState } from '../../mesh/proxy/state/store.ts';
import type { OutboundRequest, OutboundRoute } from '../../ztunnel/outbound/outbound-route.ts';
import { selectRoute } from '../../ztunnel/outbound/route.ts';
import {
  gatewayAt,
  makeService,
  makeWorkload,
  podUid,
  type ServiceFields,
  type WorkloadFields,
} from './workloads.ts';

/** A mesh of workloads and services; the client is 10.0.0.1 on node-a. */
export function mesh(
  workloads: readonly WorkloadFields[],
  services: readonly ServiceFields[] = [],
  answered?: readonly string[],
): ProxyState {
  const keys = answered && new Set(answered as readonly DemandKey[]);
  const state = new ProxyState(undefined, keys);
  state.setWorkload(makeWorkload({ name: 'client', ips: ['10.0.0.1', 'fd00::a'] }));
  for (const service of services) state.setService(makeService(service));
  for (const workload of workloads) state.setWorkload(makeWorkload(workload));
  return state;
}

type Asked = Partial<OutboundRequest> & Readonly<{ from?: string }>;

/** The route of a client, `client` unless told otherwise. */
export function route(state: ProxyState, to: string, asked: Asked = {}): OutboundRoute {
  const { from = 'client', ...rest } = asked;
  const source = state.workload(podUid(from));
  if (source === undefined) throw new Error(`no workload ${from}`);
  return selectRoute(state, {
    source,
    sourceIp: source.addresses[0] ?? parseIpAddress('10.0.0.1'),
    destination: parseSocketAddress(to),
    network: '',
    ownPorts: OWN_PORTS,
    tried: new Set(),
    resolved: new Map(),
    random: () => 0,
    ...rest,
  });
}

/** A route in one line: kind, where to, authority, and the accounts that are accepted. */
export function shape(found: OutboundRoute): string {
  const accounts = (peers: readonly string[]): string =>
    peers.map((peer) => peer.replace('spiffe://cluster.local/ns/shop/sa/', '')).join('|');
  switch (found.kind) {
    case 'hbone':
      return `${found.via} ${formatSocketAddress(found.connectTo)} ${formatAuthority(found.authority)} ${accounts(found.peers)}`;
    case 'double-hbone':
      return (
        `double ${formatSocketAddress(found.connectTo)} ${formatAuthority(found.authority)} ${accounts(found.peers)}` +
        ` / ${formatAuthority(found.inner.authority)} ${accounts(found.inner.peers)}`
      );
    case 'plain':
    case 'passthrough':
      return `${found.kind} ${formatSocketAddress(found.connectTo)}`;
    case 'resolve':
      return `resolve ${found.hostname}`;
    case 'ask':
      return `ask ${found.key}`;
    case 'reject':
      return `reject ${found.code}: ${found.reason}`;
  }
}

/** The route to a destination is this one, in one line. */
export const routes = test.macro({
  exec(t, state: ProxyState, to: string, expected: string, asked?: Asked) {
    t.is(shape(route(state, to, asked)), expected);
  },
  title: (given = '') => `selectRoute() ${given}`,
});

/** There is none, for this reason. */
export const rejects = test.macro({
  exec(t, state: ProxyState, to: string, expected: RegExp, asked?: Asked) {
    const found = route(state, to, asked);
    t.is(found.kind, 'reject');
    t.regex(shape(found), expected);
  },
  title: (given = '') => `selectRoute() refuses ${given}`,
});

export const api = { name: 'api', ips: ['10.0.0.2'] };

export const WEB = 'shop/web.shop.svc.cluster.local';
export const VIP = '10.96.0.1:80';
export const web = { name: 'web', vips: ['10.96.0.1'] };
const backend = (
  name: string,
  ip: string,
  fields: Partial<WorkloadFields> = {},
): WorkloadFields => ({
  name,
  ips: [ip],
  serves: { [WEB]: ['80:8080'] },
  ...fields,
});
export const b1 = backend('b1', '10.0.0.11');
export const b2 = backend('b2', '10.0.0.12');

export const passthrough = { ...web, loadBalancing: { mode: 'PASSTHROUGH' } } as const;

export const WAYPOINT = 'shop/waypoint.shop.svc.cluster.local';
export const waypointService = { name: 'waypoint', vips: ['10.96.0.9'], ports: ['15008:15008'] };
export const waypoint = (name = 'waypoint', ip = '10.0.0.9'): WorkloadFields => ({
  name,
  ips: [ip],
  serviceAccount: 'waypoint',
  serves: { [WAYPOINT]: ['15008:15008'] },
});
export const byName = { waypoint: gatewayAt(WAYPOINT) };
export const byAddress = { waypoint: gatewayAt('10.96.0.9') };
