import { join } from 'node:path';
import { YOUNG_GENERATION_MB } from '../../mesh/runtime/data-threads.ts';
import { programCommand } from '../../mesh/runtime/program-command.ts';

/** A reverse proxy on loopback, with one thread that works: as it is configured and started. */
export type HttpProxy = Readonly<{
  name: 'halo' | 'nginx' | 'haproxy';
  port: number;
  /** Its configuration; '' where it needs none. */
  configuration(folder: string): string;
  command(configFile: string, folder: string): readonly string[];
}>;

export const BACKEND_PORT = 18080;
const BACKEND = `127.0.0.1:${BACKEND_PORT}`;
/** More connections than any load has: none is opened while it is measured. */
const KEPT_CONNECTIONS = 512;
/** No connection ends during a run. */
const MANY = 1_000_000_000;

const halo: HttpProxy = {
  name: 'halo',
  port: 18081,
  configuration: () => '',
  command: () => [
    ...programCommand(join(import.meta.dirname, 'proxy-program.ts'), [
      // As a data thread has it: of three semi-spaces.
      `--max-semi-space-size=${YOUNG_GENERATION_MB / 3}`,
    ]),
    '127.0.0.1:18081',
    BACKEND,
  ],
};

const nginx: HttpProxy = {
  name: 'nginx',
  port: 18082,
  configuration: (folder) => `user root;
worker_processes 1;
daemon off;
pid ${folder}/proxy.pid;
error_log stderr error;
events { worker_connections 10000; }
http {
  access_log off;
  keepalive_requests ${MANY};
  upstream app { server ${BACKEND}; keepalive ${KEPT_CONNECTIONS}; keepalive_requests ${MANY}; }
  server {
    listen 127.0.0.1:18082 backlog=4096;
    location / {
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffer_size 64k;
      proxy_buffers 4 64k;
    }
  }
}
`,
  command: (file, folder) => ['nginx', '-p', folder, '-e', 'stderr', '-c', file],
};

const haproxy: HttpProxy = {
  name: 'haproxy',
  port: 18083,
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
listen proxy
  bind 127.0.0.1:18083 backlog 4096
  server app ${BACKEND} pool-max-conn ${KEPT_CONNECTIONS}
`,
  command: (file) => ['haproxy', '-f', file],
};

export const PROXIES: readonly HttpProxy[] = [halo, nginx, haproxy];
export const VERSION_COMMANDS = { nginx: ['nginx', '-v'], haproxy: ['haproxy', '-v'] } as const;
