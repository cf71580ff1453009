import test from 'ava';
import { parseIpAddress } from '../../../base/address.ts';
import { policyKey } from '../../../mesh/model/authorization.ts';
import type { ExplainStep } from '../../../mesh/model/explain.ts';
import { cidrs, makePolicy, makeRule, text } from '../../support/policies.ts';
import { gatewayAt, podUid, type ServiceFields } from '../../support/workloads.ts';
import {
  WEB,
  WAYPOINT,
  mesh,
  admit,
  shape,
  tunnels,
  plain,
  policed,
  DENIED,
} from '../../support/admissions.ts';

test('the pod itself', tunnels, plain, '10.0.0.2:8080', 'admit 10.0.0.2:8080 from 10.0.0.1');
test(
  'the pod itself, IPv6',
  tunnels,
  plain,
  '[fd00::2]:8080',
  'admit [fd00::2]:8080 from 10.0.0.1',
  { localIp: parseIpAddress('fd00::2') },
);
test('a self-call binds no address', tunnels, plain, '10.0.0.2:8080', 'admit 10.0.0.2:8080', {
  peerIp: parseIpAddress('10.0.0.2'),
});
test(
  'another method',
  tunnels,
  plain,
  '10.0.0.2:8080',
  /^400 only CONNECT is served, found "GET"/,
  { method: 'GET' },
);
for (const authority of [
  '',
  '10.0.0.2',
  '10.0.0.2:0',
  '10.0.0.2:65536',
  'u@10.0.0.2:80',
  '[fe80::1%eth0]:80',
  '*:80',
]) {
  test(
    `the authority ${JSON.stringify(authority)}`,
    tunnels,
    plain,
    authority,
    /^400 Cannot parse authority/,
  );
}
for (const ip of [
  '10.0.0.1',
  '127.0.0.1',
  '[::1]',
  '169.254.169.254',
  '192.0.2.1',
  '0.0.0.0',
  '10.96.0.1',
  '[fd00::2]',
]) {
  test(`an address that is not the pod's: ${ip}`, tunnels, plain, `${ip}:8080`, /^400 ip mismatch/);
}
for (const port of [15001, 15006, 15008]) {
  test(
    `the proxy's own port ${port}`,
    tunnels,
    plain,
    `10.0.0.2:${port}`,
    /^503 port \d+ is the proxy's own/,
  );
}
test(
  'a pod that is not known yet',
  tunnels,
  plain,
  '10.0.0.2:8080',
  '503 the local workload is not known',
  { workload: undefined },
);

// By host name

test(
  'a service by name',
  tunnels,
  plain,
  'web.shop.svc.cluster.local:80',
  'admit 10.0.0.2:8080 from 10.0.0.1',
);
test(
  'a service by name, in upper case',
  tunnels,
  plain,
  'WEB.shop.svc.cluster.local:80',
  'admit 10.0.0.2:8080 from 10.0.0.1',
);
test(
  'a service by name, named port',
  tunnels,
  mesh({ serves: { [WEB]: ['80:9090'] } }, [{ name: 'web', ports: ['80:0'] }]),
  'web.shop.svc.cluster.local:80',
  'admit 10.0.0.2:9090 from 10.0.0.1',
);
test(
  'a named port that the pod does not have',
  tunnels,
  mesh({ serves: { [WEB]: [] } }, [{ name: 'web', ports: ['80:0'] }]),
  'web.shop.svc.cluster.local:80',
  /^503 .* has no port 80 at this pod/,
);
test(
  'an unknown port of a service',
  tunnels,
  plain,
  'web.shop.svc.cluster.local:81',
  /^503 .* has no port 81/,
);
test(
  'an unknown host name',
  tunnels,
  plain,
  'db.shop.svc.cluster.local:80',
  '503 unknown host name db.shop.svc.cluster.local',
);
test(
  'localhost is a host name like any other',
  tunnels,
  plain,
  'localhost:80',
  '503 unknown host name localhost',
);
test(
  'a service that the pod does not serve',
  tunnels,
  mesh({}, [{ name: 'other' }]),
  'other.shop.svc.cluster.local:80',
  /^503 this pod is not an endpoint of/,
);
test(
  'a service whose target is an own port',
  tunnels,
  mesh({ serves: { [WEB]: ['80:15001'] } }),
  'web.shop.svc.cluster.local:80',
  /^503 port 15001/,
);

// Policy

