import { EventEmitter, once } from 'node:events';
import { chmodSync, readFileSync, watch, writeFileSync } from 'node:fs';
import dgram from 'node:dgram';
import http from 'node:http';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { listen } from './http1-peer.ts';
import { freePort, startPeer } from './peer-servers.ts';

/** A server that reads as loosely as it can be told to, and tells of each request that it takes for one. */
export class BackEnd {
  readonly name: string;
  readonly port: number;
  readonly #read: () => readonly string[];
  readonly #events = new EventEmitter().setMaxListeners(0);

  /** @param read all requests so far, `METHOD target` each. */
  constructor(name: string, port: number, read: () => readonly string[]) {
    this.name = name;
    this.port = port;
    this.#read = read;
  }

  get log(): readonly string[] {
    return this.#read();
  }

  changed(): void {
    this.#events.emit('change');
  }

  async untilLogged(line: string): Promise<void> {
    while (!this.log.includes(line)) await once(this.#events, 'change');
  }
}

export async function startNginx(t: ExecutionContext): Promise<BackEnd> {
  const port = await freePort();
  const folder = await startPeer(
    t,
    port,
    (
      path,
    ) => `user root; worker_processes 1; daemon off; pid ${path}/nginx.pid; error_log /dev/null;
events { worker_connections 512; }
http { log_format asked '$request_method $request_uri'; access_log ${path}/log asked;
client_body_temp_path ${path}; client_max_body_size 0; keepalive_requests 100000;
underscores_in_headers on; ignore_invalid_headers off; merge_slashes off;
server { listen 127.0.0.1:${port}; location / { return 200 ok; } } }`,
    (file, path) => ['nginx', '-p', path, '-e', '/dev/null', '-c', file],
  );
  return followFile(t, 'nginx', port, join(folder, 'log'));
}

export async function startApache(t: ExecutionContext): Promise<BackEnd> {
  const port = await freePort();
  const modules = ['mpm_event', 'authz_core', 'alias']
    .map((name) => `LoadModule ${name}_module /usr/lib/apache2/modules/mod_${name}.so`)
    .join('\n');
  const folder = await startPeer(
    t,
    port,
    (path) => {
      chmodSync(path, 0o755); // its workers are nobody
      writeFileSync(join(path, 'ok'), 'ok');
      return `ServerName a
ServerRoot ${path}
PidFile ${path}/pid
${modules}
User nobody
Group nogroup
Listen 127.0.0.1:${port}
ErrorLog /dev/null
MaxKeepAliveRequests 0
HttpProtocolOptions Unsafe LenientMethods Allow0.9
MergeSlashes Off
AllowEncodedSlashes NoDecode
LogFormat "%m %U%q" asked
CustomLog ${path}/log asked
AliasMatch ".*" "${path}/ok"
`;
    },
    (file) => ['apache2', '-DFOREGROUND', '-f', file],
  );
  return followFile(t, 'Apache', port, join(folder, 'log'));
}

function followFile(t: ExecutionContext, name: string, port: number, path: string): BackEnd {
  const backEnd = new BackEnd(name, port, () =>
    readFileSync(path, 'utf8').split('\n').slice(0, -1),
  );
  const watcher = watch(path, () => {
    backEnd.changed();
  });
  t.teardown(() => {
    watcher.close();
  });
  return backEnd;
}

/** HAProxy logs by datagrams alone, or to a terminal of its own. */
export async function startHaproxy(t: ExecutionContext): Promise<BackEnd> {
  const port = await freePort();
  const lines: string[] = [];
  const backEnd = new BackEnd('HAProxy', port, () => lines);
  const socket = dgram.createSocket('udp4', (message) => {
    lines.push(
      message
        .toString('latin1')
        .replace(/^<\d+>/, '')
        .trim(),
    );
    backEnd.changed();
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  t.teardown(() => socket.close());
  await startPeer(
    t,
    port,
    () => `defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend back
  bind 127.0.0.1:${port}
  log 127.0.0.1:${socket.address().port} format raw local0
  log-format "%HM %HU"
  option dontlognull
  option accept-invalid-http-request
  http-request return status 200 content-type text/plain string ok
`,
    (file) => ['haproxy', '-f', file],
  );
  return backEnd;
}

export async function startNode(t: ExecutionContext): Promise<BackEnd> {
  const lines: string[] = [];
  const server = http.createServer(
    { insecureHTTPParser: true, requireHostHeader: false, keepAliveTimeout: 30_000 },
    (request, response) => {
      lines.push(`${request.method ?? ''} ${request.url ?? ''}`);
      backEnd.changed();
      request.resume().on('end', () => response.end('all ok'));
    },
  );
  t.teardown(() => {
    server.closeAllConnections();
  });
  const backEnd = new BackEnd('Node', await listen(t, server), () => lines);
  return backEnd;
}
