import test from 'ava';
import { formatAuthority } from '../../../mesh/hbone/authority.ts';
import { describeGateway } from '../../../mesh/proxy/state/gateway.ts';
import { authorityOf, chooseIngressWay } from '../../../waypoint/gateway/ingress-way.ts';
import { gatewayAt, makeService, type ServiceFields } from '../../support/workloads.ts';

const waypoint = gatewayAt('shop/waypoint.shop.svc.cluster.local');
const canary = gatewayAt('shop/canary.shop.svc.cluster.local');
const ASKS = { ingressUseWaypoint: true, waypoint } as const;

function way(fields: Partial<ServiceFields>, random = 0): string {
  const chosen = chooseIngressWay(makeService({ name: 'web', ...fields }), () => random);
  switch (chosen.kind) {
    case 'direct':
      return 'direct';
    case 'waypoint':
      return describeGateway(chosen.waypoint);
    case 'refused':
      return chosen.reason;
  }
}

test('a gateway goes past the waypoint of a service that does not ask for it', (t) => {
  t.is(way({ waypoint }), 'direct');
  t.is(way({ waypoint, waypointProblem: 'it is not ready' }), 'direct');
});

test('a service without a waypoint cannot ask for one', (t) => {
  t.is(way({ ingressUseWaypoint: true }), 'direct');
});

test('a service that asks is reached through its waypoint', (t) => {
  t.is(way(ASKS), 'shop/waypoint.shop.svc.cluster.local');
});

test('a canary has its share of what gateways send', (t) => {
  const weightedWaypoints = [
    { destination: waypoint, weight: 90 },
    { destination: canary, weight: 10 },
  ];
  t.is(way({ ...ASKS, weightedWaypoints }, 0.89), 'shop/waypoint.shop.svc.cluster.local');
  t.is(way({ ...ASKS, weightedWaypoints }, 0.91), 'shop/canary.shop.svc.cluster.local');
});

test('a service whose waypoint cannot be used is not reached', (t) => {
  t.is(
    way({ ...ASKS, waypointProblem: 'it is not ready' }),
    'the waypoint of web.shop.svc.cluster.local cannot be used: it is not ready',
  );
});

test('a waypoint is asked for the address of a service in this network, else for its name', (t) => {
  const asked = (fields: Partial<ServiceFields>, network = ''): string =>
    formatAuthority(authorityOf(makeService({ name: 'web', ...fields }), network, 80));
  t.is(asked({ vips: ['10.96.0.1'] }), '10.96.0.1:80');
  t.is(asked({ vips: ['10.96.0.1'] }, 'far'), 'web.shop.svc.cluster.local:80');
  t.is(asked({ vips: ['10.96.0.0/24'] }), 'web.shop.svc.cluster.local:80');
  t.is(asked({}), 'web.shop.svc.cluster.local:80');
});
