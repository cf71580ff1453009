import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { BinaryReader, BinaryWriter } from '@bufbuild/protobuf/wire';
import fc from 'fast-check';
import { decodeMessage } from '../../../mesh/proto/decode.ts';
import { IstioCertificateRequest, IstioCertificateResponse } from '../../../mesh/proto/gen/ca.ts';
import {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
} from '../../../mesh/proto/gen/discovery.ts';
import { UInt32Value } from '../../../mesh/proto/gen/google/protobuf/wrappers.ts';
import {
  Action,
  Authorization,
  Match,
  Scope as PolicyScope,
  type StringMatch,
} from '../../../mesh/proto/gen/security.ts';
import {
  Address,
  AppProtocol,
  ApplicationTunnel_Protocol,
  IPFamilies,
  LoadBalancing_HealthPolicy,
  LoadBalancing_Mode,
  LoadBalancing_Scope,
  NetworkMode,
  TunnelProtocol,
  Visibility,
  WorkloadStatus,
  WorkloadType,
} from '../../../mesh/proto/gen/workload.ts';
import {
  Version,
  WorkloadRequest,
  WorkloadResponse,
  ZdsHello,
} from '../../../mesh/proto/gen/zds.ts';

type Codec<T> = {
  decode(input: BinaryReader | Uint8Array): T;
  encode(message: T): BinaryWriter;
};

const fixture = (name: string): Buffer =>
  readFileSync(join(import.meta.dirname, 'fixtures', `${name}.bin`));

/** The bytes are those of protoc and of the interface definitions that Istio's ztunnel uses. */
const wire = test.macro({
  exec<T>(t: ExecutionContext, name: string, codec: Codec<T>, expected: T) {
    const bytes = fixture(name);
    t.deepEqual(codec.decode(bytes), expected);
    t.deepEqual(Buffer.from(codec.encode(expected).finish()), bytes);
  },
  title: (_given, name: string) => `${name}.bin decodes to its values and encodes to its bytes`,
});

const bytes = (...values: number[]): Buffer => Buffer.from(values);
const ip6 = (...ends: [number[], number]): Buffer =>
  Buffer.concat([bytes(...ends[0]), Buffer.alloc(15 - ends[0].length), bytes(ends[1])]);

test(wire, 'service', Address, {
  type: {
    $case: 'service',
    value: {
      name: 'cart',
      namespace: 'shop',
      hostname: 'cart.shop.svc.cluster.local',
      addresses: [
        { network: 'net-1', address: bytes(10, 96, 0, 10), length: undefined },
        { network: 'net-1', address: ip6([0xfd, 0, 0x10, 2], 10), length: 128 },
      ],
      ports: [
        { servicePort: 80, targetPort: 8080, appProtocol: AppProtocol.HTTP11 },
        { servicePort: 443, targetPort: 8443, appProtocol: AppProtocol.TLS },
      ],
      subjectAltNames: ['spiffe://td.example/ns/shop/sa/cart'],
      waypoint: {
        destination: {
          $case: 'address',
          value: { network: 'net-1', address: bytes(10, 96, 0, 50), length: undefined },
        },
        hboneMtlsPort: 15008,
      },
      loadBalancing: {
        routingPreference: [
          LoadBalancing_Scope.NETWORK,
          LoadBalancing_Scope.REGION,
          LoadBalancing_Scope.ZONE,
        ],
        mode: LoadBalancing_Mode.FAILOVER,
        healthPolicy: LoadBalancing_HealthPolicy.ALLOW_ALL,
      },
      ipFamilies: IPFamilies.DUAL,
      extensions: [],
      canonical: true,
      ingressUseWaypoint: true,
      weightedWaypoints: [
        {
          destination: {
            destination: {
              $case: 'hostname',
              value: { namespace: 'shop', hostname: 'canary.shop.svc.cluster.local' },
            },
            hboneMtlsPort: 15008,
          },
          weight: 10,
        },
      ],
      visibility: Visibility.NAMESPACE,
    },
  },
});

