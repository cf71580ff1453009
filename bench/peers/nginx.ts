import { existsSync } from 'node:fs';
import {
  BUFFER_BYTES,
  CIPHER_SUITE,
  GROUP,
  SERVER_NAME,
  WORKERS,
  type PairOffsets,
  type ProxyKind,
} from './proxy-pair.ts';

const OFFSETS: PairOffsets = { client: 1000, server: 2000 };

/** Where Debian puts it; nginx that was built with it has no such file. */
const STREAM_MODULE = '/usr/lib/nginx/modules/ngx_stream_module.so';

const client = (to: string): string => `
    proxy_pass ${to};
    proxy_ssl on;
    proxy_ssl_protocols TLSv1.3;
    proxy_ssl_conf_command Ciphersuites ${CIPHER_SUITE};
    proxy_ssl_conf_command Groups ${GROUP};
    proxy_ssl_session_reuse off;
    proxy_ssl_verify on;
    proxy_ssl_name ${SERVER_NAME};`;

const server = `
    ssl_protocols TLSv1.3;
    ssl_conf_command Ciphersuites ${CIPHER_SUITE};
    ssl_ecdh_curve ${GROUP};
    ssl_session_tickets off;
    ssl_session_cache off;
    ssl_verify_client on;`;

/** nginx with its stream module: TCP on both sides, mTLS in the middle, an access log. */
export const nginx: ProxyKind = {
  name: 'nginx',
  offsets: OFFSETS,
  versionCommand: ['nginx', '-v'],
  configuration(side, { serverIp, ports }, files) {
    const { certificate, key } = files[side];
    const servers = ports.map((port) =>
      side === 'client'
        ? `  server {
    listen 127.0.0.1:${port + OFFSETS.client} reuseport backlog=4096;${client(`${serverIp}:${port + OFFSETS.server}`)}
    proxy_ssl_certificate ${certificate};
    proxy_ssl_certificate_key ${key};
    proxy_ssl_trusted_certificate ${files.ca};
  }`
        : `  server {
    listen ${serverIp}:${port + OFFSETS.server} ssl reuseport backlog=4096;
    proxy_pass 127.0.0.1:${port};${server}
    ssl_certificate ${certificate};
    ssl_certificate_key ${key};
    ssl_client_certificate ${files.ca};
  }`,
    );
    return `${moduleLine()}user root;
worker_processes ${WORKERS};
daemon off;
pid ${files.folder}/nginx-${side}.pid;
error_log stderr error;
events { worker_connections 10000; }
stream {
  log_format connection '$time_iso8601 $remote_addr:$remote_port $upstream_addr $status $bytes_sent $bytes_received $session_time';
  access_log ${files.folder}/nginx-${side}-access.log connection;
  tcp_nodelay on;
  proxy_buffer_size ${BUFFER_BYTES};
${servers.join('\n')}
}
`;
  },
  command: (configFile, files) => ['nginx', '-p', files.folder, '-e', 'stderr', '-c', configFile],
};

export type HttpServerPorts = Readonly<{
  /** HTTP/1.1, and the page that tells how many requests there were. */
  http1: number;
  /** HTTP/2 without TLS, by prior knowledge; gRPC too. */
  http2?: number;
}>;

/**
 * An HTTP server that answers at once, behind all who are measured, and gives the files of its folder. Those under
 * `/bench.Web/` are the answers to gRPC calls: message and status as gRPC has them on a wire, whatever was asked. `mirror`
 * makes nginx read the question first, as a server of gRPC does: it would answer at once and reset what comes then.
 */
export function httpServerConfiguration(folder: string, { http1, http2 }: HttpServerPorts): string {
  const listenHttp2 = `listen [::]:${http2} ipv6only=off http2 backlog=4096;`;
  return `user root;
worker_processes 1;
daemon off;
pid ${folder}/http.pid;
error_log stderr error;
events { worker_connections 10000; }
http {
  access_log off;
  log_not_found off;
  keepalive_requests 1000000000;
  open_file_cache max=8;
  server {
    root ${folder};
    listen [::]:${http1} ipv6only=off backlog=4096;
    ${http2 === undefined ? '' : listenHttp2}
    location = /status { stub_status; }
    location = / { default_type text/plain; return 200 "ok\\n"; }
    location / { default_type text/plain; }
    location /bench.Web/ {
      default_type application/grpc;
      add_trailer grpc-status 0;
      error_page 405 =200 $uri;
      mirror /read;
    }
    location = /read { internal; return 204; }
  }
}
`;
}

function moduleLine(): string {
  return existsSync(STREAM_MODULE) ? `load_module ${STREAM_MODULE};\n` : '';
}
