import { dirname } from 'node:path';
import {
  APP_PORT,
  hostOf,
  identityOf,
  SERVICE_PORT,
  type AppEndpoint,
} from '../ambient/application.ts';
import { EXTENSIONS, mutualTls, socket, type CertificateFiles } from '../peers/envoy.ts';
import { ADMIN_PORT, INBOUND_PORT, OUTBOUND_PORT, SIDECAR_MARK } from './capture.ts';
import type { InboundRules } from './sidecars.ts';

/*
 * Envoy as Istio configures it for a sidecar, static but for what files say: listeners and clusters by account, endpoints
 * by service. Envoy looks at each file again when another one is moved over it.
 */

const TYPE = 'type.googleapis.com';
const CONFIG = `${TYPE}/envoy.config`;
const PASSTHROUGH = 'PassthroughCluster';
const INBOUND_CLUSTER = `inbound|${APP_PORT}||`;
const SO_MARK = { level: 1, name: 36 } as const;
/** As Istio: no limit but memory. */
const NO_LIMIT = 4294967295;
/** Istio's default for connections of its clusters, and of buffers. */
const CONNECT_TIMEOUT = '10s';
const BUFFER_BYTES = 32_768;

/**
 * A file that Envoy follows. It hears of everything that happens in the folder, so each file has one of its own.
 */
function followed(path: string): object {
  return {
    resource_api_version: 'V3',
    path_config_source: { path, watched_directory: { path: dirname(path) } },
  };
}

/** What Envoy is started with. @param folder where its files are. */
export function bootstrap(account: string, folder: string): string {
  return JSON.stringify({
    node: { id: `sidecar~${account}`, cluster: account },
    admin: { address: socket('127.0.0.1', ADMIN_PORT) },
    dynamic_resources: {
      lds_config: followed(listenersFile(folder, account)),
      cds_config: followed(clustersFile(folder, account)),
    },
    cluster_manager: {
      upstream_bind_config: {
        source_address: { address: '0.0.0.0', port_value: 0 },
        socket_options: [{ ...SO_MARK, int_value: SIDECAR_MARK, state: 'STATE_PREBIND' }],
      },
    },
    // Istio's default keeps these statistics of Envoy and its own; the others cost memory that Istio's do not.
    stats_config: {
      stats_matcher: {
        inclusion_list: {
          patterns: ['cluster_manager', 'listener_manager', 'server', 'http.inbound'].map(
            (prefix) => ({ prefix }),
          ),
        },
      },
    },
  });
}

export function listenersFile(folder: string, account: string): string {
  return `${folder}/listeners/${account}/resources.json`;
}

export function clustersFile(folder: string, account: string): string {
  return `${folder}/clusters/${account}/resources.json`;
}

export function endpointsFile(folder: string, service: string): string {
  return `${folder}/endpoints/${service}/resources.json`;
}

/** The listeners of an account's sidecars. */
export function listeners(
  endpoints: readonly AppEndpoint[],
  files: CertificateFiles,
  rules: InboundRules,
  version: number,
): string {
  return response(version, 'listener.v3.Listener', [
    {
      ...{ name: 'virtualOutbound', traffic_direction: 'OUTBOUND', use_original_dst: true },
      address: socket('0.0.0.0', OUTBOUND_PORT),
      filter_chains: [{ filters: [tcpProxy(PASSTHROUGH)] }],
    },
    {
      ...{ name: `0.0.0.0_${SERVICE_PORT}`, traffic_direction: 'OUTBOUND' },
      address: socket('0.0.0.0', SERVICE_PORT),
      bind_to_port: false,
      per_connection_buffer_limit_bytes: BUFFER_BYTES,
      filter_chains: [{ filters: [outboundHttp(endpoints)] }],
    },
    {
      ...{ name: 'virtualInbound', traffic_direction: 'INBOUND' },
      address: socket('0.0.0.0', INBOUND_PORT),
      per_connection_buffer_limit_bytes: BUFFER_BYTES,
      listener_filters: [
        listenerFilter('original_dst', 'original_dst.v3.OriginalDst'),
        listenerFilter('tls_inspector', 'tls_inspector.v3.TlsInspector'),
      ],
      // Nothing matches plain text: it is refused, as with Istio's mode STRICT.
      filter_chains: [
        {
          filter_chain_match: { transport_protocol: 'tls', destination_port: APP_PORT },
          transport_socket: downstreamTls(files),
          filters: [inboundHttp(rules)],
        },
      ],
    },
  ]);
}

