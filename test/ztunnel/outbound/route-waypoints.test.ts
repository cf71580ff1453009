import test from 'ava';
import { parseIpAddress } from '../../../base/address.ts';
import { gatewayAt, podUid, type ServiceFields } from '../../support/workloads.ts';
import {
  mesh,
  route,
  shape,
  routes,
  rejects,
  api,
  VIP,
  web,
  b1,
  passthrough,
  WAYPOINT,
  waypointService,
  waypoint,
  byName,
  byAddress,
} from '../../support/routes.ts';

test(
  'destination service waypoint, by name',
  routes,
  mesh([b1, waypoint()], [{ ...web, ...byName }, waypointService]),
  VIP,
  'waypoint 10.0.0.9:15008 10.96.0.1:80 waypoint',
);
test(
  'destination service waypoint, by address',
  routes,
  mesh([b1, waypoint()], [{ ...web, ...byAddress }, waypointService]),
  VIP,
  'waypoint 10.0.0.9:15008 10.96.0.1:80 waypoint',
);
test(
  'destination service waypoint: its names are accepted',
  routes,
  mesh(
    [b1, waypoint()],
    [
      { ...web, ...byName },
      { ...waypointService, subjectAltNames: ['spiffe://cluster.local/ns/shop/sa/wp'] },
    ],
  ),
  VIP,
  'waypoint 10.0.0.9:15008 10.96.0.1:80 waypoint|wp',
);
test(
  'destination service waypoint: another instance after a failure',
  routes,
  mesh(
    [b1, waypoint(), waypoint('waypoint-2', '10.0.0.10')],
    [{ ...web, ...byName }, waypointService],
  ),
  VIP,
  'waypoint 10.0.0.10:15008 10.96.0.1:80 waypoint',
  { tried: new Set([podUid('waypoint')]) },
);
test(
  'destination service waypoint that is a workload by host name',
  routes,
  mesh(
    [b1, { name: 'waypoint', ips: ['10.0.0.9'], hostname: 'waypoint.example.com' }],
    [{ ...web, waypoint: gatewayAt('shop/waypoint.example.com') }],
  ),
  VIP,
  'waypoint 10.0.0.9:15008 10.96.0.1:80 waypoint',
);
test(
  'destination service waypoint behind an application tunnel need not declare the port',
  routes,
  mesh(
    [b1, { ...waypoint(), serves: { [WAYPOINT]: [] }, applicationTunnel: { port: 15088 } }],
    [
      { ...web, ...byName },
      { ...waypointService, ports: [] },
    ],
  ),
  VIP,
  'waypoint 10.0.0.9:15008 10.96.0.1:80 waypoint',
);
test(
  'pod addresses where only the service has a waypoint: direct',
  routes,
  mesh([b1, waypoint()], [{ ...web, ...byName }, waypointService]),
  '10.0.0.11:8080',
  'direct 10.0.0.11:15008 10.0.0.11:8080 b1',
);
test(
  'passthrough service with a waypoint: the waypoint',
  routes,
  mesh([b1, waypoint()], [{ ...passthrough, ...byName }, waypointService]),
  VIP,
  'waypoint 10.0.0.9:15008 10.96.0.1:80 waypoint',
);
test(
  'a waypoint that calls its own service: never itself',
  routes,
  mesh([b1, waypoint()], [{ ...web, ...byName }, waypointService]),
  VIP,
  'direct 10.0.0.11:15008 10.0.0.11:8080 b1',
  { from: 'waypoint' },
);
test(
  'destination waypoint of a workload',
  routes,
  mesh([{ ...api, ...byName }, waypoint()], [waypointService]),
  '10.0.0.2:80',
  'waypoint 10.0.0.9:15008 10.0.0.2:80 waypoint',
);
test(
  'source waypoint: it is not used',
  routes,
  mesh(
    [{ ...api }, { name: 'client', ips: ['10.0.0.1'], ...byName }, waypoint()],
    [waypointService],
  ),
  '10.0.0.2:80',
  'direct 10.0.0.2:15008 10.0.0.2:80 api',
);
test(
  'destination waypoint that calls its workload: direct',
  routes,
  mesh([{ ...api, ...byName }, waypoint()], [waypointService]),
  '10.0.0.2:80',
  'direct 10.0.0.2:15008 10.0.0.2:80 api',
  { from: 'waypoint' },
);
test(
  'destination waypoint, identity right but address not: through it',
  routes,
  mesh([{ ...api, ...byName }, waypoint()], [waypointService]),
  '10.0.0.2:80',
  'waypoint 10.0.0.9:15008 10.0.0.2:80 waypoint',
  { from: 'waypoint', sourceIp: parseIpAddress('10.0.0.77') },
);
test(
  'destination waypoint, address right but account not: through it',
  routes,
  mesh([{ ...api, ...byName }, waypoint()], [waypointService]),
  '10.0.0.2:80',
  'waypoint 10.0.0.9:15008 10.0.0.2:80 waypoint',
  { sourceIp: parseIpAddress('10.0.0.9') },
);
test(
  'a service without waypoint whose endpoint has one: through that, to the endpoint',
  routes,
  mesh([{ ...b1, ...byName }, waypoint()], [web, waypointService]),
  VIP,
  'waypoint 10.0.0.9:15008 10.0.0.11:8080 waypoint',
);

