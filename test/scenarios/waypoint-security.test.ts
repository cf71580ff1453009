import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { leafCertificates, type ConfigDump } from '../../cli/ztunnel-tables.ts';
import { privateKeyPem } from '../../certs/keys.ts';
import { makeCrl } from '../support/crl.ts';
import { JWT_ISSUER, makeJwtSigner } from '../support/jwt.ts';
import { curlIn } from '../support/mesh-curl.ts';
import { startMesh } from '../support/mesh.ts';
import { waypointReady, waypointYaml } from '../support/mesh-waypoints.ts';
import { policyYaml } from '../support/mesh-policies.ts';
import {
  namespaceYaml,
  objectsYaml,
  podYaml,
  serverPodYaml,
  serviceYaml,
  USE_WAYPOINT,
  waypointServiceYaml,
} from '../support/mesh-yaml.ts';
import { TemporaryFolder } from '../support/temporary-folder.ts';
import { makeTestCa } from '../support/test-ca.ts';

const temporary = new TemporaryFolder();
/** A CA of the test's own, so that it can sign revocation lists. */
const ca = makeTestCa({ intermediates: 1 });
const cacerts = join(temporary.path, 'cacerts');
const crlPath = join(temporary.path, 'lists', 'crl');

mkdirSync(cacerts);
for (const [name, text] of Object.entries({
  'ca-cert.pem': ca.intermediatesPem[0] ?? '',
  'ca-key.pem': privateKeyPem(ca.keys.privateKey),
  'cert-chain.pem': ca.intermediatesPem.join(''),
  'root-cert.pem': ca.rootPem,
}))
  writeFileSync(join(cacerts, name), text);
mkdirSync(join(temporary.path, 'lists'));
writeFileSync(crlPath, makeCrl(ca, []));

/** Answers with what it was asked, and outlives requests that are broken off. */
const ECHO = `process.on('unhandledRejection', () => undefined);
require('node:http').createServer(async (request, response) => {
  let body = '';
  for await (const chunk of request) body += chunk;
  const { url, headers } = request;
  response.end(JSON.stringify({ url, headers, body }));
}).listen(8080)`;
/** Lets through whose body says so. */
const AUTHORIZER = `require('node:http').createServer(async (request, response) => {
  let body = '';
  for await (const chunk of request) body += chunk;
  response.setHeader('x-asked', request.url);
  response.writeHead(body === 'please' ? 200 : 403).end('say please');
}).listen(8080)`;

function document(apiVersion: string, kind: string, name: string, spec: object): string {
  return objectsYaml({ apiVersion, kind, metadata: { name, namespace: 'shop' }, spec });
}

function meshConfigYaml(mesh: object): string {
  const metadata = { name: 'istio', namespace: 'istio-system' };
  const data = { mesh: JSON.stringify(mesh) };
  return objectsYaml({ apiVersion: 'v1', kind: 'ConfigMap', metadata, data });
}

const WAYPOINT = { 'ambient.istio.io/xfcc-include-client-identity': 'true' };
const EXT_AUTHZ = {
  service: 'authorizer.auth.svc.cluster.local',
  port: 80,
  pathPrefix: '/check',
  includeRequestBodyInCheck: { maxRequestBytes: 10 },
  headersToUpstreamOnAllow: ['x-asked'],
};

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop'),
    podYaml('client', { node: 'node-1' }),
    podYaml('revoked', { node: 'node-1' }),
    podYaml('web', { node: 'node-2' }),
    waypointYaml('waypoint', { annotations: WAYPOINT }),
    serviceYaml('web', { 80: 80 }, {}, 'shop', USE_WAYPOINT),
    serverPodYaml('echo', { program: ECHO }),
    waypointServiceYaml('echo'),
    namespaceYaml('istio-system', {}),
    namespaceYaml('auth', {}),
    serverPodYaml('authorizer', { namespace: 'auth', program: AUTHORIZER }),
    serviceYaml('authorizer', { 80: 8080 }, {}, 'auth'),
    meshConfigYaml({ extensionProviders: [{ name: 'asker', envoyExtAuthzHttp: EXT_AUTHZ }] }),
  ].join(''),
  settings: {
    partEnvironment: {
      'istiod-lite': { CACERTS_DIR: cacerts },
      waypoint: { CRL_PATH: crlPath },
    },
  },
});

