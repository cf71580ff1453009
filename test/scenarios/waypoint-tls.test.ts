import test, { type ExecutionContext } from 'ava';
import { explainConnection } from '../../cli/explain-connection.ts';
import { formatExplanation } from '../../cli/explain-text.ts';
import { isRecord } from '../../deploy/sandbox/documents.ts';
import { curlIn } from '../support/mesh-curl.ts';
import { startMesh } from '../support/mesh.ts';
import { waypointReady, waypointYaml } from '../support/mesh-waypoints.ts';
import {
  namespaceYaml,
  objectsYaml,
  podYaml,
  serverPodYaml,
  serviceYaml,
  USE_WAYPOINT,
} from '../support/mesh-yaml.ts';
import { makeTestCa } from '../support/test-ca.ts';

const ca = makeTestCa();
const HOST = 'web.example.com';
const server = ca.issue('spiffe://cluster.local/ns/shop/sa/web', {
  ...{ uris: [], dnsNames: [HOST] },
});
const client = ca.issue('spiffe://cluster.local/ns/shop/sa/client');

/** TLS on 8443, with client certificates where they are shown; says what it saw. */
const SERVER = `require('node:https').createServer({
  cert: process.env.CHAIN, key: process.env.KEY, ca: process.env.ROOT, requestCert: true, rejectUnauthorized: false,
}, ({ socket, url }, response) => {
  const { servername: sni, authorized } = socket;
  const client = socket.getPeerCertificate().subjectaltname ?? '';
  response.end(JSON.stringify({ pod: process.env.POD_NAME, sni, authorized, client, url }));
}).listen(8443)`;

function serverYaml(name: string, labels: Readonly<Record<string, string>> = {}): string {
  const pair = { CHAIN: server.chainPem.join(''), KEY: server.privateKeyPem };
  const env = { ...pair, ROOT: ca.rootPem };
  return serverPodYaml(name, { labels, program: SERVER, env, port: 8443 });
}

function tlsServiceYaml(name: string, app: string, port: object = {}): string {
  const ports = [{ name: 'http', port: 80, targetPort: 8443, ...port }];
  return serviceYaml(name, {}, { selector: { app }, ports }, 'shop', USE_WAYPOINT);
}

function rule(name: string, tls: object): string {
  return objectsYaml({
    ...{ apiVersion: 'networking.istio.io/v1', kind: 'DestinationRule' },
    ...{ metadata: { name, namespace: 'shop' }, spec: { host: name, trafficPolicy: { tls } } },
  });
}

function backendTls(name: string, hostname: string, configMap: string): string {
  return objectsYaml({
    ...{ apiVersion: 'gateway.networking.k8s.io/v1', kind: 'BackendTLSPolicy' },
    metadata: { name, namespace: 'shop' },
    spec: {
      targetRefs: [{ group: '', kind: 'Service', name }],
      validation: {
        caCertificateRefs: [{ group: '', kind: 'ConfigMap', name: configMap }],
        hostname,
      },
    },
  });
}

/** What the waypoint shows to applications, and the root by which it judges them. */
function secretYaml(rootPem: string): string {
  return objectsYaml({
    ...{ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'client', namespace: 'shop' } },
    stringData: {
      ...{ 'tls.crt': client.chainPem.join(''), 'tls.key': client.privateKeyPem },
      'ca.crt': rootPem,
    },
  });
}

const PEOPLE = {
  ...{ out: () => undefined, note: () => undefined, interactive: false, colours: false },
  signal: new AbortController().signal,
};
const OUTSIDE = { 'istio.io/dataplane-mode': 'none' };

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop'),
    podYaml('client', { node: 'node-1' }),
    serverYaml('web'),
    serverYaml('outside', OUTSIDE),
    waypointYaml('waypoint'),
    ...['simple', 'mutual', 'policy', 'wrong', 'missing'].map((name) =>
      tlsServiceYaml(name, 'web'),
    ),
    tlsServiceYaml('outer', 'outside'),
    tlsServiceYaml('bytes', 'web', { name: 'tcp' }),
    objectsYaml({
      ...{ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'roots', namespace: 'shop' } },
      data: { 'ca.crt': ca.rootPem },
    }),
    secretYaml(ca.rootPem),
    rule('simple', { mode: 'SIMPLE', credentialName: 'client', sni: HOST }),
    rule('mutual', { mode: 'MUTUAL', credentialName: 'client', sni: HOST }),
    rule('outer', { mode: 'SIMPLE', credentialName: 'client', sni: HOST }),
    rule('bytes', { mode: 'SIMPLE', credentialName: 'client', sni: HOST }),
    backendTls('policy', HOST, 'roots'),
    backendTls('wrong', 'other.example.com', 'roots'),
    backendTls('missing', HOST, 'absent'),
  ].join(''),
});