/** The clusters of an account's sidecars: every service of the mesh, and the application itself. */
export function clusters(
  endpoints: readonly AppEndpoint[],
  files: CertificateFiles,
  folder: string,
): string {
  const common = {
    ...{ connect_timeout: CONNECT_TIMEOUT, per_connection_buffer_limit_bytes: BUFFER_BYTES },
    circuit_breakers: {
      thresholds: [
        {
          ...{ max_connections: NO_LIMIT, max_pending_requests: NO_LIMIT },
          ...{ max_requests: NO_LIMIT, max_retries: NO_LIMIT, track_remaining: true },
        },
      ],
    },
  };
  return response(1, 'cluster.v3.Cluster', [
    ...endpoints.map(({ name, account }) => ({
      ...common,
      ...{ name: outboundCluster(name), type: 'EDS', lb_policy: 'LEAST_REQUEST' },
      eds_cluster_config: {
        service_name: outboundCluster(name),
        eds_config: followed(endpointsFile(folder, name)),
      },
      transport_socket: upstreamTls(files, name, account),
    })),
    {
      ...{ ...common, name: INBOUND_CLUSTER, type: 'STATIC' },
      load_assignment: assignment(INBOUND_CLUSTER, ['127.0.0.1']),
    },
    { ...common, name: PASSTHROUGH, type: 'ORIGINAL_DST', lb_policy: 'CLUSTER_PROVIDED' },
  ]);
}

/** Where the pods of a service are. */
export function endpointsOf(service: string, ips: readonly string[], version: number): string {
  return response(version, 'endpoint.v3.ClusterLoadAssignment', [
    assignment(outboundCluster(service), ips),
  ]);
}

function outboundCluster(service: string): string {
  return `outbound|${SERVICE_PORT}||${hostOf(service)}`;
}

function assignment(cluster: string, ips: readonly string[]): object {
  const endpoints = ips.map((ip) => ({ endpoint: { address: socket(ip, APP_PORT) } }));
  return { cluster_name: cluster, endpoints: [{ lb_endpoints: endpoints }] };
}

function outboundHttp(endpoints: readonly AppEndpoint[]): object {
  return manager(`outbound_0.0.0.0_${SERVICE_PORT}`, [], {
    route_config: {
      ...{ name: String(SERVICE_PORT), validate_clusters: false },
      virtual_hosts: endpoints.map(({ name, vip }) => ({
        name: `${hostOf(name)}:${SERVICE_PORT}`,
        domains: [hostOf(name), name, vip],
        include_request_attempt_count: true,
        routes: [
          {
            match: { prefix: '/' },
            route: {
              ...{ cluster: outboundCluster(name), timeout: '0s', retry_policy: RETRIES },
              max_grpc_timeout: '0s',
            },
          },
        ],
      })),
    },
  });
}

/** Istio's default for every route. */
const RETRIES = {
  retry_on: 'connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes',
  num_retries: 2,
  retry_host_predicate: [
    {
      name: 'envoy.retry_host_predicates.previous_hosts',
      typed_config: {
        '@type': `${EXTENSIONS}.retry.host.previous_hosts.v3.PreviousHostsPredicate`,
      },
    },
  ],
  host_selection_retry_max_attempts: 5,
  retriable_status_codes: [503],
} as const;

