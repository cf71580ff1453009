import test from 'ava';
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import { gatewayKey, type GatewayListeners } from '../../../mesh/model/gateway-listener.ts';
import type { ServiceKey } from '../../../mesh/model/service.ts';
import { limitRule, rateLimit } from '../../support/rate-limits.ts';
import { decodeGatewayListeners, encodeGatewayListeners } from '../../../mesh/xds/codec-gateway.ts';

const web = 'shop/web.shop.svc.cluster.local' as ServiceKey;
const route = {
  name: 'TCPRoute/shop/r/0',
  backends: [{ target: { service: web, port: 80 }, weight: 1 }],
};
const tls = { certificates: [{ chainPem: 'chain', keyPem: 'a-private-key' }] };
const listeners: GatewayListeners = {
  gateway: gatewayKey('shop', 'edge'),
  limits: [rateLimit([limitRule({ match: { methods: ['GET'] } })])],
  listeners: [
    {
      ...{ name: 'https', port: 443, hostname: '*.example.com' },
      serves: {
        kind: 'http',
        hosts: [
          {
            hostnames: ['a.example.com', '*.b.example.com'],
            routes: {
              ...{ choice: 'precedence', grpc: false },
              rules: [
                {
                  name: 'HTTPRoute/shop/r/0',
                  matches: [{ path: { kind: 'prefix', value: '/' }, headers: [], queryParams: [] }],
                  filters: [],
                  backends: [{ target: { service: web, port: 80 }, weight: 1, filters: [] }],
                },
              ],
            },
          },
        ],
      },
      tls: { ...tls, clients: { rootsPem: 'roots', accepts: 'any' } },
    },
    { name: 'http', port: 80, hostname: '', serves: { kind: 'http', hosts: [] } },
    {
      ...{ name: 'tcp', port: 9000, hostname: '', tls },
      serves: { kind: 'tcp', hosts: [{ hostnames: [''], route }] },
    },
    {
      ...{ name: 'tls', port: 8443, hostname: 'b.example.com' },
      serves: { kind: 'passthrough', hosts: [{ hostnames: ['b.example.com'], route }] },
    },
    { name: 'udp', port: 53, hostname: '', serves: { kind: 'udp', route } },
    { name: 'idle', port: 54, hostname: '', serves: { kind: 'udp' } },
  ],
};

test('decodeGatewayListeners() reads what encodeGatewayListeners() wrote', (t) => {
  const bytes = encodeGatewayListeners(listeners);
  t.deepEqual(decodeGatewayListeners(bytes), listeners);
  t.deepEqual(encodeGatewayListeners(decodeGatewayListeners(bytes)), bytes);
});

test('decodeGatewayListeners() refuses what it does not know, and TLS that could not be done', (t) => {
  const bytes = encodeGatewayListeners(listeners);
  const extended = Buffer.concat([
    bytes,
    new BinaryWriter()
      .uint32((1000 << 3) | 2)
      .string('x')
      .finish(),
  ]);
  t.throws(() => decodeGatewayListeners(extended), { message: /not known here/ });
  const [https, , , , udp] = listeners.listeners;
  const refused = (changed: unknown, message: RegExp): void => {
    const wrong = { ...listeners, listeners: [changed] } as GatewayListeners;
    t.throws(() => decodeGatewayListeners(encodeGatewayListeners(wrong)), { message });
  };
  refused({ ...https, tls: { certificates: [] } }, /TLS without a certificate/);
  refused({ ...udp, tls }, /TLS does not end at udp/);
  refused({ ...https, port: 0 }, /bad port 0/);
  const twice = { hostnames: ['a', 'a'], route };
  refused({ ...udp, serves: { kind: 'tcp', hosts: [twice] } }, /host name "a" twice/);
  const unsure = { ...tls, clients: { rootsPem: '', accepts: 'some' } };
  refused({ ...https, tls: unsure }, /unknown value "some"/);
});

test('an error of decodeGatewayListeners() tells no part of a key', (t) => {
  const [https] = listeners.listeners;
  const wrong = { ...listeners, listeners: [{ ...https, port: 0, tls }] } as GatewayListeners;
  const error = t.throws(() => decodeGatewayListeners(encodeGatewayListeners(wrong)));
  t.notRegex(String(error) + String(error.cause), /a-private-key/);
});
