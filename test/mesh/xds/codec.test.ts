import { readFileSync } from 'node:fs';
import test from 'ava';
import { parseCidr, parseIpAddress } from '../../../base/address.ts';
import type { AuthorizationPolicy, PolicyMatch } from '../../../mesh/model/authorization.ts';
import { DEFAULT_TRUST_DOMAIN, parseTrustDomain } from '../../../mesh/model/identity.ts';
import { policyKey } from '../../../mesh/model/authorization.ts';
import { serviceKey, type Service } from '../../../mesh/model/service.ts';
import type { Workload, WorkloadUid } from '../../../mesh/model/workload.ts';
import { Authorization } from '../../../mesh/proto/gen/security.ts';
import { Address } from '../../../mesh/proto/gen/workload.ts';
import {
  contentVersion,
  decodeAddress,
  encodeAddress,
  type AddressRecord,
} from '../../../mesh/xds/codec.ts';
import { decodeAuthorization, encodeAuthorization } from '../../../mesh/xds/codec-policy.ts';

function fixture(name: string): Buffer {
  return readFileSync(new URL(`testdata/${name}.bin`, import.meta.url));
}

const waypoint = {
  destination: {
    kind: 'hostname',
    namespace: 'shop',
    hostname: 'waypoint.shop.svc.cluster.local',
  },
  hboneMtlsPort: 15008,
} as const;

const cart: Workload = {
  uid: 'Kubernetes//Pod/shop/cart-7d9c5b8f6-x2x4z' as WorkloadUid,
  name: 'cart-7d9c5b8f6-x2x4z',
  namespace: 'shop',
  addresses: [parseIpAddress('10.244.1.11'), parseIpAddress('fd00:1001::b')],
  hostname: 'cart.example.test',
  network: 'net-1',
  clusterId: 'Kubernetes',
  tunnelProtocol: 'HBONE',
  nativeTunnel: true,
  trustDomain: parseTrustDomain('td.example'),
  serviceAccount: 'cart',
  node: 'node-a',
  canonicalName: 'cart',
  canonicalRevision: 'v2',
  workloadType: 'CRONJOB',
  workloadName: 'cart',
  healthy: false,
  hostNetwork: true,
  locality: { region: 'eu-1', zone: 'eu-1a', subzone: 'rack-7' },
  capacity: 300,
  waypoint,
  networkGateway: {
    destination: { kind: 'address', network: 'net-2', ip: parseIpAddress('192.0.2.1') },
    hboneMtlsPort: 15008,
  },
  applicationTunnel: { port: 15088 },
  services: new Map([
    [
      serviceKey('shop', 'cart.shop.svc.cluster.local'),
      [
        { servicePort: 80, targetPort: 8080, appProtocol: 'HTTP2' },
        { servicePort: 9090, targetPort: 9090, appProtocol: 'GRPC' },
      ],
    ],
  ]),
  authorizationPolicies: [
    policyKey('shop', 'allow-front'),
    policyKey('istio-system', 'istio_converted_static_strict'),
  ],
};

const cartService: Service = {
  name: 'cart',
  namespace: 'shop',
  hostname: 'cart.shop.svc.cluster.local',
  addresses: [
    { network: 'net-1', ip: parseIpAddress('10.96.0.10') },
    { network: 'net-1', ip: parseIpAddress('fd00:1002::a') },
  ],
  ports: [
    { servicePort: 80, targetPort: 8080, appProtocol: 'HTTP11' },
    { servicePort: 443, targetPort: 8443, appProtocol: 'TLS' },
  ],
  subjectAltNames: ['spiffe://td.example/ns/shop/sa/cart'],
  waypoint: {
    destination: { kind: 'address', network: 'net-1', ip: parseIpAddress('10.96.0.50') },
    hboneMtlsPort: 15008,
  },
  weightedWaypoints: [
    {
      destination: {
        destination: {
          kind: 'hostname',
          namespace: 'shop',
          hostname: 'canary.shop.svc.cluster.local',
        },
        hboneMtlsPort: 15008,
      },
      weight: 10,
    },
  ],
  loadBalancing: {
    routingPreference: ['NETWORK', 'REGION', 'ZONE'],
    mode: 'FAILOVER',
    allowUnhealthy: true,
  },
  ipFamilies: 'DUAL',
  canonical: true,
  ingressUseWaypoint: true,
  namespaceOnly: true,
};

