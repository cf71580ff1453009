import { join } from 'node:path';
import { programCommand } from '../../mesh/runtime/program-command.ts';
import { ENVOY, ENVOY_VERSION_COMMAND, envoyProxy } from '../peers/envoy.ts';
import type { Subject } from './job.ts';
import { WORKS, type Work } from './works.ts';

/** A reverse proxy on loopback, with one thread that works and without a log: as it is configured and started. */
export type HttpProxy = Readonly<{
  name: Subject['name'];
  /** The first of its ports: one for each kind of work. */
  port: number;
  /** Why it does not do a kind of work. */
  cannot(work: Work): string | undefined;
  /** Its configuration; '' where it needs none. */
  configuration(folder: string): string;
  command(configFile: string, folder: string): readonly string[];
}>;

export const BACKEND_PORTS = { http1: 18080, http2: 18081 } as const;
/** More connections than any load has: none is opened while it is measured. */
const KEPT_CONNECTIONS = 512;
/** No connection ends during a run. */
const MANY = 1_000_000_000;

/** Where a proxy takes requests of a kind; none where it cannot do the work. */
export function portOf(proxy: Pick<HttpProxy, 'port' | 'cannot'>, work: Work): number | undefined {
  return proxy.cannot(work) === undefined ? proxy.port + WORKS.indexOf(work) : undefined;
}

function backendOf({ to }: Work): string {
  return `127.0.0.1:${BACKEND_PORTS[to]}`;
}

/** For each kind of work that it does, something of its configuration. */
function forEachWork<T>(
  proxy: Pick<HttpProxy, 'port' | 'cannot'>,
  make: (work: Work, port: number) => T,
): T[] {
  return WORKS.flatMap((work) => {
    const port = portOf(proxy, work);
    return port === undefined ? [] : [make(work, port)];
  });
}

function canAll(): undefined {
  return undefined;
}

const OURS = { port: 18100, cannot: canAll };

const halo: HttpProxy = {
  ...{ name: 'halo', ...OURS, configuration: () => '' },
  command: () => [
    ...programCommand(join(import.meta.dirname, 'proxy-program.ts')),
    ...forEachWork(OURS, (work, port) => [`127.0.0.1:${port}`, backendOf(work), work.to]).flat(),
  ],
};

const NGINX = {
  port: 18200,
  cannot: ({ name }: Work): string | undefined =>
    name === 'http2' ? 'it speaks HTTP/2 to servers for gRPC only' : undefined,
};

const nginx: HttpProxy = {
  ...{ name: 'nginx', ...NGINX },
  configuration: (folder) => `user root;
worker_processes 1;
daemon off;
pid ${folder}/proxy.pid;
error_log stderr error;
events { worker_connections 10000; }
http {
  access_log off;
  keepalive_requests ${MANY};
  upstream http1 { server 127.0.0.1:${BACKEND_PORTS.http1}; keepalive ${KEPT_CONNECTIONS}; keepalive_requests ${MANY}; }
  upstream http2 { server 127.0.0.1:${BACKEND_PORTS.http2}; keepalive ${KEPT_CONNECTIONS}; keepalive_requests ${MANY}; }
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  proxy_buffer_size 64k;
  proxy_buffers 4 64k;
  grpc_buffer_size 64k;
${forEachWork(NGINX, nginxServer).join('')}}
`,
  command: (file, folder) => ['nginx', '-p', folder, '-e', 'stderr', '-c', file],
};

function nginxServer({ from, to, call }: Work, port: number): string {
  const pass = call === 'grpc' ? 'grpc_pass grpc' : 'proxy_pass http';
  return `  server {
    listen 127.0.0.1:${port} ${from === 'http2' ? 'http2 ' : ''}backlog=4096;
    location / { ${pass}://${to}; }
  }
`;
}

const HAPROXY = { port: 18300, cannot: canAll };

const haproxy: HttpProxy = {
  ...{ name: 'haproxy', ...HAPROXY },
  configuration: () => `global
  nbthread 1
  maxconn 8000
  tune.bufsize 65536
defaults
  mode http
  option http-keep-alive
  http-reuse always
  timeout connect 10s
  timeout client 1h
  timeout server 1h
${forEachWork(HAPROXY, haproxyListener).join('')}`,
  command: (file) => ['haproxy', '-f', file],
};

function haproxyListener(work: Work, port: number): string {
  const protocol = (version: Work['from']): string => (version === 'http2' ? 'proto h2 ' : '');
  return `listen ${work.name}
  bind 127.0.0.1:${port} ${protocol(work.from)}backlog 4096
  server app ${backendOf(work)} ${protocol(work.to)}pool-max-conn ${KEPT_CONNECTIONS}
`;
}

const ENVOYS = { port: 18400, cannot: canAll };

const envoy: HttpProxy = {
  ...{ name: 'envoy', ...ENVOYS },
  configuration: () =>
    envoyProxy(
      forEachWork(ENVOYS, ({ to }, port) => ({
        listen: { host: '127.0.0.1', port },
        server: { host: '127.0.0.1', port: BACKEND_PORTS[to], version: to },
      })),
    ),
  command: (file) => [
    ...[ENVOY, '-c', file, '--concurrency', '1', '--log-level', 'error'],
    ...['--disable-hot-restart', '--base-id', '78'],
  ],
};

export const PROXIES: readonly HttpProxy[] = [halo, nginx, haproxy, envoy];
export const VERSION_COMMANDS = {
  ...{ nginx: ['nginx', '-v'], haproxy: ['haproxy', '-v'], envoy: ENVOY_VERSION_COMMAND },
} as const;
