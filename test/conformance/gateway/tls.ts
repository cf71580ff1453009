import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TemporaryFolder } from '../../support/temporary-folder.ts';
import { makeTestCa, type TestCa } from '../../support/test-ca.ts';
import type { GatewayMesh } from './gateway-mesh.ts';
import { CLIENT, INFRA } from './namespaces.ts';
import type { Manifest } from './objects.ts';

const IDENTITY = 'spiffe://cluster.local/ns/infra/sa/tls';

/** A certificate of names, and its key. */
export type Pair = Readonly<{ chain: string; key: string }>;

export function pairOf(ca: TestCa, ...dnsNames: readonly string[]): Pair {
  const { chainPem, privateKeyPem } = ca.issue(IDENTITY, { uris: [], dnsNames });
  return { chain: chainPem.join(''), key: privateKeyPem };
}

export const CA = makeTestCa();

export function secret(name: string, { chain, key }: Pair, namespace = INFRA): Manifest {
  return {
    ...{ apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace } },
    ...{ type: 'kubernetes.io/tls', stringData: { 'tls.crt': chain, 'tls.key': key } },
  };
}

export function authorities(name: string, ca: string, namespace = INFRA): Manifest {
  return {
    ...{ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace } },
    data: { 'ca.crt': ca },
  };
}

/** The TLS of a listener that shows the certificates of Secrets. */
export function terminate(...secrets: readonly (string | Readonly<Record<string, string>>)[]): {
  tls: object;
} {
  const certificateRefs = secrets.map((one) => (typeof one === 'string' ? { name: one } : one));
  return { tls: { mode: 'Terminate', certificateRefs } };
}

export const PASSTHROUGH = { tls: { mode: 'Passthrough' } };

/** What a backend that speaks TLS saw, or how the client failed. */
export type Asked = Readonly<{
  /** Of curl: 0, or what broke. */
  code: number;
  status: number;
  version: string;
  body: string;
}>;

export type Ask = Readonly<{
  gateway: string;
  port?: number;
  /** What is asked for in the handshake, and the host of the request unless told otherwise. */
  name: string;
  host?: string;
  /** Who has signed the server's certificate. */
  ca?: string;
  certificate?: Pair;
  more?: readonly string[];
}>;

const FORMAT = '\\n%{http_code} %{http_version}';

/** Asks a gateway by HTTPS with curl, whose view of names and certificates is nobody's of ours. */
export async function ask(mesh: GatewayMesh, question: Ask): Promise<Asked> {
  const { gateway, port = 443, name, host, ca = CA.rootPem, certificate, more = [] } = question;
  using folder = new TemporaryFolder();
  const file = (of: string, text: string): string => {
    const path = join(folder.path, of);
    writeFileSync(path, text);
    return path;
  };
  const own =
    certificate === undefined
      ? []
      : ['--cert', file('chain', certificate.chain), '--key', file('key', certificate.key)];
  const { code, stdout } = await mesh.mesh.exec(`${CLIENT}/client`, [
    ...['curl', '-sS', '-m', '10', '--cacert', file('ca', ca), ...own, '-w', FORMAT],
    ...['--resolve', `${name}:${port}:${mesh.addressOf(gateway)}`],
    ...(host === undefined ? [] : ['-H', `host: ${host}`]),
    ...[...more, `https://${name}:${port}/`],
  ]);
  const at = stdout.lastIndexOf('\n');
  const [status = '0', version = ''] = stdout.slice(at + 1).split(' ');
  return { code, status: Number(status), version, body: stdout.slice(0, Math.max(0, at)) };
}

/** Answers by TLS on 8443 with what it saw: the name that was asked for, and who asked. */
const SERVER = `require('node:https').createServer({
  cert: process.env.CHAIN, key: process.env.KEY, ca: process.env.ROOT, requestCert: true, rejectUnauthorized: false,
}, ({ socket, headers }, response) => {
  response.end(JSON.stringify({
    backend: process.env.NAME, sni: socket.servername, authorized: socket.authorized, host: headers.host,
  }));
}).listen(8443)`;

/** A Pod that speaks TLS, with its Service: port 443. */
export function tlsBackend(name: string, { chain, key }: Pair, namespace = INFRA): Manifest[] {
  const env = { NAME: name, CHAIN: chain, KEY: key, ROOT: CA.rootPem };
  return [
    {
      ...{ apiVersion: 'v1', kind: 'Pod' },
      metadata: { name, namespace, labels: { app: name } },
      spec: {
        terminationGracePeriodSeconds: 1,
        containers: [
          {
            ...{ name: 'tls', image: 'local/node', command: [process.execPath, '-e', SERVER] },
            env: Object.entries(env).map(([variable, value]) => ({ name: variable, value })),
            readinessProbe: { tcpSocket: { port: 8443 }, periodSeconds: 1 },
          },
        ],
      },
    },
    {
      ...{ apiVersion: 'v1', kind: 'Service', metadata: { name, namespace } },
      spec: { selector: { app: name }, ports: [{ name: 'https', port: 443, targetPort: 8443 }] },
    },
  ];
}
