import test from 'ava';
import { dumpConfig } from '../../mesh/proxy/dump-config.ts';
import {
  readZtunnelConfig,
  ztunnelSettingsHelp,
  type ZtunnelConfig,
} from '../../ztunnel/config.ts';

const missing = (): never => {
  throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
};

function read(env: Readonly<Record<string, string>>, file?: string): ZtunnelConfig {
  const readFile = file === undefined ? missing : (): string => file;
  return readZtunnelConfig({ NODE_NAME: 'n1', ...env }, { readFile, cpus: () => 8 });
}

test('an almost empty environment gives the defaults', (t) => {
  t.like(read({}), {
    nodeName: 'n1',
    clusterId: 'Kubernetes',
    clusterDomain: 'cluster.local',
    trustDomain: 'cluster.local',
    trustDomainAliases: [],
    xdsAddress: { host: 'istiod.istio-system.svc', port: 15012 },
    caAddress: { host: 'istiod.istio-system.svc', port: 15012 },
    xdsServerName: undefined,
    certificateTtlMs: 86_400_000,
    ipv6: true,
    packetMark: 1337,
    originalSource: undefined,
    keepalive: true,
    keepaliveTimeMs: 180_000,
    keepaliveRetries: 9,
    zdsPath: '/var/run/ztunnel/ztunnel.sock',
    listenersPath: undefined,
    streamWindowBytes: 4_194_304,
    connectionWindowBytes: 16_777_216,
    frameBytes: 1_048_576,
    poolMaxStreams: 100,
    poolIdleMs: 300_000,
    keyLogFile: undefined,
    dnsCapture: true,
    dnsProxyAddress: { ips: ['127.0.0.1', '::1'], port: 15053 },
    logFormat: 'text',
    dataThreads: 1,
    terminationDeadlineMs: 5000,
    adminPort: 15000,
    statsPort: 15020,
    readinessPort: 15021,
    adminPath: undefined,
  });
});

test('what the sandbox sets is read', (t) => {
  const config = read({
    ...{ XDS_ADDRESS: 'https://localhost:15012', CA_ADDRESS: '[fd00::1]:443' },
    ...{ TRUST_DOMAIN: 'a.example', TRUST_DOMAIN_ALIASES: 'b.example, c.example' },
    ...{ HALO_LISTENERS_UDS: '/run/l', DATA_THREADS: '2', ADMIN_UDS: '/run/a' },
    ...{ ISTIO_META_CLUSTER_ID: 'c1', ISTIO_METAJSON_LABELS: '{"a":1}', XDS_HEADER_X: 'y' },
    ...{ CONNECTION_TERMINATION_DEADLINE: '1h', ENABLE_ORIG_SRC: 'false', KEY_LOG_FILE: '/k' },
  });
  t.like(config, {
    xdsAddress: { host: 'localhost', port: 15012 },
    caAddress: { host: 'fd00::1', port: 443 },
    trustDomain: 'a.example',
    trustDomainAliases: ['b.example', 'c.example'],
    listenersPath: '/run/l',
    dataThreads: 2,
    adminPath: '/run/a',
    clusterId: 'c1',
    terminationDeadlineMs: 3_600_000,
    originalSource: false,
    keyLogFile: '/k',
  });
  t.deepEqual([...config.nodeMetadataJson], [['LABELS', { a: 1 }]]);
  t.deepEqual([...config.xdsHeaders], [['X', 'y']]);
});

test('an empty XDS_ADDRESS is no control plane', (t) => {
  t.is(read({ XDS_ADDRESS: '' }).xdsAddress, undefined);
});

for (const [grace, deadlineMs] of [
  ['30', 25_000],
  ['11', 6000],
  ['10', 9000],
  ['1', 1000],
] as const) {
  test(`a grace period of ${grace} s leaves ${deadlineMs} ms to connections`, (t) => {
    t.is(read({ TERMINATION_GRACE_PERIOD_SECONDS: grace }).terminationDeadlineMs, deadlineMs);
  });
}

for (const [threads, expected] of [
  ['0', 8],
  ['3', 3],
  ['25%', 2],
  ['1%', 1],
] as const) {
  test(`ZTUNNEL_WORKER_THREADS=${threads} of 8 CPUs is ${expected}`, (t) => {
    t.is(read({ ZTUNNEL_WORKER_THREADS: threads }).dataThreads, expected);
  });
}

