import test from 'ava';
import { parseCidr, parseIpAddress, socketAddress } from '../../../base/address.ts';
import {
  dumpCertificate,
  dumpConfig,
  dumpPolicy,
  dumpService,
  dumpWorkload,
} from '../../../mesh/admin/config-dump.ts';
import type { PolicyMatch } from '../../../mesh/model/authorization.ts';
import { parseSpiffeId } from '../../../mesh/model/identity.ts';
import { serviceKey } from '../../../mesh/model/service.ts';
import { testService, testWorkload } from '../proxy/fixtures/workload.ts';

const identity = parseSpiffeId('spiffe://cluster.local/ns/apps/sa/server');
const key = serviceKey('apps', 'server.apps.svc.cluster.local');
const port = { servicePort: 80, targetPort: 8080, appProtocol: 'UNKNOWN' } as const;
const waypoint = {
  destination: {
    kind: 'hostname',
    namespace: 'apps',
    hostname: 'waypoint.apps.svc.cluster.local',
  },
  hboneMtlsPort: 15008,
} as const;
const server = testWorkload('server', {
  addresses: [parseIpAddress('10.0.0.2')],
  services: new Map([[key, [port]]]),
  waypoint,
});
const service = testService('server', {
  addresses: [{ network: '', ip: parseIpAddress('10.96.0.1') }],
  ports: [port],
});

test('a workload is shown with the names that istioctl reads', (t) => {
  t.like(dumpWorkload(server), {
    uid: 'Kubernetes//Pod/apps/server',
    workloadIps: ['10.0.0.2'],
    protocol: 'HBONE',
    name: 'server',
    namespace: 'apps',
    serviceAccount: 'default',
    workloadName: 'server-deployment',
    workloadType: 'deployment',
    canonicalName: 'server-app',
    canonicalRevision: 'v1',
    clusterId: 'Kubernetes',
    trustDomain: 'cluster.local',
    node: 'n1',
    status: 'Healthy',
    waypoint: { destination: 'apps/waypoint.apps.svc.cluster.local', hboneMtlsPort: 15008 },
  });
});

test('a service is shown with its endpoints by workload', (t) => {
  const plain = testWorkload('other', { healthy: false, services: new Map([[key, []]]) });
  t.like(dumpService(service, [server, plain]), {
    vips: ['/10.96.0.1'],
    ports: { 80: 8080 },
    endpoints: {
      'Kubernetes//Pod/apps/other': {
        workloadUid: 'Kubernetes//Pod/apps/other',
        port: {},
        status: 'Unhealthy',
      },
      'Kubernetes//Pod/apps/server': {
        workloadUid: 'Kubernetes//Pod/apps/server',
        port: { 80: 8080 },
        status: 'Healthy',
      },
    },
    loadBalancer: { mode: 'Standard', routingPreferences: [], healthPolicy: 'OnlyHealthy' },
  });
});

test('a policy is shown with the fields of its matches that are there', (t) => {
  const none: PolicyMatch = {
    ...{ namespaces: [], notNamespaces: [], principals: [], notPrincipals: [] },
    ...{ serviceAccounts: [], notServiceAccounts: [], sourceIps: [], notSourceIps: [] },
    ...{ destinationIps: [], notDestinationIps: [], destinationPorts: [], notDestinationPorts: [] },
  };
  const match: PolicyMatch = {
    ...none,
    principals: [{ kind: 'prefix', value: 'cluster.local/' }, { kind: 'presence' }],
    notSourceIps: [parseCidr('10.0.0.0/8')],
    destinationPorts: [80],
  };
  const policy = dumpPolicy({
    ...{ name: 'p', namespace: 'apps', scope: 'WORKLOAD_SELECTOR', action: 'DENY', dryRun: false },
    rules: [{ clauses: [{ matches: [match] }] }],
  });
  t.deepEqual(policy, {
    ...{ name: 'p', namespace: 'apps', dryRun: false, scope: 'WorkloadSelector', action: 'Deny' },
    rules: [
      [
        [
          {
            principals: [{ Prefix: 'cluster.local/' }, 'Presence'],
            notSourceIps: ['10.0.0.0/8'],
            destinationPorts: [80],
          },
        ],
      ],
    ],
  });
});

