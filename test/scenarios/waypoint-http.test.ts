import test from 'ava';
import { curlIn } from '../support/mesh-curl.ts';
import { startMesh } from '../support/mesh.ts';
import { waypointReady, waypointYaml } from '../support/mesh-waypoints.ts';
import {
  httpServiceYaml,
  namespaceYaml,
  podYaml,
  serverPodYaml,
  waypointServiceYaml,
} from '../support/mesh-yaml.ts';

/** Says who it is, and what it was asked. */
const SERVER = `const seen = [];
const server = require('node:http').createServer({ keepAliveTimeout: 0 }, async (request, response) => {
  let body = '';
  for await (const chunk of request) body += chunk;
  const { url, headers } = request;
  if (url === '/seen') return response.end(JSON.stringify(seen));
  if (url === '/connections') return server.getConnections((error, count) => response.end(String(count)));
  seen.push({ url, host: headers.host, body });
  response.setHeader('x-pod', process.env.POD_NAME);
  response.end(JSON.stringify({ url, headers, body }));
}).listen(8080);`;

function serverYaml(version: string): string {
  return serverPodYaml(version, { labels: { app: 'web', version }, program: SERVER });
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
    - matches: [{path: {type: PathPrefix, value: /copied}}]
      filters: [{type: RequestMirror, requestMirror: {backendRef: {name: two, port: 80}}}]
      backendRefs: [{name: one, port: 80}]
    - matches: [{path: {type: PathPrefix, value: /}}]
      filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-rule, value: one}]}}]
      backendRefs: [{name: one, port: 80}]
`;

const TCP_ROUTE = `---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: bytes, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: bytes}]
  rules: [{backendRefs: [{name: two, port: 80}]}]
`;

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop'),
    podYaml('client', { node: 'node-1' }),
    serverYaml('one'),
    serverYaml('two'),
    httpServiceYaml('one', { selector: { version: 'one' } }),
    httpServiceYaml('two', { selector: { version: 'two' } }),
    waypointYaml('waypoint'),
    waypointServiceYaml('web'),
    waypointServiceYaml('bytes', { selector: { app: 'web' } }),
    ROUTE,
    TCP_ROUTE,
  ].join(''),
});

const curl = curlIn(mesh, 'shop/client');

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

test.serial(
  'a mirror gets what the backend gets, and the client hears of the backend alone',
  async (t) => {
    const url = `http://${await mesh.vip('web')}/copied`;
    const answer = await curl('-i', '-d', 'some body', `${url}?n=1`);
    t.regex(answer, /^x-pod: one/m);
    t.regex(answer, /"body":"some body"/);
    // Plain, past the waypoint: what the pod of the mirror has seen.
    const seen = `http://${await mesh.ip('shop/two')}:8080/seen`;
    for (;;) {
      const copies = (
        JSON.parse(await curl(seen)) as { url: string; host: string; body: string }[]
      ).filter((one) => one.url.startsWith('/copied'));
      if (copies.length === 0) continue; // the copy is on its way
      t.deepEqual(
        copies.map(({ url, body }) => [url, body]),
        [['/copied?n=1', 'some body']],
      );
      t.regex(copies[0]?.host ?? '', /-shadow$/);
      break;
    }
  },
);

test.serial('a TCPRoute carries whole connections, whatever is in them', async (t) => {
  for (let count = 0; count < 5; count++) {
    const answer = await curl('-i', `http://${await mesh.vip('bytes')}/x`);
    t.regex(answer, /^x-pod: two/m);
    t.notRegex(answer, /^server: istio-envoy/m);
  }
});

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

const FIVE = `---
apiVersion: halo.dev/v1alpha1
kind: RateLimitPolicy
metadata: {name: five, namespace: shop}
spec:
  targetRefs: [{kind: Service, name: web}]
  rules:
    - name: limited
      match: {path: {type: Exact, value: /limited}}
      key: [{type: Identity}]
      limit: {requests: 5, per: 1h}
`;

test.serial('a RateLimitPolicy lets so many requests of one account through', async (t) => {
  await mesh.apply(FIVE);
  await mesh.settled();
  const url = `http://${await mesh.vip('web')}`;
  const statuses: string[] = [];
  for (let count = 0; count < 7; count++)
    statuses.push(/^HTTP\/1.1 (\d+)/.exec(await curl('-i', `${url}/limited`))?.[1] ?? '');
  t.deepEqual(statuses, ['200', '200', '200', '200', '200', '429', '429']);
  t.regex(await curl('-i', `${url}/a`), /^HTTP\/1.1 200/);
});

test.serial('connections to an endpoint that leaves its service are not kept', async (t) => {
  t.regex(await curl('-i', `http://${await mesh.vip('web')}/a`), /^x-pod: one/m);
  // Plain, past the waypoint, by a connection that counts itself.
  const connections = async (): Promise<number> =>
    Number(await curl(`http://${await mesh.ip('shop/one')}:8080/connections`));
  t.true((await connections()) > 1);
  await mesh.apply(httpServiceYaml('one', { selector: { version: 'none' } }));
  while ((await connections()) > 1) continue;
  t.pass();
});
