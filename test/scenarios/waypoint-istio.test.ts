import test from 'ava';
import { curlIn } from '../support/mesh-curl.ts';
import { startMesh } from '../support/mesh.ts';
import { waypointReady, waypointYaml } from '../support/mesh-waypoints.ts';
import {
  namespaceYaml,
  podYaml,
  serverPodYaml,
  waypointServiceYaml,
} from '../support/mesh-yaml.ts';

/** Says who it is and what it was asked; `?fail=N&key=K` fails N times first, `?ms=N` takes so long. */
const SERVER = `const seen = [];
const failures = new Map();
require('node:http').createServer((request, response) => {
  const { url, headers, method } = request;
  const { pathname, searchParams } = new URL(url, 'http://server');
  if (pathname === '/seen') return response.end(JSON.stringify(seen));
  seen.push(url);
  const [key, fail] = [searchParams.get('key'), Number(searchParams.get('fail'))];
  const failed = failures.get(key) ?? 0;
  failures.set(key, failed + 1);
  setTimeout(() => {
    response.writeHead(failed < fail ? 503 : 200, { 'x-pod': process.env.POD_NAME });
    response.end(JSON.stringify({ url, headers, method }));
  }, Number(searchParams.get('ms')));
}).listen(8080)`;

function serverOf(version: string): string {
  const labels = { app: 'web', version };
  return serverPodYaml(version, { labels, program: SERVER });
}

const DESTINATION_RULE = `---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec:
  host: web.shop.svc.cluster.local
  subsets:
    - {name: one, labels: {version: one}}
    - {name: two, labels: {version: two}}
    - name: by-cookie
      labels: {app: web}
      trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: user, ttl: 60s}}}}
    - name: by-header
      labels: {app: web}
      trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}
`;

const VIRTUAL_SERVICE = `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec:
  hosts: [web.shop.svc.cluster.local]
  http:
    - match: [{uri: {prefix: /}, headers: {x-version: {exact: two}}}]
      route: [{destination: {host: web.shop.svc.cluster.local, subset: two}}]
    - match: [{uri: {regex: "/item/[0-9]+"}, method: {exact: PUT}}]
      route: [{destination: {host: web.shop.svc.cluster.local, subset: two}}]
    - match: [{uri: {prefix: /old/}}]
      rewrite: {uri: /new/, authority: other.example}
      route: [{destination: {host: web.shop.svc.cluster.local, subset: one}}]
    - match: [{uri: {exact: /teapot}}]
      fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
      route: [{destination: {host: web.shop.svc.cluster.local, subset: one}}]
    - match: [{uri: {exact: /late}}]
      fault: {delay: {fixedDelay: 300ms, percentage: {value: 100}}}
      route: [{destination: {host: web.shop.svc.cluster.local, subset: one}}]
    - match: [{uri: {exact: /flaky}}]
      retries: {attempts: 3, retryOn: 5xx, perTryTimeout: 2s}
      route: [{destination: {host: web.shop.svc.cluster.local, subset: one}}]
    - match: [{uri: {exact: /slow}}]
      timeout: 200ms
      route: [{destination: {host: web.shop.svc.cluster.local, subset: one}}]
    - match: [{uri: {exact: /copied}}]
      mirror: {host: web.shop.svc.cluster.local, subset: two}
      mirrorPercentage: {value: 100}
      route: [{destination: {host: web.shop.svc.cluster.local, subset: one}}]
    - match: [{uri: {exact: /cookie}}]
      route: [{destination: {host: web.shop.svc.cluster.local, subset: by-cookie}}]
    - match: [{uri: {exact: /header}}]
      route: [{destination: {host: web.shop.svc.cluster.local, subset: by-header}}]
    - route:
        - {destination: {host: web.shop.svc.cluster.local, subset: one}, weight: 100}
        - {destination: {host: web.shop.svc.cluster.local, subset: two}, weight: 0}
`;

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop'),
    podYaml('client', { node: 'node-1' }),
    serverOf('one'),
    serverOf('two'),
    waypointYaml('waypoint'),
    waypointServiceYaml('web'),
    DESTINATION_RULE,
    VIRTUAL_SERVICE,
  ].join(''),
});

test.before('the waypoint runs', async () => {
  await waypointReady(mesh, 'waypoint');
});

const curl = curlIn(mesh, 'shop/client');

type Answer = Readonly<{ status: number; pod: string; head: string; body: string }>;

/** Asks the service, in one program for all, so that many cost little. */
async function ask(path: string, ...args: readonly string[]): Promise<Answer> {
  const [answer] = await askAll(path, 1, ...args);
  return answer as Answer;
}