const none: PolicyMatch = {
  ...{ namespaces: [], notNamespaces: [], principals: [], notPrincipals: [] },
  ...{ serviceAccounts: [], notServiceAccounts: [], sourceIps: [], notSourceIps: [] },
  ...{ destinationIps: [], notDestinationIps: [], destinationPorts: [], notDestinationPorts: [] },
};

const denyMost: AuthorizationPolicy = {
  name: 'deny-most',
  namespace: 'shop',
  scope: 'WORKLOAD_SELECTOR',
  action: 'DENY',
  dryRun: true,
  rules: [
    {
      clauses: [
        {
          matches: [
            {
              ...none,
              namespaces: [
                { kind: 'exact', value: 'front' },
                { kind: 'prefix', value: 'team-' },
              ],
              notNamespaces: [{ kind: 'suffix', value: '-test' }],
            },
          ],
        },
        {
          matches: [
            {
              ...none,
              principals: [{ kind: 'exact', value: 'td.example/ns/front/sa/web' }],
              notPrincipals: [{ kind: 'presence' }],
              serviceAccounts: [{ namespace: 'front', serviceAccount: 'web' }],
              notServiceAccounts: [{ namespace: 'front', serviceAccount: 'bot' }],
            },
          ],
        },
        {
          matches: [
            {
              ...none,
              sourceIps: [parseCidr('10.0.0.0/8')],
              notSourceIps: [parseCidr('10.1.0.0/16')],
              destinationIps: [parseCidr('10.244.1.11')],
              notDestinationIps: [parseCidr('fd00:1001::/64')],
              destinationPorts: [8080, 9090],
              notDestinationPorts: [22],
            },
          ],
        },
      ],
    },
    { clauses: [{ matches: [none] }] },
    { clauses: [] },
  ],
};

test("decodeAddress() reads Istio's workload", (t) => {
  t.deepEqual(decodeAddress(fixture('address-workload')), { kind: 'workload', workload: cart });
});

test("decodeAddress() reads Istio's service", (t) => {
  t.deepEqual(decodeAddress(fixture('address-service')), { kind: 'service', service: cartService });
});

test("decodeAuthorization() reads Istio's policy and encodeAuthorization() writes the same bytes", (t) => {
  t.deepEqual(decodeAuthorization(fixture('authorization')), denyMost);
  t.deepEqual(Buffer.from(encodeAuthorization(denyMost)), fixture('authorization'));
});

test('what encodeAddress() writes is read as the same record', (t) => {
  const records: AddressRecord[] = [
    { kind: 'workload', workload: cart },
    { kind: 'service', service: cartService },
    { kind: 'workload', workload: { ...cart, waypointProblem: 'no such Gateway' } },
    { kind: 'service', service: { ...cartService, waypointProblem: 'not ready' } },
    { kind: 'workload', workload: { ...cart, trustDomain: DEFAULT_TRUST_DOMAIN, capacity: 0 } },
    {
      kind: 'service',
      service: {
        ...cartService,
        addresses: [{ network: '', ip: parseIpAddress('10.1.0.0'), prefix: 16 }],
      },
    },
  ];
  for (const record of records) t.deepEqual(decodeAddress(encodeAddress(record)), record);
});

