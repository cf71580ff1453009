import test from 'ava';
import { startMesh } from '../support/mesh.ts';
import { waypointReady, waypointYaml } from '../support/mesh-waypoints.ts';
import { namespaceYaml, podYaml } from '../support/mesh-yaml.ts';

/** Says who it is, and what it was asked. */
const SERVER = `require('node:http').createServer((request, response) => {
  response.setHeader('x-pod', process.env.POD);
  response.end(JSON.stringify({ url: request.url, headers: request.headers }));
}).listen(8080)`;

function serverYaml(name: string, labels: Readonly<Record<string, string>>): string {
  return `---\n${JSON.stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'shop', labels },
    spec: {
      containers: [
        {
          ...{ name: 'web', image: 'local/node', command: [process.execPath, '-e', SERVER] },
          env: [{ name: 'POD', value: name }],
          readinessProbe: { tcpSocket: { port: 8080 } },
        },
      ],
    },
  })}\n`;
}

function service(name: string, selector: object, labels: object = {}): string {
  return `---\n${JSON.stringify({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: 'shop', labels },
    spec: { selector, ports: [{ name: 'http', port: 80, targetPort: 8080 }] },
  })}\n`;
}

const ROUTE = `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: web, port: 80}]
  rules:
    - matches: [{path: {type: PathPrefix, value: /two}}]
      backendRefs: [{name: two, port: 80}]
    - matches: [{path: {type: PathPrefix, value: /moved}}]
      filters: [{type: RequestRedirect, requestRedirect: {hostname: example.org}}]
    - matches: [{path: {type: PathPrefix, value: /}}]
      filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-rule, value: one}]}}]
      backendRefs: [{name: one, port: 80}]
`;

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop'),
    podYaml('client', { node: 'node-1' }),
    serverYaml('one', { app: 'web', version: 'one' }),
    serverYaml('two', { app: 'web', version: 'two' }),
    service('one', { version: 'one' }),
    service('two', { version: 'two' }),
    waypointYaml('waypoint'),
    service('web', { app: 'web' }, { 'istio.io/use-waypoint': 'waypoint' }),
    ROUTE,
  ].join(''),
});

async function curl(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await mesh.exec('shop/client', [
    'curl',
    '-sS',
    '-m',
    '10',
    ...args,
  ]);
  if (code !== 0) throw new Error(`curl ${args.join(' ')} ended with ${code}: ${stderr}`);
  return stdout;
}

test.before('the waypoint runs', async () => {
  await waypointReady(mesh, 'waypoint');
});

test.serial(
  'an HTTPRoute decides where requests to a service go, and what they carry',
  async (t) => {
    const url = `http://${await mesh.vip('web')}`;
    const one = await curl('-i', `${url}/a?b=c`);
    t.log(one);
    t.regex(one, /^x-pod: one/m);
    t.regex(one, /"x-rule":"one"/);
    const two = await curl('-i', `${url}/two/x`);
    t.regex(two, /^x-pod: two/m);
    const moved = await curl('-i', `${url}/moved/x`);
    t.regex(moved, /^HTTP\/1.1 302/);
    t.regex(moved, /^location: http:\/\/example\.org\/moved\/x/m);
    const h2 = await curl('-i', '--http2-prior-knowledge', `${url}/two/y`);
    t.log(h2);
    t.regex(h2, /^x-pod: two/m);
  },
);

const DENY_ADMIN = `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-admin, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: web}]
  action: DENY
  rules: [{to: [{operation: {paths: [/admin*]}}]}]
`;

test.serial('a policy of paths is enforced, however the path is written', async (t) => {
  await mesh.apply(DENY_ADMIN);
  await mesh.settled();
  const url = `http://${await mesh.vip('web')}`;
  for (const path of [
    '/admin',
    '/admin/x',
    '//admin',
    '/a/../admin',
    '/%61dmin',
    '/x/%2e%2e/admin',
  ]) {
    const answer = await curl('-i', '--path-as-is', `${url}${path}`);
    t.regex(answer, /^HTTP\/1.1 403/, path);
    t.regex(answer, /RBAC: access denied/, path);
  }
  t.regex(await curl('-i', `${url}/a`), /^x-pod: one/m);
  t.regex(await curl('-i', `${url}/administrator`), /^HTTP\/1.1 403/);
});