test('PROXY_CONFIG gives ports, threads, address and metadata, and the environment wins', (t) => {
  const PROXY_CONFIG = [
    'discoveryAddress: istiod.other.svc:15012',
    'proxyAdminPort: 16000',
    'statsPort: 16020',
    'concurrency: 0',
    'proxyMetadata: { ISTIO_META_DNS_CAPTURE: "false", CLUSTER_DOMAIN: mesh.local }',
  ].join('\n');
  t.like(read({ PROXY_CONFIG, CLUSTER_DOMAIN: 'wins.local' }), {
    xdsAddress: { host: 'istiod.other.svc', port: 15012 },
    ...{ adminPort: 16_000, statsPort: 16_020, dataThreads: 8, dnsCapture: false },
    clusterDomain: 'wins.local',
  });
});

test('the mesh file gives the same under defaultConfig', (t) => {
  t.is(read({}, 'defaultConfig:\n  concurrency: 4\n').dataThreads, 4);
});

for (const [name, text, expected] of [
  ['a list', '[1]', /expected a mapping/],
  ['a wrong port', 'statsPort: 0', /statsPort: expected integer from 1 to 65535/],
  ['broken YAML', 'a: [', /Cannot read PROXY_CONFIG: /],
  ['an alias', 'a: &a x\nb: *a', /Cannot read PROXY_CONFIG: /],
  ['metadata that is no text', 'proxyMetadata: { A: 1 }', /proxyMetadata.A: expected text/],
] as const) {
  test(`PROXY_CONFIG with ${name} is refused`, (t) => {
    const error = t.throws(() => read({ PROXY_CONFIG: text }), { code: 'ERR_PROXY_CONFIG' });
    t.regex(error.message, expected);
  });
}

for (const [name, value] of [
  ['TLS12_ENABLED', 'true'],
  ['FAKE_CA', 'true'],
  ['LOCAL_XDS', 'workloads: []'],
  ['LOCAL_XDS_PATH', '/x'],
] as const) {
  test(`${name}=${value} is known but not supported, and says so`, (t) => {
    const error = t.throws(() => read({ [name]: value }), { code: 'ERR_ENV' });
    t.true(error.message.includes(`  ${name}: not supported, found "${value}": `), error.message);
  });
}

for (const [name, value] of [
  ['XDS_ADDRESS', 'http://localhost:15012'],
  ['XDS_ADDRESS', 'https://user@localhost:15012'],
  ['XDS_ADDRESS', 'https://localhost'],
  ['CA_ADDRESS', 'https://localhost:15012/path'],
  ['TRUST_DOMAIN', 'A'],
  ['TRUST_DOMAIN_ALIASES', 'a,B'],
  ['ISTIO_META_DNS_PROXY_ADDR', '0.0.0.0:53'],
  ['HTTP2_FRAME_SIZE', '16383'],
  ['ZTUNNEL_WORKER_THREADS', '257'],
  ['ZTUNNEL_WORKER_THREADS', '0%'],
  ['COMPLIANCE_POLICY', 'fips-140-2'],
  ['NODE_NAME', ''],
  ['ISTIO_METAJSON_X', '{'],
] as const) {
  test(`${name}=${value} is refused`, (t) => {
    const error = t.throws(() => read({ [name]: value }), { code: 'ERR_ENV' });
    t.true(error.message.includes(`  ${name}: `), error.message);
  });
}

for (const [name, vars, expected] of [
  [
    'an unknown PROXY_MODE',
    { PROXY_MODE: 'sidecar' },
    'PROXY_MODE: found "sidecar", expected shared or dedicated',
  ],
  [
    'dedicated mode without its workload',
    { PROXY_MODE: 'dedicated' },
    'PROXY_WORKLOAD_INFO: not set, expected <namespace>/<name>/<service account> in dedicated mode',
  ],
  [
    'a workload in shared mode',
    { PROXY_WORKLOAD_INFO: 'shop/web-1/web' },
    'PROXY_WORKLOAD_INFO: set, and only PROXY_MODE=dedicated has a use for it; unset it',
  ],
  ['shared mode without a node', { NODE_NAME: '' }, 'NODE_NAME: not set, expected text'],
  [
    'a wrong SOCKS5 switch',
    { UNSTABLE_ENABLE_SOCKS5: 'yes' },
    'UNSTABLE_ENABLE_SOCKS5: found "yes", expected true or false',
  ],
] as const)
  test(`${name} is refused with exactly what is wrong`, (t) => {
    const error = t.throws(() => read(vars), { code: 'ERR_ENV' });
    t.is(error.message, `Cannot read the environment:\n  ${expected}`);
  });