test.before('the waypoint runs', async () => {
  await (await mesh.peer('web')).listen(80);
  await waypointReady(mesh, 'waypoint');
});

test.after.always('nothing is left', () => {
  temporary[Symbol.dispose]();
});

type Echo = Readonly<{ url: string; headers: Readonly<Record<string, string>>; body: string }>;

const curlClient = curlIn(mesh, 'shop/client');

/** The last argument is a path of the service. */
async function curl(...args: readonly string[]): Promise<string> {
  const url = `http://${await mesh.vip('echo')}${args.at(-1) ?? ''}`;
  return curlClient('--path-as-is', ...args.slice(0, -1), url);
}

test.serial(
  'a back end is told who the client is where the Gateway says so, whatever the client says (M1)',
  async (t) => {
    const { headers } = JSON.parse(
      await curl('-H', 'x-forwarded-client-cert: URI=spiffe://forged', '/'),
    ) as Echo;
    t.is(
      headers['x-forwarded-client-cert'],
      'By=spiffe://cluster.local/ns/shop/sa/waypoint;URI=spiffe://cluster.local/ns/shop/sa/client',
    );
  },
);

test.serial(
  'MeshConfig says how paths are read, and a Gateway which names of fields are',
  async (t) => {
    const path = '/a//b/../c';
    t.is((JSON.parse(await curl(path)) as Echo).url, '/a/c');
    t.regex(await curl('-i', '-H', 'x_y: 1', '/'), /^HTTP\/1.1 400/);
    await mesh.apply(
      meshConfigYaml({
        extensionProviders: [{ name: 'asker', envoyExtAuthzHttp: EXT_AUTHZ }],
        pathNormalization: { normalization: 'BASE' },
      }),
      waypointYaml('waypoint', {
        annotations: { ...WAYPOINT, 'halo.dev/allow-header-underscores': 'true' },
      }),
    );
    const { url, headers } = JSON.parse(await curl('-H', 'x_y: 1', path)) as Echo;
    t.is(url, '/a//c');
    t.is(headers['x_y'], '1');
  },
);

test.serial('an authorizer is asked by HTTP, and shown the body', async (t) => {
  const spec = {
    targetRefs: [{ group: '', kind: 'Service', name: 'echo' }],
    ...{ action: 'CUSTOM', provider: { name: 'asker' } },
    rules: [{ to: [{ operation: { paths: ['/asked*'] } }] }],
  };
  await mesh.apply(policyYaml('asked', spec));
  const { headers, body } = JSON.parse(await curl('-d', 'please', '/asked/x')) as Echo;
  t.is(body, 'please');
  t.is(headers['x-asked'], '/check/asked/x');
  t.regex(await curl('-i', '-d', 'now', '/asked/x'), /^HTTP\/1.1 403 [^]*say please$/);
  t.regex(await curl('-i', '-d', 'please, please', '/asked/x'), /^HTTP\/1.1 413/);
  t.is((JSON.parse(await curl('-d', 'now', '/else')) as Echo).body, 'now');
  await mesh.delete('AuthorizationPolicy', 'asked');
});

test.serial(
  'a route asks for claims of a token, and a rule tells them to the back end',
  async (t) => {
    const signer = await makeJwtSigner();
    const echo = { host: 'echo' };
    await mesh.apply(
      document('security.istio.io/v1', 'RequestAuthentication', 'tokens', {
        targetRefs: [{ group: '', kind: 'Service', name: 'echo' }],
        jwtRules: [
          {
            ...{ issuer: JWT_ISSUER, jwks: JSON.stringify({ keys: [signer.jwk] }) },
            outputClaimToHeaders: [{ header: 'x-group', claim: 'group' }],
          },
        ],
      }),
      document('networking.istio.io/v1', 'VirtualService', 'by-claim', {
        hosts: ['echo'],
        http: [
          {
            match: [{ headers: { '@request.auth.claims.group': { exact: 'admin' } } }],
            headers: { request: { set: { 'x-route': 'admins' } } },
            route: [{ destination: echo }],
          },
          { route: [{ destination: echo }] },
        ],
      }),
    );
    const as = async (group?: string): Promise<Echo> => {
      const token = group === undefined ? undefined : await signer.sign({ group });
      const own = token === undefined ? [] : ['-H', `authorization: Bearer ${token}`];
      return JSON.parse(await curl('-H', 'x-group: admin', ...own, '/x')) as Echo;
    };
    const [admin, user, nobody] = [await as('admin'), await as('user'), await as()].map(
      ({ headers }) => [headers['x-route'], headers['x-group'], headers['authorization']],
    );
    t.deepEqual(admin, ['admins', 'admin', undefined]);
    t.deepEqual(user, [undefined, 'user', undefined]);
    t.deepEqual(nobody, [undefined, undefined, undefined], 'nobody may say it for himself');
    await mesh.delete('VirtualService', 'by-claim');
    await mesh.delete('RequestAuthentication', 'tokens');
  },
);