function inboundHttp({ allow, deny }: InboundRules): object {
  const filters = [
    ...(deny.length > 0 ? [rbac('DENY', deny)] : []),
    // Without a policy that allows somebody, nobody is.
    rbac('ALLOW', allow),
  ];
  return manager(`inbound_0.0.0.0_${APP_PORT}`, filters, {
    forward_client_cert_details: 'APPEND_FORWARD',
    set_current_client_cert_details: { subject: true, dns: true, uri: true },
    route_config: {
      ...{ name: INBOUND_CLUSTER, validate_clusters: false },
      virtual_hosts: [
        {
          ...{ name: 'inbound', domains: ['*'] },
          routes: [{ match: { prefix: '/' }, route: { cluster: INBOUND_CLUSTER, timeout: '0s' } }],
        },
      ],
    },
  });
}

function rbac(action: 'ALLOW' | 'DENY', accounts: readonly string[]): object {
  const principals = accounts.map((account) => ({
    authenticated: { principal_name: { exact: identityOf(account) } },
  }));
  const policy = { permissions: [{ any: true }], principals };
  return httpFilter('rbac', 'rbac.v3.RBAC', {
    rules: { action, policies: accounts.length > 0 ? { mesh: policy } : {} },
  });
}

/** With the filters that Istio has in every chain, as far as Envoy itself has them. */
function manager(prefix: string, before: readonly object[], more: object): object {
  return {
    name: 'envoy.filters.network.http_connection_manager',
    typed_config: {
      '@type': `${EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
      ...{ stat_prefix: prefix, server_name: 'istio-envoy', use_remote_address: false },
      ...{ normalize_path: true, path_with_escaped_slashes_action: 'KEEP_UNCHANGED' },
      ...{ stream_idle_timeout: '0s', upgrade_configs: [{ upgrade_type: 'websocket' }] },
      http_filters: [
        ...before,
        httpFilter('grpc_stats', 'grpc_stats.v3.FilterConfig', {
          ...{ emit_filter_state: true, stats_for_all_methods: false },
        }),
        httpFilter('fault', 'fault.v3.HTTPFault'),
        httpFilter('cors', 'cors.v3.Cors'),
        httpFilter('router', 'router.v3.Router'),
      ],
      ...more,
    },
  };
}

function httpFilter(name: string, type: string, more: object = {}): object {
  return {
    name: `envoy.filters.http.${name}`,
    typed_config: { '@type': `${EXTENSIONS}.filters.http.${type}`, ...more },
  };
}

function listenerFilter(name: string, type: string): object {
  return {
    name: `envoy.filters.listener.${name}`,
    typed_config: { '@type': `${EXTENSIONS}.filters.listener.${type}` },
  };
}

function tcpProxy(cluster: string): object {
  return {
    name: 'envoy.filters.network.tcp_proxy',
    typed_config: {
      '@type': `${EXTENSIONS}.filters.network.tcp_proxy.v3.TcpProxy`,
      ...{ stat_prefix: cluster, cluster },
    },
  };
}

/** What Istio's sidecars agree on between them: HTTP/1.1 goes on as it came. */
const ALPN = ['istio-http/1.1', 'http/1.1'] as const;

function downstreamTls(files: CertificateFiles): object {
  return mutualTls('Downstream', files, ALPN, { prefix: 'spiffe://cluster.local/' });
}

function upstreamTls(files: CertificateFiles, service: string, account: string): object {
  const sni = `outbound_.${SERVICE_PORT}_._.${hostOf(service)}`;
  return mutualTls('Upstream', files, ALPN, { exact: identityOf(account) }, { sni });
}

function response(version: number, type: string, resources: readonly object[]): string {
  return JSON.stringify({
    version_info: String(version),
    type_url: `${CONFIG}.${type}`,
    resources: resources.map((resource) => ({ '@type': `${CONFIG}.${type}`, ...resource })),
  });
}
