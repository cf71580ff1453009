import {
  BUFFER_BYTES,
  CIPHER_SUITE,
  GROUP,
  SERVER_NAME,
  WORKERS,
  type PairFiles,
  type PairPlan,
  type PairOffsets,
  type ProxyKind,
} from './proxy-pair.ts';

const OFFSETS: PairOffsets = { client: 3000, server: 4000 };

/** HAProxy in TCP mode: mTLS in the middle, a log line for each connection on standard output. */
export const haproxy: ProxyKind = {
  name: 'haproxy',
  offsets: OFFSETS,
  versionCommand: ['haproxy', '-v'],
  configuration(side, plan, files) {
    const listeners = plan.ports.map((port) =>
      side === 'client' ? clientListener(port, plan, files) : serverListener(port, plan, files),
    );
    return `global
  nbthread ${WORKERS}
  maxconn 8000
  log stdout format raw local0 info
  tune.bufsize ${BUFFER_BYTES}
defaults
  mode tcp
  log global
  option tcplog
  timeout connect 10s
  timeout client 1h
  timeout server 1h
${listeners.join('')}`;
  },
  command: (configFile) => ['haproxy', '-W', '-f', configFile],
};

function clientListener(port: number, { serverIp }: PairPlan, files: PairFiles): string {
  const tls = [
    `ssl crt ${files.client.both} ca-file ${files.ca} verify required verifyhost ${SERVER_NAME}`,
    `ssl-min-ver TLSv1.3 ciphersuites ${CIPHER_SUITE} no-ssl-reuse no-tls-tickets`,
  ].join(' ');
  return `listen port-${port}
  bind 127.0.0.1:${port + OFFSETS.client} backlog 4096
  server peer ${serverIp}:${port + OFFSETS.server} ${tls}
`;
}

function serverListener(port: number, { serverIp }: PairPlan, files: PairFiles): string {
  const tls = [
    `ssl crt ${files.server.both} ca-file ${files.ca} verify required`,
    `ssl-min-ver TLSv1.3 ciphersuites ${CIPHER_SUITE} curves ${GROUP} no-tls-tickets`,
  ].join(' ');
  return `listen port-${port}
  bind ${serverIp}:${port + OFFSETS.server} ${tls} backlog 4096
  server app 127.0.0.1:${port}
`;
}