test.before('the waypoint runs', async () => {
  await waypointReady(mesh, 'waypoint');
});

const curl = curlIn(mesh, 'shop/client');

async function ask(service: string): Promise<unknown> {
  return JSON.parse(await curl(`http://${await mesh.vip(service)}/x`));
}

async function refused(t: ExecutionContext, service: string): Promise<void> {
  const answer = await curl('-i', `http://${await mesh.vip(service)}/x`);
  t.regex(answer, /^HTTP\/1\.1 503 /, service);
  t.notRegex(answer, /"pod"/, service);
}

const PLAIN_CLIENT = { sni: HOST, authorized: false, client: '', url: '/x' };

test.serial('a DestinationRule makes the waypoint speak TLS with the application', async (t) => {
  t.deepEqual(await ask('simple'), { pod: 'web', ...PLAIN_CLIENT });
  t.deepEqual(await ask('mutual'), {
    ...{ pod: 'web', sni: HOST, authorized: true, client: `URI:${client.identity}`, url: '/x' },
  });
});

test.serial('an application that is outside of the mesh is reached by TLS alone', async (t) => {
  t.deepEqual(await ask('outer'), { pod: 'outside', ...PLAIN_CLIENT });
});

test.serial('bytes of a TCP port go inside of TLS too', async (t) => {
  t.deepEqual(await ask('bytes'), { pod: 'web', ...PLAIN_CLIENT });
});

test.serial('a BackendTLSPolicy does the same, and refuses who proves another name', async (t) => {
  t.deepEqual(await ask('policy'), { pod: 'web', ...PLAIN_CLIENT });
  await refused(t, 'wrong');
  await refused(t, 'missing');
});

test.serial('its status tells each Gateway whether it is in force', async (t) => {
  const conditions = async (name: string): Promise<unknown> => {
    const found = await mesh.watch(
      'BackendTLSPolicy',
      ({ metadata, ...rest }) =>
        metadata.name === name && isRecord(rest['status']) && 'ancestors' in rest['status'],
      `${name} has a status`,
    );
    return found['status'];
  };
  t.like(await conditions('policy'), {
    ancestors: [
      {
        ancestorRef: { kind: 'Gateway', namespace: 'shop', name: 'waypoint' },
        conditions: [
          { type: 'Accepted', status: 'True', observedGeneration: 1 },
          { type: 'ResolvedRefs', status: 'True' },
        ],
      },
    ],
  });
  t.like(await conditions('missing'), {
    ancestors: [
      {
        conditions: [
          { type: 'Accepted', status: 'False', reason: 'NoValidCACertificate' },
          { type: 'ResolvedRefs', status: 'False', reason: 'InvalidCACertificateRef' },
        ],
      },
    ],
  });
});

test.serial(
  'halo explain tells of TLS, and of why there is none, with nothing of keys',
  async (t) => {
    const explain = async (service: string): Promise<string> => {
      const found = await explainConnection(
        mesh.sandbox,
        'shop/client',
        `${service}.shop:80`,
        undefined,
        { request: { method: 'GET', path: '/', headers: [] } },
      );
      return formatExplanation(PEOPLE, found);
    };
    const mutual = await explain('mutual');
    t.regex(mutual, /with a certificate of ours, server web\.example\.com, accepted as/);
    t.notRegex(mutual, /BEGIN/);
    t.regex(await explain('missing'), /ConfigMap shop\/absent does not exist/);
  },
);

test.serial(
  'a Secret that is exchanged counts for the next request, one that goes refuses',
  async (t) => {
    const stranger = makeTestCa();
    await mesh.apply(secretYaml(stranger.rootPem));
    await refused(t, 'simple');
    await mesh.apply(secretYaml(ca.rootPem));
    t.deepEqual(await ask('simple'), { pod: 'web', ...PLAIN_CLIENT });
    await mesh.delete('Secret', 'client');
    await refused(t, 'simple');
    await refused(t, 'mutual');
  },
);
