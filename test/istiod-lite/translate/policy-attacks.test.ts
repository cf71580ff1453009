/** Policies as people write them, from their YAML to the decision of a proxy: ways around them that were found elsewhere. */
import test from 'ava';
import { parseIpAddress } from '../../../base/address.ts';
import { DEFAULT_SETTINGS } from '../../../istiod-lite/check.ts';
import { Snapshot } from '../../../istiod-lite/snapshot.ts';
import { FileSet } from '../../../istiod-lite/sources/file-set.ts';
import { Translator } from '../../../istiod-lite/translate/translator.ts';
import { VipAllocator } from '../../../istiod-lite/translate/vips.ts';
import { parseSpiffeId } from '../../../mesh/model/identity.ts';
import { ProxyState } from '../../../mesh/proxy/state/store.ts';
import { decodeAuthorization } from '../../../mesh/xds/codec-policy.ts';
import { ADDRESS_TYPE, AUTHORIZATION_TYPE, decodeAddress } from '../../../mesh/xds/codec.ts';

type Mesh = Readonly<{ state: ProxyState; problems: readonly string[] }>;

/** What a node proxy knows of these objects, and of a pod 10.1.0.1 of shop/web and one 10.2.0.1 of bank/web. */
function meshOf(...objects: readonly string[]): Mesh {
  const pod = (namespace: string, ip: string): string => `apiVersion: v1
kind: Pod
metadata: { name: web-1, namespace: ${namespace}, labels: { app: web } }
spec: { serviceAccountName: web }
status: { phase: Running, podIP: ${ip}, conditions: [{ type: Ready, status: "True" }] }
`;
  const set = new FileSet();
  const pods = [pod('shop', '10.1.0.1'), pod('bank', '10.2.0.1')];
  set.setFile('mesh.yaml', [...pods, ...objects].join('---\n'));
  const snapshot = new Snapshot();
  const translator = new Translator(DEFAULT_SETTINGS, new VipAllocator());
  const change = snapshot.apply(set.takeChanges());
  if (change !== undefined) translator.apply(snapshot, change);
  const state = new ProxyState();
  for (const { bytes } of translator.resources(ADDRESS_TYPE)?.values() ?? []) {
    const record = decodeAddress(bytes);
    if (record.kind === 'workload') state.setWorkload(record.workload);
    else state.setService(record.service);
  }
  for (const { bytes } of translator.resources(AUTHORIZATION_TYPE)?.values() ?? [])
    state.setPolicy(decodeAuthorization(bytes));
  return { state, problems: set.problems().map(({ message }) => message) };
}

const policy = (spec: string, namespace = 'shop', name = 'p'): string =>
  `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ${name}, namespace: ${namespace} }
spec: ${spec}
`;

/** What becomes of a connection of `account` (`namespace/name`, or '' for plaintext) to a pod. */
function decide(
  { state }: Mesh,
  account: string,
  to: Readonly<{ ip?: string; from?: string; port?: number }> = {},
): string {
  const { ip = '10.1.0.1', from = '10.9.0.1', port = 80 } = to;
  const workload = state.workloadAt('', parseIpAddress(ip));
  if (workload === undefined) throw new Error(`Cannot find the pod ${ip}`);
  const [namespace = '', name = ''] = account.split('/');
  const decision = state.authorize(workload, {
    sourceIp: parseIpAddress(from),
    destinationIp: parseIpAddress(ip),
    destinationPort: port,
    ...(account !== '' && {
      sourceIdentity: parseSpiffeId(`spiffe://cluster.local/ns/${namespace}/sa/${name}`),
    }),
  });
  return decision.kind;
}

test('A5: a dot in the name of an account stands for itself, whatever names it', (t) => {
  const sources = [
    'principals: ["cluster.local/ns/shop/sa/a.b"]',
    'serviceAccounts: ["shop/a.b"]',
    'principals: ["*/sa/a.b"]',
  ];
  for (const source of sources) {
    const allow = meshOf(policy(`{ rules: [{ from: [{ source: { ${source} } }] }] }`));
    t.deepEqual(allow.problems, [], source);
    t.is(decide(allow, 'shop/a.b'), 'allow', source);
    for (const other of ['shop/axb', 'shop/a-b', 'shop/ab', 'shop/a.b.c'])
      t.is(decide(allow, other), 'deny', `${source} ${other}`);
  }
});

