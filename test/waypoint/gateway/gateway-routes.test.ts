import test from 'ava';
import {
  gatewayKey,
  type GatewayListener,
  type HostRoutes,
} from '../../../mesh/model/gateway-listener.ts';
import type { ServiceKey } from '../../../mesh/model/service.ts';
import { GatewayRoutes } from '../../../waypoint/gateway/gateway-routes.ts';

const service = 'shop/web.shop.svc.cluster.local' as ServiceKey;

/** Rules by their paths, each named `<host name> <path>`. */
function host(hostname: string, ...paths: string[]): HostRoutes {
  return {
    hostnames: [hostname],
    routes: {
      ...{ choice: 'precedence', grpc: false },
      rules: paths.map((value) => ({
        ...{ name: `${hostname} ${value}`, filters: [] },
        matches: [{ path: { kind: 'prefix', value }, headers: [], queryParams: [] }],
        backends: [{ target: { service, port: 80 }, weight: 1, filters: [] }],
      })),
    },
  };
}

function http(
  name: string,
  port: number,
  hostname: string,
  ...hosts: HostRoutes[]
): GatewayListener {
  return { name, port, hostname, serves: { kind: 'http', hosts } };
}

function routesOf(...listeners: GatewayListener[]): GatewayRoutes {
  return new GatewayRoutes({ gateway: gatewayKey('shop', 'edge'), listeners });
}

function find(routes: GatewayRoutes, port: number, hostname: string, path: string): string {
  const headers = [':method', 'GET', ':scheme', 'http', ':authority', hostname, ':path', path];
  const listener = routes.port(port, 'tcp')?.listenerOf(hostname);
  return listener?.rule(hostname, headers)?.rule.name ?? 'none';
}

test('a request is matched by the routes of the most exact listener and of no other', (t) => {
  const routes = routesOf(
    http('any', 80, '', host('', '/any')),
    http('wildcard', 80, '*.example.com', host('', '/wildcard')),
    http('exact', 80, 'a.example.com', host('', '/exact')),
    http('other', 81, '', host('', '/other')),
  );
  t.is(find(routes, 80, 'a.example.com', '/exact'), ' /exact');
  t.is(find(routes, 80, 'a.example.com', '/wildcard'), 'none');
  t.is(find(routes, 80, 'b.example.com', '/wildcard'), ' /wildcard');
  t.is(find(routes, 80, 'b.example.com', '/any'), 'none');
  t.is(find(routes, 80, 'example.com', '/any'), ' /any');
  t.is(find(routes, 81, 'example.com', '/any'), 'none');
  t.is(find(routes, 82, 'example.com', '/any'), 'none');
});

test('of a listener the routes with the most exact host name go first, and what they do not match goes on', (t) => {
  const routes = routesOf(
    http(
      ...(['http', 80, ''] as const),
      host('', '/', '/longer/path'),
      host('*.example.com', '/wild'),
      host('a.example.com', '/a'),
    ),
  );
  t.is(find(routes, 80, 'a.example.com', '/a'), 'a.example.com /a');
  t.is(find(routes, 80, 'a.example.com', '/wild'), '*.example.com /wild');
  t.is(find(routes, 80, 'a.example.com', '/longer/path'), ' /longer/path');
  t.is(find(routes, 80, 'b.example.com', '/a'), ' /');
});

test('UDP and TCP have ports of their own, and bytes have the route of no name', (t) => {
  const route = { name: 'r', backends: [] };
  const routes = routesOf(
    {
      ...{ name: 'tcp', port: 53, hostname: '' },
      serves: { kind: 'tcp', hosts: [{ hostnames: [''], route }] },
    },
    { name: 'udp', port: 53, hostname: '', serves: { kind: 'udp' } },
  );
  t.is(routes.port(53, 'tcp')?.listenerOf('')?.route(''), route);
  t.is(routes.port(53, 'udp')?.listenerOf('')?.route(''), undefined);
  t.deepEqual(
    [...routes.ports()].map(({ port, transport }) => `${port}/${transport}`),
    ['53/tcp', '53/udp'],
  );
});
