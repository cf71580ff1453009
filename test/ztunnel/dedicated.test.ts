import test from 'ava';
import { socketAddress } from '../../base/address.ts';
import { PROXY_MARK } from '../../deploy/node-agent/rules.ts';
import type { Netns } from '../../net/netns.ts';
import { connectTcp } from '../../net/tcp.ts';
import { captureByMark } from '../support/capture.ts';
import { Collector } from '../support/collect.ts';
import {
  CONTROL_IP,
  curl,
  DedicatedMesh,
  PROXY_GROUP,
  type DedicatedProgram,
} from '../support/dedicated-mesh.ts';
import { runInside } from '../support/namespace.ts';

const [CLIENT_IP, SERVER_IP, PLAIN_IP, VIP] = ['10.7.0.1', '10.7.0.2', '10.7.0.3', '10.96.0.10'];
const CLIENT = 'spiffe://cluster.local/ns/shop/sa/client';
const SERVER = 'spiffe://cluster.local/ns/shop/sa/server';
const SOCKS5 = '127.0.0.1:15080';
const PORT = 8080;

const podYaml = (name: string, ip: string): string => `apiVersion: v1
kind: Pod
metadata:
  name: ${name}-1
  namespace: shop
  uid: uid-${name}
  labels: { app: ${name} }
  annotations: { ambient.istio.io/redirection: enabled }
spec: { nodeName: node-a, serviceAccountName: ${name} }
status: { phase: Running, podIP: ${ip}, conditions: [{ type: Ready, status: "True" }] }
---
`;
const SHOP = `${podYaml('client', CLIENT_IP)}${podYaml('server', SERVER_IP)}apiVersion: v1
kind: Service
metadata: { name: server, namespace: shop }
spec: { clusterIP: ${VIP}, selector: { app: server }, ports: [{ port: 80, targetPort: ${PORT} }] }
`;
const STRICT = `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: strict, namespace: shop }
spec: { mtls: { mode: STRICT } }
`;
const DENY = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: no-client, namespace: shop }
spec:
  selector: { matchLabels: { app: server } }
  action: DENY
  rules: [{ from: [{ source: { principals: [cluster.local/ns/shop/sa/client] } }] }]
`;

/** By the mark; the program's own connections to the control plane have none. */
function captureApplication(netns: Netns): void {
  captureByMark(netns);
  runInside(netns, `nft insert rule inet halo nat_output ip daddr ${CONTROL_IP} accept`);
}

/** Rules without any mark: the proxy is known by its group. */
function captureByGroup(netns: Netns): void {
  const rules = `table inet own {
    chain out {
      type nat hook output priority -100;
      meta skgid ${PROXY_GROUP} accept
      oifname "lo" accept
      meta l4proto tcp redirect to :15001
    }
    chain in {
      type nat hook prerouting priority dstnat;
      iifname "lo" accept
      tcp dport 15008 accept
      meta l4proto tcp redirect to :15006
    }
  }`;
  runInside(netns, 'nft -f -', rules);
}

type Rig = Readonly<{
  mesh: DedicatedMesh;
  client: Netns;
  server: Netns;
  plain: Netns;
  clientProxy: DedicatedProgram;
  serverProxy: DedicatedProgram;
}>;
let rig: Rig;

test.before('two workloads, each with a proxy of its own, and one without', async () => {
  const mesh = await DedicatedMesh.start(['shop/client', 'shop/server']);
  mesh.apply('shop', SHOP);
  const client = await mesh.addNamespace(CLIENT_IP);
  const server = await mesh.addNamespace(SERVER_IP);
  const plain = await mesh.addNamespace(PLAIN_IP);
  mesh.serveHttp(server, PORT, 'server');
  mesh.serveHttp(plain, PORT, 'plain');
  captureApplication(client);
  captureByGroup(server);
  const clientProxy = await mesh.startProxy(
    client,
    { name: 'client-1', uid: 'uid-client', serviceAccount: 'client' },
    { NODE_NAME: 'node-a', PACKET_MARK: String(PROXY_MARK), UNSTABLE_ENABLE_SOCKS5: 'true' },
  );
  const serverProxy = await mesh.startProxy(server, {
    ...{ name: 'server-1', uid: 'uid-server', serviceAccount: 'server' },
  });
  rig = { mesh, client, server, plain, clientProxy, serverProxy };
  await Promise.all([clientProxy.ready('/healthz/ready'), serverProxy.ready('/healthz/ready')]);
});

test.after.always(async () => {
  await rig.mesh[Symbol.asyncDispose]();
});

test.serial(
  'cross_node_captured_dedicated: mTLS with both identities, by address and VIP',
  async (t) => {
    const { client, clientProxy, serverProxy } = rig;
    for (const url of [`http://${SERVER_IP}:${PORT}/`, `http://${VIP}/`]) {
      const mark = Date.now();
      const { stdout, stderr } = await curl(client, url);
      // Without marks the proxy of the server keeps no address: answers would not find the way back to it.
      t.is(stdout, `server to ${SERVER_IP}\n`, stderr);
      const sent = await clientProxy.record({ message: 'connection complete' }, mark);
      t.like(sent, {
        ...{ direction: 'outbound', 'src.identity': CLIENT, 'dst.identity': SERVER },
        'dst.hbone_addr': `${SERVER_IP}:${PORT}`,
      });
      const received = await serverProxy.record({ message: 'connection complete' }, mark);
      t.like(received, {
        ...{ direction: 'inbound', 'src.identity': CLIENT, 'dst.identity': SERVER },
      });
    }
  },
);