test(wire, 'workload', Address, {
  type: {
    $case: 'workload',
    value: {
      uid: 'Kubernetes//Pod/shop/cart-7d9c5b8f6-x2x4z',
      name: 'cart-7d9c5b8f6-x2x4z',
      namespace: 'shop',
      addresses: [bytes(10, 244, 1, 11), ip6([0xfd, 0, 0x10, 1], 11)],
      hostname: 'cart.example.test',
      network: 'net-1',
      tunnelProtocol: TunnelProtocol.HBONE,
      trustDomain: 'td.example',
      serviceAccount: 'cart',
      waypoint: {
        destination: {
          $case: 'hostname',
          value: { namespace: 'shop', hostname: 'waypoint.shop.svc.cluster.local' },
        },
        hboneMtlsPort: 15008,
      },
      networkGateway: {
        destination: {
          $case: 'address',
          value: { network: 'net-2', address: bytes(192, 0, 2, 1), length: 32 },
        },
        hboneMtlsPort: 15008,
      },
      node: 'node-a',
      canonicalName: 'cart',
      canonicalRevision: 'v2',
      workloadType: WorkloadType.CRONJOB,
      workloadName: 'cart',
      nativeTunnel: true,
      applicationTunnel: { protocol: ApplicationTunnel_Protocol.PROXY, port: 15088 },
      services: new Map([
        [
          'shop/cart.shop.svc.cluster.local',
          {
            ports: [
              { servicePort: 80, targetPort: 8080, appProtocol: AppProtocol.HTTP2 },
              { servicePort: 9090, targetPort: 9090, appProtocol: AppProtocol.GRPC },
            ],
          },
        ],
      ]),
      authorizationPolicies: ['shop/allow-front', 'istio-system/istio_converted_static_strict'],
      status: WorkloadStatus.UNHEALTHY,
      clusterId: 'Kubernetes',
      locality: { region: 'eu-1', zone: 'eu-1a', subzone: 'rack-7' },
      networkMode: NetworkMode.HOST_NETWORK,
      extensions: [
        {
          name: 'note',
          config: {
            typeUrl: 'type.googleapis.com/google.protobuf.UInt32Value',
            value: Buffer.from(UInt32Value.encode({ value: 7 }).finish()),
          },
        },
      ],
      capacity: 300,
    },
  },
});

const exact = (value: string): StringMatch => ({ matchType: { $case: 'exact', value } });

test(wire, 'policy', Authorization, {
  name: 'deny-most',
  namespace: 'shop',
  scope: PolicyScope.WORKLOAD_SELECTOR,
  action: Action.DENY,
  dryRun: true,
  extensions: [],
  rules: [
    {
      clauses: [
        {
          matches: [
            Match.fromPartial({
              namespaces: [exact('front'), { matchType: { $case: 'prefix', value: 'team-' } }],
              notNamespaces: [{ matchType: { $case: 'suffix', value: '-test' } }],
            }),
          ],
        },
        {
          matches: [
            Match.fromPartial({
              principals: [exact('td.example/ns/front/sa/web')],
              notPrincipals: [{ matchType: { $case: 'presence', value: {} } }],
              serviceAccounts: [{ namespace: 'front', serviceAccount: 'web' }],
              notServiceAccounts: [{ namespace: 'front', serviceAccount: 'bot' }],
            }),
          ],
        },
        {
          matches: [
            Match.fromPartial({
              sourceIps: [{ address: bytes(10, 0, 0, 0), length: 8 }],
              notSourceIps: [{ address: bytes(10, 1, 0, 0), length: 16 }],
              destinationIps: [{ address: bytes(10, 244, 1, 11), length: 32 }],
              notDestinationIps: [{ address: ip6([0xfd, 0, 0x10, 1], 0), length: 64 }],
              destinationPorts: [8080, 9090],
              notDestinationPorts: [22],
            }),
          ],
        },
      ],
    },
    { clauses: [{ matches: [Match.fromPartial({})] }] },
    { clauses: [] },
  ],
});

test(wire, 'csr-request', IstioCertificateRequest, {
  csr: '-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n',
  validityDuration: 86_400n,
  metadata: { ImpersonatedIdentity: 'spiffe://td.example/ns/shop/sa/cart' },
});

test(wire, 'csr-response', IstioCertificateResponse, {
  certChain: ['leaf', 'intermediate', 'root-1\nroot-2'],
});

test(wire, 'xds-first', DeltaDiscoveryRequest, {
  node: {
    id: 'ztunnel~10.244.1.2~ztunnel-abcde.istio-system~istio-system.svc.cluster.local',
    cluster: '',
    metadata: { NODE_NAME: 'node-a', CLUSTER_ID: 'Kubernetes' },
  },
  typeUrl: 'type.googleapis.com/istio.workload.Address',
  resourceNamesSubscribe: ['*'],
  resourceNamesUnsubscribe: [],
  initialResourceVersions: new Map([['Kubernetes//Pod/shop/cart-1', 'a1b2c3d4e5f60718']]),
  responseNonce: '',
  errorDetail: undefined,
});

test(wire, 'xds-nack', DeltaDiscoveryRequest, {
  node: undefined,
  typeUrl: 'type.googleapis.com/istio.security.Authorization',
  resourceNamesSubscribe: [],
  resourceNamesUnsubscribe: [],
  initialResourceVersions: new Map(),
  responseNonce: 'nonce-7',
  errorDetail: { code: 0, message: 'rejected: shop/deny-most' },
});