test(
  'policy sees the identity of the peer',
  tunnels,
  policed({ principals: [text('*/sa/client')] }),
  '10.0.0.2:8080',
  DENIED,
);
test(
  'policy sees the address of the peer',
  tunnels,
  policed({ sourceIps: cidrs('10.0.0.1') }),
  '10.0.0.2:8080',
  DENIED,
);
test(
  'policy sees the port of the application, not that of the tunnel',
  tunnels,
  policed({ destinationPorts: [8080] }),
  'web.shop.svc.cluster.local:80',
  DENIED,
);
test(
  'policy does not see the port of the service',
  tunnels,
  policed({ destinationPorts: [80, 15008] }),
  'web.shop.svc.cluster.local:80',
  'admit 10.0.0.2:8080 from 10.0.0.1',
);
test(
  'policy sees the address of the pod',
  tunnels,
  policed({ destinationIps: cidrs('10.0.0.2') }),
  'web.shop.svc.cluster.local:80',
  DENIED,
);

test('a policy that has not arrived is waited for, and then decides', (t) => {
  const state = mesh({ policies: ['shop/late'] });
  t.is(shape(admit(state, '10.0.0.2:8080')), 'wait shop/late');
  const late = { name: 'late', namespace: 'shop', scope: 'WORKLOAD_SELECTOR' } as const;
  state.setPolicy(makePolicy({ ...late, rules: [makeRule()] }));
  t.is(shape(admit(state, '10.0.0.2:8080')), 'admit 10.0.0.2:8080 from 10.0.0.1');
  state.setPolicy(makePolicy(late));
  t.regex(shape(admit(state, '10.0.0.2:8080')), /^401 .*allow policies exist, but none allowed/);
  t.true(state.deletePolicy(policyKey('shop', 'late')));
  t.is(shape(admit(state, '10.0.0.2:8080')), 'wait shop/late');
});

test('a tunnel that is no request for this pod is refused before policy is asked', (t) => {
  const state = mesh({ policies: ['shop/late'] });
  t.regex(shape(admit(state, '192.0.2.1:80')), /^400/);
});

test('admitTunnel() tells its steps when asked', (t) => {
  const steps: ExplainStep[] = [];
  admit(policed({ destinationPorts: [8080] }), '10.0.0.2:8080', {}, steps);
  t.deepEqual(steps, [
    { step: 'local workload', found: podUid('local') },
    { step: 'destination of the tunnel', found: '10.0.0.2, this pod' },
    { step: 'waypoint of the workload', found: 'none, or the connection came through it' },
    {
      step: 'policy for 10.0.0.2:8080',
      found: 'explicitly denied by: shop/p',
    },
  ]);
});

// On demand

test("on demand asks for an address that is not the pod's own, then for the waypoint in front of it", (t) => {
  const behind: ServiceFields = { name: 'a', vips: ['10.96.0.5'], waypoint: gatewayAt(WAYPOINT) };
  const asked = (...answered: readonly string[]): string =>
    shape(admit(mesh({}, [behind], [], answered), '10.96.0.5:80'));
  t.is(asked(), 'ask /10.96.0.5');
  t.is(asked('/10.96.0.5'), `ask ${WAYPOINT}`);
  t.regex(asked('/10.96.0.5', WAYPOINT), /^400 ip mismatch/);
  t.is(shape(admit(mesh({}, [], [], []), '10.0.0.2:80')), 'admit 10.0.0.2:80 from 10.0.0.1');
});

test('on demand asks for the services that a host name may stand for', (t) => {
  const host = WEB.slice('shop/'.length);
  t.is(shape(admit(mesh({}, [], [], []), `${host}:80`)), `ask ${WEB}`);
  t.regex(shape(admit(mesh({}, [], [], [WEB]), `${host}:80`)), /^admit 10\.0\.0\.2:8080/);
  const elsewhere = 'x.far.svc.cluster.local';
  const own = `shop/${elsewhere}`;
  t.is(shape(admit(mesh({}, [], [], []), `${elsewhere}:80`)), `ask ${own}`);
  t.is(shape(admit(mesh({}, [], [], [own]), `${elsewhere}:80`)), `ask far/${elsewhere}`);
});

test('on demand a pod with a waypoint asks for it, and what policy denies is denied without asking', (t) => {
  const local = { waypoint: gatewayAt(WAYPOINT) };
  t.is(shape(admit(mesh(local, [], [], []), '10.0.0.2:80')), `ask ${WAYPOINT}`);
  t.is(shape(admit(mesh(local, [], [], [WAYPOINT]), '10.0.0.2:80')), 'ask /10.0.0.1');
  const who = [WAYPOINT, '/10.0.0.1'];
  t.is(shape(admit(mesh(local, [], [], who), '10.0.0.2:80')), `ask ${WEB}`);
  const told = mesh(local, [], [], [...who, WEB]);
  t.regex(shape(admit(told, '10.0.0.2:80')), /^401 the connection did not come from the waypoint/);
  const denied = mesh(local, [], [], []);
  denied.setPolicy(makePolicy({ action: 'DENY', rules: [makeRule()] }));
  t.regex(shape(admit(denied, '10.0.0.2:80')), /^401 explicitly denied by/);
});