test('encodeAddress() gives equal bytes whatever the order of the services', (t) => {
  const [a, b] = ['a', 'b'].map((name) => serviceKey('shop', `${name}.shop`));
  if (a === undefined || b === undefined) return t.fail();
  const one: Workload = {
    ...cart,
    services: new Map([
      [a, []],
      [b, []],
    ]),
  };
  const other: Workload = {
    ...cart,
    services: new Map([
      [b, []],
      [a, []],
    ]),
  };
  const bytes = encodeAddress({ kind: 'workload', workload: one });
  t.deepEqual(encodeAddress({ kind: 'workload', workload: other }), bytes);
  t.regex(contentVersion(bytes), /^[0-9a-f]{16}$/);
});

test('decodeAddress() skips fields it does not know', (t) => {
  const unknown = Buffer.concat([
    fixture('address-service'),
    Buffer.from([0xfa, 0x3f, 0x01, 0x78]),
  ]);
  t.is(decodeAddress(unknown).kind, 'service');
});

const badWorkloads: readonly (readonly [string, object, RegExp])[] = [
  ['an address of 5 bytes', { addresses: [Buffer.alloc(5)] }, /bad address in addresses/],
  ['an unknown tunnel protocol', { tunnelProtocol: 9 }, /unknown value 9 of tunnel_protocol/],
  ['a sidecar tunnel', { tunnelProtocol: 2 }, /LEGACY_ISTIO_MTLS/],
  ['an unknown status', { status: 7 }, /unknown value 7 of status/],
  ['a waypoint without destination', { waypoint: { hboneMtlsPort: 15008 } }, /no destination/],
  ['no uid', { uid: '' }, /no uid/],
  ['a policy without a namespace', { authorizationPolicies: ['deny'] }, /bad policy name/],
  ['a trust domain in capitals', { trustDomain: 'TD' }, /bad trust_domain/],
];
for (const [name, change, expected] of badWorkloads)
  test(`decodeAddress() rejects a workload with ${name}`, (t) => {
    const { type } = Address.decode(fixture('address-workload'));
    if (type?.$case !== 'workload') return t.fail();
    const value = { ...type.value, ...change };
    const bytes = Address.encode({ type: { $case: 'workload', value } }).finish();
    t.throws(() => decodeAddress(bytes), { code: 'ERR_XDS_RESOURCE', message: expected });
  });

test('decodeAddress() rejects what is no Address', (t) => {
  t.throws(() => decodeAddress(Buffer.alloc(0)), { code: 'ERR_XDS_RESOURCE' });
  t.throws(() => decodeAddress(Buffer.from([0x0a, 0x7f, 0x01])), { code: 'ERR_PROTO' });
});

const badMatches: readonly (readonly [string, object, RegExp])[] = [
  ['a match of no kind', { principals: [{}] }, /a match of no kind in principals/],
  ['a negative match of no kind', { notNamespaces: [{}] }, /a match of no kind/],
  [
    'a network of 3 bytes',
    { sourceIps: [{ address: Buffer.alloc(3), length: 8 }] },
    /bad address in source_ips/,
  ],
  [
    'a prefix of 33',
    { notSourceIps: [{ address: Buffer.alloc(4), length: 33 }] },
    /bad prefix length 33/,
  ],
  ['port 70000', { destinationPorts: [70000] }, /bad port 70000/],
];
for (const [name, change, expected] of badMatches)
  test(`decodeAuthorization() rejects the whole policy for ${name}`, (t) => {
    const message = Authorization.decode(fixture('authorization'));
    const match = message.rules[0]?.clauses[0]?.matches[0];
    if (match === undefined) return t.fail();
    Object.assign(match, change);
    const bytes = Authorization.encode(message).finish();
    t.throws(() => decodeAuthorization(bytes), {
      code: 'ERR_XDS_RESOURCE',
      message: new RegExp(`shop/deny-most.*${expected.source}`),
    });
  });

test('decodeAuthorization() rejects unknown actions and scopes', (t) => {
  const message = Authorization.decode(fixture('authorization'));
  for (const change of [{ action: 7 }, { scope: 7 }]) {
    const bytes = Authorization.encode(Object.assign({ ...message }, change)).finish();
    t.throws(() => decodeAuthorization(bytes), { code: 'ERR_XDS_RESOURCE' });
  }
});