test.serial('sockets have a mark where one is set, and none where it is not', (t) => {
  const listening = (netns: Netns): string => runInside(netns, 'ss -Htlne "sport = :15001"');
  t.regex(listening(rig.client), /fwmark:0x539/);
  t.regex(listening(rig.server), /:15001/);
  t.notRegex(listening(rig.server), /fwmark/);
});

test.serial(
  'server_uncaptured_dedicated: what is outside of the mesh is reached in plain text',
  async (t) => {
    const { client, clientProxy } = rig;
    const mark = Date.now();
    const { stdout } = await curl(client, `http://${PLAIN_IP}:${PORT}/`);
    t.is(stdout, `plain to ${CLIENT_IP}\n`);
    const record = await clientProxy.record({ message: 'connection complete' }, mark);
    t.is(record['dst.identity'], undefined);
  },
);

test.serial(
  'client_uncaptured_dedicated: a plain client is served, and under STRICT refused',
  async (t) => {
    const { mesh, client, plain, serverProxy } = rig;
    const url = `http://${SERVER_IP}:${PORT}/`;
    t.is((await curl(plain, url)).stdout, `server to ${SERVER_IP}\n`);
    mesh.apply('strict', STRICT);
    await untilPolicies(serverProxy, 1);
    const mark = Date.now();
    t.not((await curl(plain, url)).code, 0);
    const refused = await serverProxy.record({ direction: 'inbound' }, mark);
    t.regex(String(refused['error']), /istio_converted_static_strict/);
    t.is((await curl(client, url)).stdout, `server to ${SERVER_IP}\n`);
    mesh.remove('strict');
    await untilPolicies(serverProxy, 0);
  },
);

test.serial(
  'SOCKS5 leads into the mesh by address, by VIP and by name, with the identity',
  async (t) => {
    const { client, clientProxy } = rig;
    for (const [option, url] of [
      ['--socks5', `http://${SERVER_IP}:${PORT}/`],
      ['--socks5', `http://${VIP}/`],
      ['--socks5-hostname', `http://${VIP}/`],
      ['--socks5-hostname', 'http://server.shop.svc.cluster.local/'],
      ['--socks5-hostname', 'http://server/'],
    ] as const) {
      const mark = Date.now();
      const { stdout, stderr } = await curl(client, option, SOCKS5, url);
      t.is(stdout, `server to ${SERVER_IP}\n`, `${url}: ${stderr}`);
      const record = await clientProxy.record({ message: 'connection complete' }, mark);
      t.like(record, { 'src.identity': CLIENT, 'dst.identity': SERVER });
      // The handshake is none of the connection's bytes.
      const answer = `HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\nserver to ${SERVER_IP}\n`;
      t.is(record['bytes_recv'], answer.length);
    }
    const outside = await curl(client, '--socks5-hostname', SOCKS5, `http://${PLAIN_IP}:${PORT}/`);
    t.is(outside.stdout, `plain to ${CLIENT_IP}\n`);
  },
);

test.serial('SOCKS5 is on loopback of the one workload alone', async (t) => {
  t.regex(runInside(rig.client, 'ss -Htln "sport = :15080"'), / 127\.0\.0\.1:15080 /);
  t.is(runInside(rig.server, 'ss -Htln "sport = :15080"'), '');
  const far = await curl(
    rig.plain,
    '--socks5',
    `${CLIENT_IP}:15080`,
    `http://${SERVER_IP}:${PORT}/`,
  );
  t.not(far.code, 0);
});

test.serial('what a policy denies is refused, and a SOCKS5 client is told so', async (t) => {
  const { mesh, client, clientProxy, serverProxy } = rig;
  mesh.apply('deny', DENY);
  await untilPolicies(serverProxy, 1);
  const url = `http://${SERVER_IP}:${PORT}/`;
  const mark = Date.now();
  t.true(RESET.has((await curl(client, url)).code));
  t.regex(String((await clientProxy.record({ direction: 'outbound' }, mark))['error']), /401/);
  t.regex(
    String((await serverProxy.record({ direction: 'inbound' }, mark))['error']),
    /explicitly denied by: shop\/no-client/,
  );
  t.is(await socksCode(client, url), 2);
  mesh.remove('deny');
  await untilPolicies(serverProxy, 0);
  t.is(await socksCode(client, url), 0);
});

