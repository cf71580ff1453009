import test from 'ava';
import { gatewayAt } from '../../support/workloads.ts';
import {
  mesh,
  routes,
  rejects,
  VIP,
  web,
  b1,
  b2,
  waypointService,
  waypoint,
  byName,
} from '../../support/routes.ts';

const eastWest = { name: 'gw', ips: ['192.0.2.5'], network: 'far' };
const far = { network: 'far', networkGateway: gatewayAt('192.0.2.5', 'far') };
const named = { ...web, subjectAltNames: ['spiffe://cluster.local/ns/shop/sa/remote'] };
const remote = { ...b1, ips: [], ...far };
test(
  'double hbone: an endpoint of another network',
  routes,
  mesh([remote, eastWest], [named]),
  VIP,
  'double 192.0.2.5:15008 web.shop.svc.cluster.local:80 gw / web.shop.svc.cluster.local:80 remote',
);
const gatewayService = { name: 'ew', ports: ['15008:15008'] };
test(
  'double hbone: a gateway by the name of its service',
  routes,
  mesh(
    [
      { ...remote, networkGateway: gatewayAt('shop/ew.shop.svc.cluster.local') },
      { ...eastWest, serves: { 'shop/ew.shop.svc.cluster.local': ['15008:15443'] } },
    ],
    [named, gatewayService],
  ),
  VIP,
  'double 192.0.2.5:15443 web.shop.svc.cluster.local:80 gw / web.shop.svc.cluster.local:80 remote',
);
test(
  'double hbone: a waypoint of another network',
  routes,
  mesh(
    [b1, { ...waypoint(), ...far, ips: [] }, eastWest],
    [
      { ...web, ...byName },
      { ...waypointService, subjectAltNames: ['spiffe://cluster.local/ns/shop/sa/far-waypoint'] },
    ],
  ),
  VIP,
  'double 192.0.2.5:15008 web.shop.svc.cluster.local:80 gw / web.shop.svc.cluster.local:80 far-waypoint',
);
const preferOwnNetwork = {
  ...named,
  loadBalancing: { mode: 'FAILOVER', routingPreference: ['NETWORK'] },
} as const;
test(
  'failover to remote: the own network first',
  routes,
  mesh([remote, b2, eastWest], [preferOwnNetwork]),
  VIP,
  'direct 10.0.0.12:15008 10.0.0.12:8080 b2|remote',
);
test(
  'failover to remote: then the other',
  routes,
  mesh([remote, { ...b2, healthy: false }, eastWest], [preferOwnNetwork]),
  VIP,
  'double 192.0.2.5:15008 web.shop.svc.cluster.local:80 gw / web.shop.svc.cluster.local:80 remote',
);
test(
  'an endpoint of another network without a gateway',
  rejects,
  mesh([{ ...b1, network: 'far' }], [named]),
  VIP,
  /ERR_NO_HEALTHY_UPSTREAM/,
);
test(
  'a gateway that is not known',
  rejects,
  mesh([remote], [named]),
  VIP,
  /ERR_NETWORK_GATEWAY: cannot reach network far: 192.0.2.5 is not known/,
);
test(
  'a remote service that names no identities',
  rejects,
  mesh([remote, eastWest], [web]),
  VIP,
  /ERR_NETWORK_GATEWAY: .*names no identities/,
);
test(
  'a remote service that names only what is no identity',
  rejects,
  mesh([remote, eastWest], [{ ...web, subjectAltNames: ['web.example.com'] }]),
  VIP,
  /names no identities/,
);
