import test from 'ava';
import { status } from '@grpc/grpc-js';
import { ADDRESS_TYPE } from '../../../mesh/xds/codec.ts';
import { gatewayYaml, SHOP_FILES, startWith, ZTUNNEL } from '../support/control-plane.ts';
import {
  broughtBy,
  connectWaypoint,
  waypointNode,
  XdsClient,
  ztunnelNode,
} from '../support/xds-client.ts';

const WEB = 'shop/web.shop.svc.cluster.local';
const WEB_1 = 'Kubernetes//Pod/shop/web-1';

test('a stream without a token that proves anything is refused, and is not told why', async (t) => {
  await using control = await startWith(SHOP_FILES);
  for (const token of ['nonsense', await control.issuer.token(ZTUNNEL, { audience: 'other' })]) {
    using client = new XdsClient(control, token);
    client.send({ node: ztunnelNode(), typeUrl: ADDRESS_TYPE });
    const error = await client.ended();
    t.is(error.code, status.UNAUTHENTICATED);
    t.is(error.details, 'request authenticate failure');
  }
});

const strangers: readonly (readonly [string, object, Parameters<XdsClient['send']>[0], status])[] =
  [
    ['another namespace', { namespace: 'shop' }, {}, status.PERMISSION_DENIED],
    ['another account', { serviceAccount: 'web' }, {}, status.PERMISSION_DENIED],
    [
      'an account that is no node proxy',
      { serviceAccount: 'web' },
      { node: { ...ztunnelNode(), metadata: {} } },
      status.PERMISSION_DENIED,
    ],
    ['no node', {}, { node: undefined }, status.INVALID_ARGUMENT],
    [
      'the node of a sidecar',
      {},
      { node: { ...ztunnelNode(), id: 'sidecar~1.1.1.1~a.istio-system~x' } },
      status.INVALID_ARGUMENT,
    ],
    [
      'a type that is not served',
      {},
      { typeUrl: 'type.googleapis.com/x' },
      status.INVALID_ARGUMENT,
    ],
  ];
for (const [name, account, request, code] of strangers)
  test(`a stream with ${name} is refused`, async (t) => {
    await using control = await startWith(SHOP_FILES);
    using client = new XdsClient(control, await control.issuer.token({ ...ZTUNNEL, ...account }));
    client.send({ node: ztunnelNode(), typeUrl: ADDRESS_TYPE, ...request });
    t.is((await client.ended()).code, code);
    t.deepEqual(control.running.xds.proxies(), []);
  });

/** Whoever has an account may not learn of everything by calling itself a waypoint. */
const waypointCalls: readonly (readonly [string, string, status | undefined])[] = [
  ['of an account with a waypoint is served', 'waypoint', undefined],
  ['of an account without one is refused', 'web', status.PERMISSION_DENIED],
  ['of the account of another kind of Gateway is refused', 'ingress', status.PERMISSION_DENIED],
];
for (const [name, serviceAccount, code] of waypointCalls)
  test(`a waypoint's stream ${name}`, async (t) => {
    const gateways = gatewayYaml('waypoint') + gatewayYaml('ingress', 'istio');
    await using control = await startWith({ ...SHOP_FILES, 'gateways.yaml': gateways });
    using client = await connectWaypoint(control, serviceAccount);
    client.send({ node: waypointNode(serviceAccount), typeUrl: ADDRESS_TYPE });
    if (code === undefined) t.true(broughtBy(await client.next()).includes(WEB_1));
    else t.is((await client.ended()).code, code);
  });

/** How a ztunnel of pod web-1 alone describes itself. */
const dedicatedNode: ReturnType<typeof ztunnelNode> = {
  id: 'ztunnel~1.1.1.1~web-1.shop~shop.svc.cluster.local',
  cluster: '',
  metadata: { NAMESPACE: 'shop' },
};
const dedicatedCalls: readonly (readonly [string, string, string, status | undefined])[] = [
  ['of an account that may have one is told everything', 'shop', 'web', undefined],
  ['of another account is refused', 'shop', 'cart', status.PERMISSION_DENIED],
  ['of that account in another namespace is refused', 'front', 'web', status.PERMISSION_DENIED],
];
for (const [name, namespace, serviceAccount, code] of dedicatedCalls)
  test(`a dedicated proxy ${name}`, async (t) => {
    const env = { DEDICATED_PROXY_ACCOUNTS: 'shop/web' };
    await using control = await startWith(SHOP_FILES, env);
    const token = await control.issuer.token({ ...ZTUNNEL, namespace, serviceAccount });
    using client = new XdsClient(control, token);
    client.send({ node: dedicatedNode, typeUrl: ADDRESS_TYPE });
    if (code === undefined) t.deepEqual(broughtBy(await client.next()), [WEB_1, WEB]);
    else t.is((await client.ended()).code, code);
  });