/** curl's exit codes. */
const RECEIVE_FAILED = 56;
/** Of a connection that is reset: while it receives, or so soon that it has not looked whether it is connected. */
const RESET: ReadonlySet<number | null> = new Set([7, RECEIVE_FAILED]);
const NO_PROXY_CONNECTION = 97;

const failures: readonly (readonly [string, string, number])[] = [
  ['a port where nobody listens outside of the mesh', `http://${PLAIN_IP}:9/`, 5],
  ['a port where nobody listens in the mesh', `http://${SERVER_IP}:9/`, 5],
  ['an address where nobody is', 'http://10.7.0.77/', 4],
  ['a name that is none', 'http://not_a..name/', 4],
  ['a service without such a port', `http://${VIP}:81/`, 4],
  ["the proxy's own port", 'http://127.0.0.1:15001/', 2],
  ['the SOCKS5 port itself', 'http://127.0.0.1:15080/', 2],
  ["the workload's own address with such a port", `http://${CLIENT_IP}:15006/`, 2],
  ['an address that means this machine', `http://0.0.0.0:${PORT}/`, 2],
];
for (const [name, url, code] of failures)
  test.serial(`SOCKS5 answers ${code} for ${name}`, async (t) => {
    t.is(await socksCode(rig.client, url), code);
  });

test.serial('the own ports of the other workload are refused through SOCKS5 too', async (t) => {
  for (const port of [15001, 15006, 15008])
    t.not(await socksCode(rig.client, `http://${SERVER_IP}:${port}/`), 0);
});

test.serial('the pages know the one workload, and its certificate alone', async (t) => {
  for (const [proxy, name, identity] of [
    [rig.clientProxy, 'client', CLIENT],
    [rig.serverProxy, 'server', SERVER],
  ] as const) {
    const dump = JSON.parse((await proxy.page('/config_dump')).body) as Record<string, unknown>;
    const info = { name: `${name}-1`, namespace: 'shop', serviceAccount: name };
    t.like(dump['workloadState'], { [`shop/${name}-1`]: { state: 'Up', info } });
    const certificates = dump['certificates'] as readonly Readonly<{ identity: string }>[];
    t.deepEqual(
      certificates.map((certificate) => certificate.identity),
      [identity],
    );
    const metrics = (await proxy.page('/metrics')).body;
    t.regex(metrics, /^workload_manager_active_proxy_count 1$/m);
    t.regex(
      metrics,
      /^istio_tcp_connections_opened_total\{.*connection_security_policy="mutual_tls".*\} [1-9]/m,
    );
  }
});

test.serial('a proxy whose ports are taken ends, and says why', async (t) => {
  const { mesh, plain } = rig;
  mesh.serveHttp(plain, 15006, 'squatter');
  const workload = { name: 'other-1', uid: 'uid-other', serviceAccount: 'client' };
  const proxy = await mesh.startProxy(plain, workload);
  const record = await proxy.record({ message: 'cannot serve the workload' });
  t.regex(String(record['error']), /15006: EADDRINUSE/);
  t.is(await proxy.ended, 1);
});

test.serial(
  'SIGTERM lets open connections go on, ends with the last one, and leaves nothing',
  async (t) => {
    const { client, server, clientProxy, serverProxy } = rig;
    const app = new Collector(await connectTcp(socketAddress(SERVER_IP, PORT), { netns: client }));
    const { body } = await clientProxy.page('/config_dump');
    t.regex(body, new RegExp(`"actualDst":\\s*"${SERVER_IP}:15008"`));
    for (const proxy of [clientProxy, serverProxy]) proxy.child.kill('SIGTERM');
    for (const proxy of [clientProxy, serverProxy]) await proxy.record({ message: 'stopping' });
    await app.write('GET / HTTP/1.1\r\n\r\n');
    await app.until((c) => c.ended || c.error !== undefined);
    t.regex(app.text, /server to/);
    app.stream.end();
    for (const proxy of [clientProxy, serverProxy]) {
      t.is(await proxy.ended, 0);
      t.like(await proxy.record({ message: 'drained' }), { outcome: 'drained' });
    }
    for (const netns of [client, server])
      t.notRegex(runInside(netns, 'ss -Hlntu; ss -Htn state established'), /:150\d\d\b/);
  },
);

/** The code with which a SOCKS5 client is refused; 0 for one that is served. */
async function socksCode(netns: Netns, url: string): Promise<number> {
  const { code, stderr } = await curl(netns, '--socks5-hostname', SOCKS5, url);
  if (code === 0) return 0;
  if (code !== NO_PROXY_CONNECTION) throw new Error(`${code}: ${stderr}`);
  return Number(/\((\d+)\)$/.exec(stderr.trim())?.[1]);
}

/** Until a proxy has so many policies. */
async function untilPolicies(proxy: DedicatedProgram, count: number): Promise<void> {
  for (;;) {
    const dump = JSON.parse((await proxy.page('/config_dump')).body) as { policies: unknown[] };
    if (dump.policies.length === count) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
}
