import {
  credentials,
  makeGenericClientConstructor,
  Metadata,
  status,
  type ServiceError,
} from '@grpc/grpc-js';
import { randomBytes } from 'node:crypto';
import test from 'ava';
import { AggregatedDiscoveryServiceService } from '../../../mesh/proto/gen/discovery.ts';
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from '../../../mesh/xds/codec.ts';
import {
  podYaml,
  SHOP_FILES,
  startWith,
  type TestControlPlane,
  ZTUNNEL,
} from '../support/control-plane.ts';
import { broughtBy, connectZtunnel, ztunnelNode } from '../support/xds-client.ts';

function plane(): Promise<TestControlPlane> {
  return startWith({ 'web.yaml': SHOP_FILES['web.yaml'] });
}

/** A well-behaved proxy is still served. */
async function servesOthers(control: TestControlPlane): Promise<boolean> {
  using client = await connectZtunnel(control);
  client.send({ node: ztunnelNode('ztunnel-b'), typeUrl: ADDRESS_TYPE });
  return broughtBy(await client.next()).length === 2;
}

const RawClient = makeGenericClientConstructor(
  {
    raw: {
      ...AggregatedDiscoveryServiceService.deltaAggregatedResources,
      requestSerialize: (bytes: Buffer) => bytes,
      responseDeserialize: (bytes: Buffer) => bytes,
    },
  },
  'raw',
);

/** Sends bytes as one request and returns the code with which the stream ends. */
async function sendRaw(control: TestControlPlane, bytes: Buffer): Promise<status> {
  const tls = credentials.createSsl(Buffer.from(control.rootPem));
  const client = new RawClient(`127.0.0.1:${control.running.grpcPort}`, tls, {
    'grpc.ssl_target_name_override': 'istiod.istio-system.svc',
    'grpc.max_send_message_length': -1,
  });
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${await control.issuer.token(ZTUNNEL)}`);
  const { path, requestSerialize, responseDeserialize } = {
    ...AggregatedDiscoveryServiceService.deltaAggregatedResources,
    requestSerialize: (value: Buffer) => value,
    responseDeserialize: (value: Buffer) => value,
  };
  const stream = client.makeBidiStreamRequest(
    path,
    requestSerialize,
    responseDeserialize,
    metadata,
  );
  stream.on('data', () => undefined);
  stream.write(bytes);
  const error = await new Promise<ServiceError>((resolve) => {
    stream.on('error', resolve);
  });
  client.close();
  return error.code;
}

test('requests that are no messages end their stream alone (C3)', async (t) => {
  await using control = await plane();
  const node = Buffer.from([0x0a, 0x7f, 0x01]); // a node longer than the message
  const deep = Buffer.alloc(20_000, 0x0a);
  for (const bytes of [node, randomBytes(1_000), deep, Buffer.alloc(0), Buffer.alloc(64)]) {
    const code = await sendRaw(control, bytes);
    t.true([status.INTERNAL, status.INVALID_ARGUMENT, status.UNKNOWN].includes(code), String(code));
  }
  t.true(await servesOthers(control));
});

test('a request larger than the limit is refused before it is decoded (C3)', async (t) => {
  await using control = await plane();
  t.is(await sendRaw(control, Buffer.alloc(65 * 1024 * 1024)), status.RESOURCE_EXHAUSTED);
  t.true(await servesOthers(control));
});

test('answers with nonces that nobody sent, and a storm of them, change nothing (C3)', async (t) => {
  await using control = await plane();
  using client = await connectZtunnel(control);
  client.send({ node: ztunnelNode(), typeUrl: ADDRESS_TYPE });
  const first = await client.next();
  for (let n = 0; n < 2_000; n++) {
    client.send({ typeUrl: ADDRESS_TYPE, responseNonce: `made-up-${n}` });
    client.send({
      ...{ typeUrl: ADDRESS_TYPE, responseNonce: n % 2 === 0 ? first.nonce : 'other' },
      errorDetail: { code: 0, message: `no ${n}` },
    });
  }
  control.write('more.yaml', podYaml('web-2', { ip: '10.1.0.2' }));
  const next = await client.next();
  t.deepEqual(broughtBy(next), ['Kubernetes//Pod/shop/web-2']);
  client.acknowledge(next);
  client.send({ typeUrl: AUTHORIZATION_TYPE });
  client.acknowledge(await client.next());
  const { laggards } = await control.running.xds.waitFor(control.running.xds.revision, 5_000);
  t.deepEqual(
    laggards.map(({ reason }) => reason),
    ['rejected: no 0'],
  );
});

test('a client that asks and does not read is not read from either (C3)', async (t) => {
  await using control = await plane();
  using client = await connectZtunnel(control);
  client.send({
    ...{ node: ztunnelNode('x', ''), typeUrl: ADDRESS_TYPE },
    ...{ resourceNamesSubscribe: ['*'], resourceNamesUnsubscribe: ['*'] },
  });
  await client.next();
  for (let n = 0; n < 500; n++)
    client.send({ typeUrl: ADDRESS_TYPE, resourceNamesSubscribe: [`/10.9.${n >> 8}.${n & 255}`] });
  // Every question is answered in the end, in its order.
  for (let n = 0; n < 500; n++)
    t.deepEqual((await client.next()).removedResources, [`/10.9.${n >> 8}.${n & 255}`]);
});

test('names like __proto__ are names (C3, C9)', async (t) => {
  await using control = await plane();
  using client = await connectZtunnel(control);
  client.send({
    ...{ node: ztunnelNode(), typeUrl: ADDRESS_TYPE },
    initialResourceVersions: new Map([
      ['__proto__', '1'],
      ['constructor', '2'],
    ]),
  });
  const first = await client.next();
  t.deepEqual(first.removedResources.sort(), ['__proto__', 'constructor']);
  t.is(first.resources.length, 2);
});