async function askAll(path: string, count: number, ...args: readonly string[]): Promise<Answer[]> {
  const between = path.includes('?') ? '&' : '?';
  const url = `http://web.shop${path}${count === 1 ? '' : `${between}n=[1-${count}]`}`;
  const text = await curl('-i', '-w', '\n%%end\n', ...args, url);
  return text
    .split('\n%end\n')
    .filter((one) => one !== '')
    .map((one) => {
      const [head = '', body = ''] = one.split('\r\n\r\n');
      const status = Number(/^HTTP\/1.1 (\d+)/.exec(head)?.[1]);
      return { status, pod: /^x-pod: (.*)$/im.exec(head)?.[1]?.trim() ?? '', head, body };
    });
}

/** What a pod was asked, as it tells at its own address, past the waypoint. */
async function seenBy(pod: string): Promise<readonly string[]> {
  return JSON.parse(await curl(`http://${await mesh.ip(`shop/${pod}`)}:8080/seen`)) as string[];
}

test.serial(
  'a VirtualService finds its rule by path, header and method, and the subset with it',
  async (t) => {
    t.is((await ask('/')).pod, 'one');
    t.is((await ask('/', '-H', 'x-version: two')).pod, 'two');
    t.is((await ask('/item/7', '-X', 'PUT')).pod, 'two');
    t.is((await ask('/item/7')).pod, 'one');
    t.is((await ask('/item/x', '-X', 'PUT')).pod, 'one');
  },
);

test.serial('a VirtualService rewrites path and authority', async (t) => {
  const { pod, body } = await ask('/old/x?y=1');
  t.is(pod, 'one');
  t.like(JSON.parse(body), { url: '/new/x?y=1', headers: { host: 'other.example' } });
});

test.serial('a VirtualService makes faults: an answer of its own, and a delay', async (t) => {
  const before = await seenBy('one');
  const teapot = await ask('/teapot');
  t.like(teapot, { status: 418, pod: '', body: 'fault filter abort' });
  const seconds = await curl(
    '-o',
    '/dev/null',
    '-w',
    '%{time_starttransfer}',
    'http://web.shop/late',
  );
  t.true(Number(seconds) >= 0.3, seconds);
  t.deepEqual((await seenBy('one')).slice(before.length), ['/late']);
});

test.serial('a VirtualService retries, so often and no more', async (t) => {
  t.is((await ask('/flaky?key=a&fail=3')).status, 200);
  t.is((await ask('/flaky?key=b&fail=4')).status, 503);
  const tries = (await seenBy('one')).filter((url) => url.startsWith('/flaky'));
  t.is(tries.filter((url) => url.includes('key=a')).length, 4);
  t.is(tries.filter((url) => url.includes('key=b')).length, 4);
});

test.serial('a VirtualService ends what takes too long', async (t) => {
  t.is((await ask('/slow')).status, 200);
  t.like(await ask('/slow?ms=5000'), { status: 504, pod: '', body: 'upstream request timeout' });
});

test.serial(
  'a VirtualService sends a copy to another subset, whose answer nobody gets',
  async (t) => {
    t.is((await ask('/copied?to=both')).pod, 'one');
    while (!(await seenBy('two')).includes('/copied?to=both')); // it is on its way
    t.true((await seenBy('one')).includes('/copied?to=both'));
  },
);

test.serial(
  'a DestinationRule keeps who has a cookie at one pod, and gives one to who has none',
  async (t) => {
    const first = await ask('/cookie');
    const [, cookie = ''] = /^set-cookie: (user="?[^;"]+"?)/im.exec(first.head) ?? [];
    t.not(cookie, '', first.head);
    t.regex(first.head, /^set-cookie: .*Max-Age=60/im);
    const later = await askAll('/cookie', 10, '-H', `cookie: ${cookie}`);
    t.deepEqual([...new Set(later.map(({ pod }) => pod))], [first.pod]);
    t.true(later.every(({ head }) => !/^set-cookie:/im.test(head)));
    // One chance in 2^29 that all new ones fall on one pod.
    const others = await askAll('/cookie', 30);
    t.deepEqual([...new Set(others.map(({ pod }) => pod))].sort(), ['one', 'two']);
  },
);

test.serial('a DestinationRule chooses the pod by the hash of a header', async (t) => {
  const pods = new Set<string>();
  for (let user = 0; user < 12; user++) {
    const answers = await askAll('/header', 4, '-H', `x-user: user-${user}`);
    const [pod = ''] = answers.map((answer) => answer.pod);
    t.deepEqual([...new Set(answers.map((answer) => answer.pod))], [pod], `user ${user}`);
    pods.add(pod);
  }
  t.deepEqual([...pods].sort(), ['one', 'two']);
});
