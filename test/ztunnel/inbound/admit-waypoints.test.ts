import test from 'ava';
import { parseIpAddress } from '../../../base/address.ts';
import { gatewayAt } from '../../support/workloads.ts';
import { WAYPOINT, mesh, tunnels, plain, fromWaypoint, guarded } from '../../support/admissions.ts';

const atWaypoint = { at: 'waypoint', localIp: parseIpAddress('10.0.0.9') };
const fronted = mesh({}, [{ name: 'web', vips: ['10.96.0.1'], waypoint: gatewayAt(WAYPOINT) }]);
test(
  'a waypoint takes the VIP of its service',
  tunnels,
  fronted,
  '10.96.0.1:80',
  'admit 10.0.0.9:80 from 10.0.0.1',
  atWaypoint,
);
test(
  'a waypoint takes its service by name',
  tunnels,
  fronted,
  'web.shop.svc.cluster.local:80',
  /^admit 10.0.0.9:8080/,
  atWaypoint,
);
test(
  'a waypoint takes the address of its workload',
  tunnels,
  mesh({ waypoint: gatewayAt(WAYPOINT) }),
  '10.0.0.2:8080',
  'admit 10.0.0.9:8080 from 10.0.0.1',
  atWaypoint,
);
test(
  'a waypoint does not take what is not behind it',
  tunnels,
  plain,
  '10.96.0.1:80',
  /^400 ip mismatch/,
  atWaypoint,
);
test(
  'weighted waypoints each take the VIP',
  tunnels,
  mesh({}, [
    {
      name: 'web',
      vips: ['10.96.0.1'],
      weightedWaypoints: [{ destination: gatewayAt(WAYPOINT), weight: 1 }],
    },
  ]),
  '10.96.0.1:80',
  'admit 10.0.0.9:80 from 10.0.0.1',
  atWaypoint,
);

// Application tunnels

const tunnelled = mesh({ applicationTunnel: { port: 15088 } });
test(
  'an application tunnel: loopback, its port, a PROXY header',
  tunnels,
  tunnelled,
  '10.96.0.1:80',
  'admit 127.0.0.1:15088 proxy 10.96.0.1:80',
);
test(
  'an application tunnel at IPv6',
  tunnels,
  tunnelled,
  '[fd00:96::1]:80',
  'admit [::1]:15088 proxy [fd00:96::1]:80',
  { localIp: parseIpAddress('fd00::2') },
);
test(
  'an application tunnel on the port asked for',
  tunnels,
  mesh({ applicationTunnel: { port: 0 } }),
  '10.96.0.1:80',
  'admit 127.0.0.1:80 proxy 10.96.0.1:80',
);
test(
  'an application tunnel not on loopback',
  tunnels,
  tunnelled,
  '10.96.0.1:80',
  'admit 10.0.0.2:15088 proxy 10.96.0.1:80',
  { tunnelOnLoopback: false },
);
test(
  'an application tunnel, host name: the header names the VIP',
  tunnels,
  tunnelled,
  'web.shop.svc.cluster.local:80',
  'admit 127.0.0.1:15088 proxy 10.96.0.1:80',
);
test(
  'an application tunnel to an own port',
  tunnels,
  mesh({ applicationTunnel: { port: 15008 } }),
  '10.96.0.1:80',
  /^503 port 15008/,
);

// A pod with a waypoint of its own

test(
  'a pod with a waypoint: from the waypoint',
  tunnels,
  guarded,
  '10.0.0.2:8080',
  'admit 10.0.0.2:8080 from 10.0.0.9',
  fromWaypoint,
);
test(
  'a pod with a waypoint: from elsewhere',
  tunnels,
  guarded,
  '10.0.0.2:8080',
  `401 the connection did not come from the waypoint ${WAYPOINT}`,
);
test(
  'a pod with a waypoint: its identity from another address',
  tunnels,
  guarded,
  '10.0.0.2:8080',
  /^401 the connection did not come/,
  { ...fromWaypoint, peerIp: parseIpAddress('10.0.0.77') },
);
test(
  'a pod with a waypoint: its address with another identity',
  tunnels,
  guarded,
  '10.0.0.2:8080',
  /^401 the connection did not come/,
  { peerIp: parseIpAddress('10.0.0.9') },
);
test(
  'a pod with a waypoint: from the waypoint of its service',
  tunnels,
  mesh({ waypoint: gatewayAt('10.0.0.50') }, [{ name: 'web', waypoint: gatewayAt(WAYPOINT) }]),
  '10.0.0.2:8080',
  'admit 10.0.0.2:8080 from 10.0.0.9',
  fromWaypoint,
);
test(
  'a pod whose waypoint cannot be used',
  tunnels,
  mesh({ waypointProblem: 'no such gateway' }),
  '10.0.0.2:8080',
  /^401 the waypoint of \S+ cannot be used: no such gateway/,
);
test(
  'where only the service has a waypoint, the pod stays direct',
  tunnels,
  mesh({}, [{ name: 'web', waypoint: gatewayAt(WAYPOINT) }]),
  '10.0.0.2:8080',
  'admit 10.0.0.2:8080 from 10.0.0.1',
);