test.serial('a policy ends the requests that it forbids, and only those (A8)', async (t) => {
  const client = await mesh.peer('client');
  const [forbidden, kept] = [
    await client.connect(await mesh.vip('echo'), 80),
    await client.connect(await mesh.vip('echo'), 80),
  ];
  const close = 'Host: echo\r\nConnection: close\r\n';
  const head = `HTTP/1.1\r\n${close}Expect: 100-continue\r\nContent-Length: 4\r\n\r\n`;
  const goOn = 'HTTP/1.1 100 Continue\r\n\r\n';
  for (const [connection, path] of [
    [forbidden, '/forbidden'],
    [kept, '/kept'],
  ] as const) {
    await connection.write(`POST ${path} ${head}`);
    t.is((await connection.read(goOn.length)).text, goOn); // policy has let it through
  }
  const rules = [{ to: [{ operation: { paths: ['/forbidden'] } }] }];
  const targetRefs = [{ group: '', kind: 'Service', name: 'echo' }];
  await mesh.apply(policyYaml('forbid', { action: 'DENY', targetRefs, rules }));
  t.is((await forbidden.ended()).how, 'ECONNRESET');
  await kept.write('abcd');
  t.regex((await kept.ended()).text, /"body":"abcd"/);
  await mesh.delete('AuthorizationPolicy', 'forbid');
});

/** Of the certificate that an identity has now. */
async function serialOf(node: string, identity: string): Promise<string> {
  const dump = (await mesh.page(node, '/config_dump')) as ConfigDump;
  const leaf = leafCertificates(dump).find((one) => one.identity === identity);
  return leaf?.serialNumber ?? '';
}

test.serial(
  'a waypoint cuts off who is on a new revocation list, and lets nobody like that in (T17)',
  async (t) => {
    const [kept, cut] = await Promise.all(
      ['client', 'revoked'].map(async (pod) =>
        (await mesh.peer(pod)).connect(await mesh.vip('web'), 80),
      ),
    );
    if (kept === undefined || cut === undefined) throw new Error('no connections');
    t.true(await kept.echo('before'));
    t.true(await cut.echo('before'));
    const serial = await serialOf('node-1', 'spiffe://cluster.local/ns/shop/sa/revoked');
    t.not(serial, '');
    writeFileSync(crlPath, makeCrl(ca, [serial]));
    t.is((await cut.ended()).how, 'ECONNRESET');
    t.true(await kept.echo('after'));
    const again = await (await mesh.peer('revoked')).say(await mesh.vip('web'), 80, 'hello');
    t.is(again.text, '');
    t.true(await kept.echo('still'));

    // And an endpoint, which the waypoint dials.
    const web = await serialOf('node-2', 'spiffe://cluster.local/ns/shop/sa/web');
    writeFileSync(crlPath, makeCrl(ca, [web]));
    t.is((await kept.ended()).how, 'ECONNRESET');
    const refused = await (await mesh.peer('client')).say(await mesh.vip('web'), 80, 'hello');
    t.is(refused.text, '');
    writeFileSync(crlPath, makeCrl(ca, []));
    for (;;) {
      // The file is read once it has settled.
      const { text } = await (await mesh.peer('client')).say(await mesh.vip('web'), 80, 'hello');
      if (text === 'hello') break;
    }
  },
);