for (const text of [
  ...['shop', 'shop/web-1', 'shop/web-1/web/x', '/web-1/web', 'shop//web', 'shop/web-1/'],
  ...['shop/Web/web', 'shop/web-1/we b', 'sh.op/web-1/web', 'shop/-web/web', 'shop/../web'],
  `shop/${'w'.repeat(254)}/web`,
])
  test(`PROXY_WORKLOAD_INFO=${text.slice(0, 32)} is refused`, (t) => {
    const vars = { PROXY_MODE: 'dedicated', PROXY_WORKLOAD_INFO: text };
    const error = t.throws(() => read(vars), { code: 'ERR_ENV' });
    t.regex(
      error.message,
      /^Cannot read the environment:\n {2}PROXY_WORKLOAD_INFO: found ".*", expected <namespace>\/<name>\/<service account>$/,
    );
  });

test('dedicated mode needs no node, marks nothing unless told to, and keeps no address without marks', (t) => {
  const vars = { NODE_NAME: '', PROXY_MODE: 'dedicated', PROXY_WORKLOAD_INFO: 'shop/web-1/web' };
  const dedicatedWorkload = { namespace: 'shop', name: 'web-1', serviceAccount: 'web' };
  t.like(read(vars), {
    ...{ proxyMode: 'dedicated', dedicatedWorkload, nodeName: '' },
    ...{ packetMark: undefined, originalSource: false },
  });
  t.like(read({ ...vars, PACKET_MARK: '7' }), { packetMark: 7, originalSource: undefined });
  t.like(read({ ...vars, ENABLE_ORIG_SRC: 'true' }), { originalSource: true });
});

test('without a mode the proxy is shared, without SOCKS5', (t) => {
  t.like(read({}), { proxyMode: 'shared', dedicatedWorkload: undefined, socks5: false });
  t.true(read({ UNSTABLE_ENABLE_SOCKS5: 'true' }).socks5);
});

test('XDS_ON_DEMAND with DNS in pods is refused, and --help says what to choose', (t) => {
  const error = t.throws(() => read({ XDS_ON_DEMAND: 'true' }), { code: 'ERR_ENV' });
  t.regex(error.message, /XDS_ON_DEMAND: .*set ISTIO_META_DNS_CAPTURE=false/);
  t.like(read({ XDS_ON_DEMAND: 'true', ISTIO_META_DNS_CAPTURE: 'false' }), { xdsOnDemand: true });
  t.regex(ztunnelSettingsHelp(), /XDS_ON_DEMAND.*needs ISTIO_META_DNS_CAPTURE=false/);
});

test('--help names every setting, and hides no unsupported one', (t) => {
  const help = ztunnelSettingsHelp();
  for (const name of [
    ...['PROXY_MODE', 'PROXY_WORKLOAD_INFO', 'UNSTABLE_ENABLE_SOCKS5', 'NODE_NAME'],
    ...['KEY_LOG_FILE', 'ADMIN_UDS', 'PROXY_CONFIG', 'LISTENER_UDS'],
  ])
    t.regex(help, new RegExp(`^  ${name} `, 'm'));
  t.regex(help, /^ {2}TLS12_ENABLED +Not supported: only TLS 1\.3 is spoken/m);
  t.regex(help, /^ {2}POOL_UNUSED_RELEASE_TIMEOUT .*\[5m\]$/m);
});

test('the dump of the configuration holds no token and no header value', (t) => {
  const config = read({
    AUTH_TOKEN: 'eyJhbGciOi.hunter2.x',
    XDS_HEADER_KEY: 'hunter2',
    RUST_LOG: 'info,dns=debug',
  });
  const dump = dumpConfig(config);
  t.false(JSON.stringify(dump).includes('hunter2'));
  t.like(dump, {
    ...{ nodeName: 'n1', authToken: '<hidden>', xdsHeaders: ['KEY'] },
    logLevels: { fallback: 'info', scopes: { dns: 'debug' } },
  });
});

test('a dump names the token file', (t) => {
  t.like(dumpConfig(read({ AUTH_TOKEN: '/run/token' })), { authToken: '/run/token' });
});