test('A5: characters of regular expressions in a value stand for themselves or are refused', (t) => {
  for (const value of ['.*', '[a-z]*', '(a|b)', 'cluster.local/ns/shop/sa/.+', '^.*$']) {
    const principals = JSON.stringify([value]);
    const allow = meshOf(
      policy(`{ rules: [{ from: [{ source: { principals: ${principals} } }] }] }`),
    );
    const isRefused = [...allow.state.policies()].length === 0;
    t.is(decide(allow, 'shop/web'), isRefused ? 'allow' : 'deny', value);
  }
});

const truth: readonly (readonly [title: string, spec: string, verdicts: string])[] = [
  // For shop/web at port 80 and at port 81, and for plaintext at port 80.
  ['an ALLOW without rules allows nothing', '{}', 'deny deny deny'],
  ['an ALLOW of no rules allows nothing', '{ rules: [] }', 'deny deny deny'],
  ['an ALLOW with an empty rule allows everything', '{ rules: [{}] }', 'allow allow allow'],
  [
    'a DENY with an empty rule denies everything',
    '{ action: DENY, rules: [{}] }',
    'deny deny deny',
  ],
  [
    'a DENY of a port and a method denies the port',
    '{ action: DENY, rules: [{ to: [{ operation: { ports: ["80"], methods: [GET] } }] }] }',
    'deny allow deny',
  ],
  [
    'a DENY of a method alone denies every connection',
    '{ action: DENY, rules: [{ to: [{ operation: { methods: [GET] } }] }] }',
    'deny deny deny',
  ],
  [
    'a DENY of paths that are not one denies every connection',
    '{ action: DENY, rules: [{ to: [{ operation: { notPaths: ["/healthz"] } }] }] }',
    'deny deny deny',
  ],
  [
    'a DENY of hosts that are not one, of a namespace, denies the namespace',
    '{ action: DENY, rules: [{ from: [{ source: { namespaces: [shop] } }], to: [{ operation: { notHosts: ["a"] } }] }] }',
    'deny deny allow',
  ],
  [
    'an ALLOW of a path allows nothing',
    '{ rules: [{ to: [{ operation: { paths: ["/"] } }] }] }',
    'deny deny deny',
  ],
  [
    'an ALLOW of paths that are not one allows nothing',
    '{ rules: [{ to: [{ operation: { notPaths: ["/admin"] } }] }] }',
    'deny deny deny',
  ],
  [
    'an ALLOW of hosts that are not one beside a port allows nothing',
    '{ rules: [{ to: [{ operation: { ports: ["80"], notHosts: ["admin"] } }] }] }',
    'deny deny deny',
  ],
  [
    'an ALLOW rule of L4 beside one of L7 allows what it says alone',
    '{ rules: [{ to: [{ operation: { paths: ["/"] } }] }, { to: [{ operation: { ports: ["81"] } }] }] }',
    'deny allow deny',
  ],
  [
    'an unknown condition in an ALLOW allows nothing',
    '{ rules: [{ when: [{ key: "request.headers[x]", values: ["*"] }] }] }',
    'deny deny deny',
  ],
  [
    'a DENY of whoever is not a principal denies plaintext',
    '{ action: DENY, rules: [{ from: [{ source: { notPrincipals: ["*"] } }] }] }',
    'allow allow deny',
  ],
  [
    'an ALLOW of whoever is not a principal allows plaintext',
    '{ rules: [{ from: [{ source: { notPrincipals: ["*"] } }] }] }',
    'deny deny allow',
  ],
];
for (const [title, spec, verdicts] of truth)
  test(`A6: ${title}`, (t) => {
    const mesh = meshOf(policy(spec));
    t.deepEqual(
      mesh.problems.filter((message) => message.includes('unknown field')),
      [],
    );
    const found = [
      decide(mesh, 'shop/web'),
      decide(mesh, 'shop/web', { port: 81 }),
      decide(mesh, ''),
    ];
    t.is(found.join(' '), verdicts);
  });

