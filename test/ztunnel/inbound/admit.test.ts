import test from 'ava';
import { formatSocketAddress, parseIpAddress, parseSocketAddress } from '../../../base/address.ts';
import { OWN_PORTS, OWN_PORTS_WITH_SOCKS5, type OwnPorts } from '../../../mesh/model/ports.ts';
import { policyKey } from '../../../mesh/model/authorization.ts';
import type { ExplainStep } from '../../../mesh/model/explain.ts';
import { parseSpiffeId } from '../../../mesh/model/identity.ts';
import type { DemandKey } from '../../../mesh/proxy/state/answered.ts';
import { ProxyState } from '../../../mesh/proxy/state/store.ts';
import type { Admission, TunnelRequest } from '../../../ztunnel/inbound/admission.ts';
import { admitPlaintext, admitTunnel } from '../../../ztunnel/inbound/admit.ts';
import { cidrs, makeMatch, makePolicy, makeRule, text } from '../../support/policies.ts';
import {
  gatewayAt,
  makeService,
  makeWorkload,
  podUid,
  type ServiceFields,
  type WorkloadFields,
} from '../../support/workloads.ts';

const WEB = 'shop/web.shop.svc.cluster.local';
const WAYPOINT = 'shop/waypoint.shop.svc.cluster.local';

/** The local pod 10.0.0.2 serves "web"; the client is 10.0.0.1, the waypoint 10.0.0.9. */
function mesh(
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

function admit(
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
function shape(found: Admission): string {
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

const tunnels = test.macro({
  exec(t, state: ProxyState, authority: string, expected: string | RegExp, asked?: Asked) {
    const found = shape(admit(state, authority, asked));
    if (typeof expected === 'string') t.is(found, expected);
    else t.regex(found, expected);
  },
  title: (given = '') => `admitTunnel(): ${given}`,
});

const plain = mesh();
const fromWaypoint = {
  peerIp: parseIpAddress('10.0.0.9'),
  peerIdentity: parseSpiffeId('spiffe://cluster.local/ns/shop/sa/waypoint'),
};

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

// Waypoints in front of others

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

const guarded = mesh({ waypoint: gatewayAt(WAYPOINT) });
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

// Policy

function policed(...matches: Parameters<typeof makeMatch>[0][]): ProxyState {
  const state = mesh();
  const rules = matches.map((match) => makeRule([makeMatch(match)]));
  state.setPolicy(
    makePolicy({ name: 'p', namespace: 'shop', scope: 'NAMESPACE', action: 'DENY', rules }),
  );
  return state;
}
const DENIED = '401 explicitly denied by: shop/p';
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

// Plaintext

const plaintexts = test.macro({
  exec(t, state: ProxyState, to: string, expected: string | RegExp, peer?: string) {
    const found = admitPlaintext(
      state,
      {
        workload: state.workload(podUid('local')),
        destination: parseSocketAddress(to),
        peerIp: parseIpAddress(peer ?? '10.0.0.1'),
        ownPorts: OWN_PORTS,
      },
      '',
    );
    if (typeof expected === 'string') t.is(shape(found), expected);
    else t.regex(shape(found), expected);
  },
  title: (given = '') => `admitPlaintext(): ${given}`,
});

test(
  'plaintext is admitted to where it was going',
  plaintexts,
  plain,
  '10.0.0.2:8080',
  'admit 10.0.0.2:8080 from 10.0.0.1',
);
test(
  'a plaintext self-call binds no address',
  plaintexts,
  plain,
  '10.0.0.2:8080',
  'admit 10.0.0.2:8080',
  '10.0.0.2',
);
for (const port of [15001, 15006, 15008]) {
  test(
    `plaintext to the proxy's own port ${port}`,
    plaintexts,
    plain,
    `10.0.0.2:${port}`,
    /^503 port/,
  );
}
test("the SOCKS5 port is the proxy's own only where SOCKS5 is served", (t) => {
  const open = shape(admit(plain, '10.0.0.2:15080'));
  t.is(open, 'admit 10.0.0.2:15080 from 10.0.0.1');
  const guarded = shape(admit(plain, '10.0.0.2:15080', { ownPorts: OWN_PORTS_WITH_SOCKS5 }));
  t.regex(guarded, /^503 port 15080/);
  const request = {
    workload: plain.workload(podUid('local')),
    destination: parseSocketAddress('10.0.0.2:15080'),
    peerIp: parseIpAddress('10.0.0.1'),
  };
  const plaintext = (ownPorts: OwnPorts): string =>
    shape(admitPlaintext(plain, { ...request, ownPorts }, ''));
  t.is(plaintext(OWN_PORTS), open);
  t.regex(plaintext(OWN_PORTS_WITH_SOCKS5), /^503 port 15080/);
});
test(
  'plaintext to an address that is not of the pod',
  plaintexts,
  plain,
  '192.0.2.1:80',
  /^400 ip mismatch/,
);
test(
  'STRICT refuses plaintext',
  plaintexts,
  policed({ notPrincipals: [text('*')] }),
  '10.0.0.2:8080',
  DENIED,
);
test(
  'STRICT admits an identity',
  tunnels,
  policed({ notPrincipals: [text('*')] }),
  '10.0.0.2:8080',
  'admit 10.0.0.2:8080 from 10.0.0.1',
);
test(
  'STRICT on one port leaves the others',
  plaintexts,
  policed({ notPrincipals: [text('*')], destinationPorts: [9090] }),
  '10.0.0.2:8080',
  'admit 10.0.0.2:8080 from 10.0.0.1',
);
test(
  'no identity is taken from the address of a known pod',
  plaintexts,
  policed({ notNamespaces: [text('shop')] }),
  '10.0.0.2:8080',
  DENIED,
);
test(
  'a pod with a waypoint refuses plaintext, from the waypoint too',
  plaintexts,
  guarded,
  '10.0.0.2:8080',
  /^401 the connection did not come/,
  '10.0.0.9',
);

test('admitPlaintext() waits for policies and knows its workload', (t) => {
  const state = mesh({ policies: ['shop/late'] });
  const request = {
    workload: state.workload(podUid('local')),
    destination: parseSocketAddress('10.0.0.2:8080'),
    peerIp: parseIpAddress('10.0.0.1'),
    ownPorts: OWN_PORTS,
  };
  t.is(shape(admitPlaintext(state, request, '')), 'wait shop/late');
  const unknown = { ...request, workload: undefined };
  t.is(shape(admitPlaintext(state, unknown, '')), '503 the local workload is not known');
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