test(wire, 'xds-on-demand', DeltaDiscoveryRequest, {
  node: undefined,
  typeUrl: 'type.googleapis.com/istio.workload.Address',
  resourceNamesSubscribe: ['/10.96.0.10'],
  resourceNamesUnsubscribe: ['*'],
  initialResourceVersions: new Map(),
  responseNonce: '',
  errorDetail: undefined,
});

test(wire, 'xds-response', DeltaDiscoveryResponse, {
  systemVersionInfo: '42',
  typeUrl: 'type.googleapis.com/istio.workload.Address',
  nonce: 'nonce-8',
  resources: [
    {
      name: 'Kubernetes//Pod/shop/cart-1',
      version: '00ff',
      aliases: ['net-1/10.244.1.11'],
      resource: {
        typeUrl: 'type.googleapis.com/istio.workload.Address',
        value: bytes(0x0a, 3, 0xa2, 1, 0),
      },
    },
  ],
  removedResources: ['Kubernetes//Pod/shop/cart-0'],
});

test(wire, 'zds-hello', ZdsHello, { version: Version.V1 });
test(wire, 'zds-add', WorkloadRequest, {
  payload: {
    $case: 'add',
    value: {
      uid: '5f1c-uid',
      workloadInfo: { name: 'cart-1', namespace: 'shop', serviceAccount: 'cart' },
    },
  },
});
test(wire, 'zds-del', WorkloadRequest, {
  payload: { $case: 'del', value: { uid: '5f1c-uid' } },
});
test(wire, 'zds-keep', WorkloadRequest, {
  payload: { $case: 'keep', value: { uid: '5f1c-uid' } },
});
test(wire, 'zds-snapshot', WorkloadRequest, { payload: { $case: 'snapshotSent', value: {} } });
test(wire, 'zds-ack', WorkloadResponse, {
  payload: { $case: 'ack', value: { error: 'no such namespace' } },
});

test('decodeMessage() skips fields that it does not know', (t) => {
  const unknown = bytes(0xf8, 0x07, 1, 0x82, 0x08, 2, 0x61, 0x62); // 127: varint; 128: two bytes
  const longer = Buffer.concat([unknown, fixture('zds-add'), unknown]);
  t.deepEqual(
    decodeMessage(WorkloadRequest, longer, 'WorkloadRequest', 'upstream'),
    WorkloadRequest.decode(fixture('zds-add')),
  );
});

test('decodeMessage() refuses what is cut short, or goes on after a zero tag', (t) => {
  const whole = fixture('workload');
  const refused = [whole.subarray(0, -1), Buffer.concat([whole, bytes(0, 1)]), bytes(0x0a, 0xff)];
  for (const given of refused) {
    t.throws(() => decodeMessage(Address, given, 'Address', 'upstream'), { code: 'ERR_PROTO' });
  }
});

test('decodeMessage() bounds the depth of a nested structure', (t) => {
  let value = bytes(0x08, 0); // null_value
  for (let depth = 0; depth < 5000; depth++) {
    const list = Buffer.concat([bytes(0x0a), varint(value.length), value]);
    value = Buffer.concat([bytes(0x32), varint(list.length), list]);
  }
  const entry = Buffer.concat([bytes(0x0a, 1, 0x61, 0x12), varint(value.length), value]);
  const struct = Buffer.concat([bytes(0x0a), varint(entry.length), entry]);
  const request = Buffer.concat([bytes(0x22), varint(struct.length), struct]);
  t.throws(
    () => decodeMessage(IstioCertificateRequest, request, 'IstioCertificateRequest', 'downstream'),
    { code: 'ERR_PROTO' },
  );
});

test('a map key named __proto__ is a key like any other', (t) => {
  const request = DeltaDiscoveryRequest.fromPartial({
    initialResourceVersions: new Map([['__proto__', '1']]),
  });
  const decoded = DeltaDiscoveryRequest.decode(DeltaDiscoveryRequest.encode(request).finish());
  t.deepEqual([...decoded.initialResourceVersions], [['__proto__', '1']]);
});

test('decodeMessage() answers random bytes with a message or ERR_PROTO', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (random) => {
      for (const type of [Address, Authorization, DeltaDiscoveryResponse, WorkloadRequest]) {
        try {
          decodeMessage<unknown>(type, random, 'message', 'upstream');
        } catch (error) {
          if (!(error instanceof Error && 'code' in error && error.code === 'ERR_PROTO'))
            throw error;
        }
      }
    }),
    { numRuns: 500 },
  );
  t.pass();
});

function varint(value: number): Buffer {
  const out: number[] = [];
  for (let rest = value; ; rest >>>= 7) {
    if (rest < 0x80) return bytes(...out, rest);
    out.push((rest & 0x7f) | 0x80);
  }
}