test('A6: a policy with a field that nobody knows is refused whole, and said so', (t) => {
  for (const rule of ['{ to: [{ operation: { prots: ["80"] } }] }', '{ form: [] }']) {
    const mesh = meshOf(policy(`{ action: DENY, rules: [${rule}] }`));
    t.true(mesh.problems.includes('unknown field'), rule);
    t.deepEqual([...mesh.state.policies()], [], 'nothing was made narrower or wider');
  }
});

test('A10: a rule about addresses is of the packet, and one family never stands for the other', (t) => {
  const mesh = meshOf(
    policy('{ action: DENY, rules: [{ from: [{ source: { ipBlocks: ["10.0.0.0/8"] } }] }] }'),
  );
  t.is(decide(mesh, 'shop/web', { from: '10.0.0.1' }), 'deny');
  t.is(decide(mesh, 'shop/web', { from: '::ffff:10.0.0.1' }), 'deny', 'the same host, mapped');
  t.is(decide(mesh, 'shop/web', { from: '::ffff:a00:1' }), 'deny', 'the same host, in hexadecimal');
  t.is(decide(mesh, 'shop/web', { from: '11.0.0.1' }), 'allow');
  t.is(decide(mesh, 'shop/web', { from: '::10.0.0.1' }), 'allow', 'another host');
  t.is(decide(mesh, 'shop/web', { from: 'a00::1' }), 'allow', 'the same bits in front');
});

test('A10: addresses that people write in several ways are one, or are refused', (t) => {
  const deny = (block: string): Mesh =>
    meshOf(policy(`{ action: DENY, rules: [{ from: [{ source: { ipBlocks: ["${block}"] } }] }] }`));
  for (const block of ['10.0.0.1', '10.0.0.1/32', '::ffff:10.0.0.1', '::ffff:10.0.0.0/120'])
    t.is(decide(deny(block), 'shop/web', { from: '10.0.0.1' }), 'deny', block);
  for (const block of ['010.0.0.1', '0x0a.0.0.1', '167772161', '10.1', '10.0.0.0/33', '10.0.0.1%1'])
    t.true(deny(block).problems.length > 0, block);
});

test('A10: what is remote to a proxy in front is an attribute of L7, and never taken for the source', (t) => {
  const rule = '{ from: [{ source: { remoteIpBlocks: ["10.9.0.0/16"] } }] }';
  t.is(decide(meshOf(policy(`{ rules: [${rule}] }`)), 'shop/web'), 'deny');
});

test('A11: a policy of one namespace says nothing about pods of another', (t) => {
  const everyone = '{ action: DENY, rules: [{}] }';
  const selecting = '{ selector: { matchLabels: { app: web } }, action: DENY, rules: [{}] }';
  for (const spec of [everyone, selecting, '{}']) {
    const mesh = meshOf(policy(spec, 'bank'));
    t.is(decide(mesh, 'shop/web'), 'allow', spec);
    t.is(decide(mesh, 'shop/web', { ip: '10.2.0.1' }), 'deny', spec);
  }
  t.is(decide(meshOf(policy(selecting, 'istio-system')), 'shop/web'), 'deny', 'the root namespace');
});

test('A11: an ALLOW of one namespace opens nothing in another', (t) => {
  const mesh = meshOf(policy('{}', 'shop', 'closed'), policy('{ rules: [{}] }', 'bank', 'open'));
  t.is(decide(mesh, 'bank/web'), 'deny');
  t.is(decide(mesh, 'bank/web', { ip: '10.2.0.1' }), 'allow');
});

test('A11: a Service and its slices have no endpoints in another namespace', (t) => {
  const { state } = meshOf(
    `apiVersion: v1
kind: Service
metadata: { name: web, namespace: bank }
spec: { clusterIP: 10.96.0.7, selector: { app: web }, ports: [{ port: 80 }] }
`,
    `apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: web-1, namespace: bank, labels: { kubernetes.io/service-name: web } }
addressType: IPv4
ports: [{ port: 80 }]
endpoints: [{ addresses: [10.1.0.1], targetRef: { kind: Pod, name: web-1, namespace: shop } }]
`,
  );
  const [service] = state.services();
  t.is(service?.hostname, 'web.bank.svc.cluster.local');
  const shop = state.workloadAt('', parseIpAddress('10.1.0.1'));
  t.is(shop?.services.size, 0, 'traffic for the Service would reach a pod of another namespace');
});