test(
  'a service whose waypoint is not known',
  rejects,
  mesh([b1], [{ ...web, ...byName }]),
  VIP,
  /ERR_WAYPOINT_UNAVAILABLE: the waypoint of shop\/web\S* cannot be used: shop\/waypoint\S* is not known/,
);
test(
  'a service whose waypoint has no instance',
  rejects,
  mesh([b1], [{ ...web, ...byName }, waypointService]),
  VIP,
  /ERR_WAYPOINT_UNAVAILABLE: .*no endpoints/,
);
test(
  'a service whose waypoint is not ready',
  rejects,
  mesh([b1, { ...waypoint(), healthy: false }], [{ ...web, ...byName }, waypointService]),
  VIP,
  /ERR_WAYPOINT_UNAVAILABLE: .*1 unhealthy/,
);
test(
  'a service whose waypoint the control plane could not bind',
  rejects,
  mesh([b1], [{ ...web, waypointProblem: 'namespace shop is not allowed' }]),
  VIP,
  /ERR_WAYPOINT_UNAVAILABLE: .*web.*namespace shop is not allowed/,
);
test(
  'a workload whose waypoint the control plane could not bind',
  rejects,
  mesh([{ ...api, waypointProblem: 'no such gateway' }]),
  '10.0.0.2:80',
  /ERR_WAYPOINT_UNAVAILABLE: .*api.*no such gateway/,
);
test(
  'a workload whose waypoint is not known',
  rejects,
  mesh([{ ...api, ...byName }]),
  '10.0.0.2:80',
  /ERR_WAYPOINT_UNAVAILABLE/,
);

const weighted = (first: number, second: number): ServiceFields => ({
  ...web,
  ...byName,
  weightedWaypoints: [
    { destination: gatewayAt('10.0.0.31'), weight: first },
    { destination: gatewayAt('10.0.0.32'), weight: second },
  ],
});
const two = [
  { name: 'w1', ips: ['10.0.0.31'] },
  { name: 'w2', ips: ['10.0.0.32'] },
];
for (const [random, ip] of [
  [0, '10.0.0.31'],
  [0.24, '10.0.0.31'],
  [0.26, '10.0.0.32'],
  [0.99, '10.0.0.32'],
] as const) {
  test(`weighted waypoints: ${ip} at ${random}`, (t) => {
    const found = route(mesh([b1, ...two], [weighted(1, 3)]), VIP, { random: () => random });
    t.true(shape(found).startsWith(`waypoint ${ip}:15008 10.96.0.1:80`));
  });
}
test(
  'weighted waypoints without weight: the one waypoint',
  routes,
  mesh([b1, ...two, waypoint()], [weighted(0, 0), waypointService]),
  VIP,
  'waypoint 10.0.0.9:15008 10.96.0.1:80 waypoint',
);