test('the whole dump is sorted, and connections are told by pod and direction', (t) => {
  const client = socketAddress('10.0.0.1', 40_000);
  const hbone = socketAddress('10.0.0.2', 15_008);
  const dump = dumpConfig({
    workloads: [testWorkload('z'), testWorkload('a')],
    services: [testService('z'), testService('a')],
    policies: [],
    endpointsOf: () => [],
    certificates: [{ identity, state: { kind: 'unavailable', reason: 'no CA' } }],
    pods: [
      {
        ...{ uid: 'pod-1', state: 'Up', name: 'a', namespace: 'apps', serviceAccount: 'default' },
        connections: [
          {
            ...{ direction: 'outbound', source: client, actualDestination: hbone },
            ...{ originalDestination: socketAddress('10.96.0.1', 80), protocol: 'HBONE' },
          },
          {
            ...{ direction: 'inbound', source: client, actualDestination: hbone },
            ...{ originalDestination: undefined, protocol: 'TCP' },
          },
        ],
      },
    ],
    version: '1',
    config: {},
  }) as Record<string, unknown>;
  const uids = (dump['workloads'] as { uid: string }[]).map(({ uid }) => uid);
  t.deepEqual(uids, ['Kubernetes//Pod/apps/a', 'Kubernetes//Pod/apps/z']);
  t.deepEqual(dump['certificates'], [
    { identity, state: 'Unavailable: no CA', certChain: [], rootCerts: [] },
  ]);
  t.deepEqual(dump['workloadState'], {
    'pod-1': {
      state: 'Up',
      connections: {
        inbound: [
          {
            ...{ src: '10.0.0.1:40000', originalDst: null, actualDst: '10.0.0.2:15008' },
            protocol: 'TCP',
          },
        ],
        outbound: [
          {
            ...{ src: '10.0.0.1:40000', originalDst: '10.96.0.1:80' },
            ...{ actualDst: '10.0.0.2:15008', protocol: 'HBONE' },
          },
        ],
      },
      info: { name: 'a', namespace: 'apps', serviceAccount: 'default' },
    },
  });
});

/** `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj /O=test -days 36500 -set_serial 0xabc123` */
const PEM = `-----BEGIN CERTIFICATE-----
MIIBZDCCAQugAwIBAgIEAKvBIzAKBggqhkjOPQQDAjAPMQ0wCwYDVQQKDAR0ZXN0
MCAXDTI2MTEyMzA3NDAwN1oYDzIxMjYxMDMwMDc0MDA3WjAPMQ0wCwYDVQQKDAR0
ZXN0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEwLt5I8BU6L8Tk3J8+NpmXVro
XmJHiGR7az4iC1b+ge7F3zd8oymk1Abm3ulgeXRpHdRhzccW0ql+zoAJCfza3aNT
MFEwHQYDVR0OBBYEFK/gkohvsce1b2UA3Yclva9fSHz+MB8GA1UdIwQYMBaAFK/g
kohvsce1b2UA3Yclva9fSHz+MA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwID
RwAwRAIgI+EH5GU2eZ5Ur5p1FMnUymKQZa4gBfICxPyGt+/TbhMCIF1MKBzQzLtV
VKHE9JgNZRnef6flxBkVrehnHEfTpeep
-----END CERTIFICATE-----
`;

test('a certificate is shown with serial and times, and never its key', (t) => {
  const dump = dumpCertificate({
    identity,
    state: { kind: 'available' },
    certificate: {
      identity,
      privateKeyPem: 'SECRET-KEY',
      chainPem: [PEM],
      rootsPem: ['not a certificate'],
      serialNumber: 'abc123',
      notBeforeMs: 0,
      notAfterMs: 0,
    },
  }) as { state: string; certChain: Record<string, string>[]; rootCerts: Record<string, string>[] };
  t.is(dump.state, 'Available');
  const [leaf] = dump.certChain;
  t.is(Buffer.from(leaf?.['pem'] ?? '', 'base64').toString(), PEM);
  t.is(leaf?.['serialNumber'], 'abc123');
  t.regex(leaf?.['validFrom'] ?? '', /^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z$/);
  t.is(dump.rootCerts[0]?.['serialNumber'], '');
  t.false(JSON.stringify(dump).includes('SECRET'));
});
