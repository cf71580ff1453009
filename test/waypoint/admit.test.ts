import test from 'ava';
import { admit, type Admission } from '../../waypoint/admit.ts';
import { ProxyState } from '../../mesh/proxy/state/store.ts';
import { gatewayAt, makeService, makeWorkload, podUid } from '../support/workloads.ts';

const OURS = gatewayAt('shop/waypoint.shop.svc.cluster.local');
const OTHERS = gatewayAt('shop/other.shop.svc.cluster.local');
const INSTANCE = { 'shop/waypoint.shop.svc.cluster.local': ['15008'] };

/** A mesh of which this waypoint is one instance, at 10.0.0.9. */
function mesh(): ProxyState {
  const state = new ProxyState();
  const services = [
    { name: 'waypoint', vips: ['10.96.0.9'], ports: ['15008'] },
    { name: 'other', vips: ['10.96.0.8'], ports: ['15008'] },
    { name: 'web', vips: ['10.96.0.1'], waypoint: OURS },
    { name: 'books', vips: ['10.96.0.2'], waypoint: OTHERS },
    { name: 'plain', vips: ['10.96.0.3'] },
    { name: 'range', vips: ['10.97.0.0/24'], waypoint: OURS },
    { name: 'refused', vips: ['10.96.0.4'], waypoint: OURS, waypointProblem: 'not ready' },
    {
      ...{ name: 'canary', vips: ['10.96.0.5'], waypoint: OTHERS },
      weightedWaypoints: [
        { destination: OTHERS, weight: 90 },
        { destination: OURS, weight: 10 },
      ],
    },
    { name: 'web', namespace: 'guest', vips: ['10.96.0.6'] },
  ];
  for (const service of services) state.setService(makeService(service));
  const workloads = [
    { name: 'waypoint-1', ips: ['10.0.0.9'], serves: INSTANCE, serviceAccount: 'waypoint' },
    { name: 'web-1', ips: ['10.0.0.1'], waypoint: OURS },
    { name: 'books-1', ips: ['10.0.0.2'], waypoint: OTHERS },
    { name: 'plain-1', ips: ['10.0.0.3'] },
  ];
  for (const workload of workloads) state.setWorkload(makeWorkload(workload));
  return state;
}

function ask(authority: string, method = 'CONNECT'): Admission {
  const state = mesh();
  const self = state.workload(podUid('waypoint-1'));
  return admit(state, { method, authority, self, network: '' });
}

/** What was admitted, or the status and whether it is worth waiting. */
function shape(admission: Admission): string {
  if (admission.kind === 'refuse')
    return `${admission.status}${admission.mayChange ? ' yet' : ''}: ${admission.reason}`;
  const { target } = admission;
  return target.kind === 'service'
    ? `service ${target.service.namespace}/${target.service.name} ${target.port}`
    : `workload ${target.workload.name} ${target.port}`;
}

const admitted: readonly (readonly [string, string])[] = [
  ['10.96.0.1:80', 'service shop/web 80'],
  ['10.97.0.7:443', 'service shop/range 443'],
  ['10.96.0.5:80', 'service shop/canary 80'],
  ['web.shop.svc.cluster.local:80', 'service shop/web 80'],
  ['10.0.0.1:8080', 'workload web-1 8080'],
];

for (const [authority, expected] of admitted)
  test(`a tunnel to ${authority} is for what uses this waypoint`, (t) => {
    t.is(shape(ask(authority)), expected);
  });

const refused: readonly (readonly [string, RegExp])[] = [
  ['10.96.0.2:80', /^400 yet: shop\/books\.\S+ does not use this waypoint$/],
  ['10.96.0.3:80', /^400 yet: shop\/plain\.\S+ does not use this waypoint$/],
  ['10.96.0.6:80', /^400 yet: guest\/web\.\S+ does not use this waypoint$/],
  ['books.shop.svc.cluster.local:80', /^400 yet: books\.\S+ does not use this waypoint$/],
  ['web.guest.svc.cluster.local:80', /^400 yet: web\.guest\.\S+ does not use this waypoint$/],
  ['nobody.shop.svc.cluster.local:80', /^400 yet: no service has the name nobody/],
  ['10.0.0.2:80', /books-1 does not use this waypoint$/],
  ['10.0.0.3:80', /plain-1 does not use this waypoint$/],
  ['10.0.0.9:15008', /waypoint-1 does not use this waypoint$/],
  ['10.96.0.9:15008', /waypoint\.\S+ does not use this waypoint$/],
  ['192.0.2.1:80', /^400 yet: 192\.0\.2\.1:80 is no address of a service or workload$/],
  ['127.0.0.1:15000', /^400 yet: 127\.0\.0\.1:15000 is no address of a service or workload$/],
  ['10.96.0.1', /^400: Cannot parse authority/],
  ['', /^400: Cannot parse authority/],
];

for (const [authority, reason] of refused)
  test(`a tunnel to ${JSON.stringify(authority)} is refused`, (t) => {
    t.regex(shape(ask(authority)), reason);
  });

test('only CONNECT is served', (t) => {
  t.is(shape(ask('10.96.0.1:80', 'GET')), '400: only CONNECT is served, found "GET"');
});

test('a waypoint that does not know itself serves nobody yet', (t) => {
  const asked = { method: 'CONNECT', authority: '10.96.0.1:80', self: undefined, network: '' };
  t.is(shape(admit(mesh(), asked)), '503 yet: this waypoint is not known');
});
