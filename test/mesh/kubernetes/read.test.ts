import test from 'ava';
import { formatProblem } from '../../../mesh/kubernetes/problem.ts';
import { readObjects } from '../../../mesh/kubernetes/read.ts';

/** What is said about a file, a line each. */
function said(text: string): string[] {
  return readObjects(text, 'a.yaml').problems.map(formatProblem);
}

const policy = (spec: string): string =>
  `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: shop}\nspec:\n${spec
    .split('\n')
    .map((line) => `  ${line}`)
    .join('\n')}\n`;

test('readObjects() reads a Pod with the parts that the mesh needs', (t) => {
  const { objects, problems } = readObjects(
    `apiVersion: v1
kind: Pod
metadata:
  name: web-1
  namespace: shop
  labels: {app: web}
spec:
  serviceAccountName: web
  containers:
    - {name: app, image: x, ports: [{name: http, containerPort: 8080}]}
status:
  phase: Running
  podIP: 10.0.0.1
`,
    'a.yaml',
  );
  t.deepEqual(problems, []);
  const pod = objects[0]?.object;
  if (pod?.kind !== 'Pod') return t.fail();
  t.is(String(pod.key), '/Pod/shop/web-1');
  t.is(pod.metadata.labels.get('app'), 'web');
  t.is(pod.spec.containers[0]?.ports[0]?.containerPort, 8080);
  t.is(pod.status.podIP, '10.0.0.1');
  t.false(pod.spec.hostNetwork);
});

test('readObjects() opens lists, defaults the namespace and carries kinds it does not know', (t) => {
  const { objects, problems } = readObjects(
    `apiVersion: v1
kind: List
items:
  - {apiVersion: v1, kind: LimitRange, metadata: {name: a}, data: {x: "1"}}
  - {apiVersion: networking.istio.io/v1alpha3, kind: EnvoyFilter, metadata: {name: b, namespace: shop}}
  - {apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: "system:x"}}
`,
    'a.yaml',
  );
  // A filter is carried too; that it does nothing is said, for whoever wrote it counts on it.
  t.deepEqual(
    problems.map(({ severity, object }) => [severity, object]),
    [['warning', 'EnvoyFilter shop/b']],
  );
  t.deepEqual(
    objects.map(({ key, object }) => [key, object?.kind]),
    [
      ['/LimitRange/default/a', 'Other'],
      ['networking.istio.io/EnvoyFilter/shop/b', 'Other'],
      ['rbac.authorization.k8s.io/ClusterRole//system:x', 'Other'],
    ],
  );
});

test('readObjects() names file, line, column, object and field of an error, and how to mend it', (t) => {
  const text = `apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selctor: {app: web}
  ports:
    - port: 70000
      name: http
    - port: 80
`;
  t.deepEqual(said(text), [
    'a.yaml:5:3: error: Service shop/web: spec.selctor: unknown field; did you mean selector?',
    'a.yaml:7:7: error: Service shop/web: spec.ports[0].port: expected a whole number from 1 to 65535, found number 70000',
    'a.yaml:9:7: error: Service shop/web: spec.ports[1].name: is required where a Service has several ports',
  ]);
});

test('readObjects() names a refused object without its content', (t) => {
  const { objects, complete } = readObjects(policy('action: NEVER'), 'a.yaml');
  t.deepEqual(
    objects.map(({ key, object }) => [key, object]),
    [['security.istio.io/AuthorizationPolicy/shop/p', undefined]],
  );
  t.true(complete);
});

test('readObjects() says that a file is not complete when a document has no name', (t) => {
  t.false(readObjects('apiVersion: v1\nkind: Pod\nmetadata: {}\n', 'a.yaml').complete);
  t.false(readObjects('a: [', 'a.yaml').complete);
  t.false(readObjects('just text\n', 'a.yaml').complete);
});

test('readObjects() reports an object that stands in a file twice', (t) => {
  const pod = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n';
  t.deepEqual(said(`${pod}---\n${pod}`), [
    'a.yaml:5:1: error: ConfigMap default/a: stands in this file twice; the one of line 1 is used; remove one of them',
  ]);
});

test('readObjects() warns of kinds that have no effect', (t) => {
  const text = 'apiVersion: networking.istio.io/v1\nkind: EnvoyFilter\nmetadata: {name: jwt}\n';
  t.regex(said(text)[0] ?? '', /warning.*EnvoyFilter has no effect: there is no Envoy/);
});

test('labels must be text of the right shape', (t) => {
  const text =
    'apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {version: 1, "a b": x}}\n';
  const problems = said(text);
  t.regex(problems[0] ?? '', /labels.version: expected text, found number 1; write "1"/);
  t.regex(problems[1] ?? '', /is no label key/);
});

const refusals: readonly (readonly [string, string, RegExp])[] = [
  [
    'selector beside targetRefs',
    'selector: {matchLabels: {a: b}}\ntargetRefs: [{kind: Service, group: "", name: x}]',
    /only one of selector/,
  ],
  [
    'a target of a kind that no proxy serves',
    'targetRefs: [{kind: Pod, group: "", name: x}]',
    /cannot target Pod/,
  ],
  [
    'a target in another namespace',
    'targetRefs: [{kind: Service, name: x, namespace: y}]',
    /must not be set/,
  ],
  ['a provider without CUSTOM', 'provider: {name: x}', /must not be set with action ALLOW/],
  ['CUSTOM without a provider', 'action: CUSTOM\nrules: [{}]', /provider.name: is required/],
  ['DENY without rules', 'action: DENY', /is required with action DENY.*rules: \[\{\}\]/],
  ['an empty from', 'rules: [{from: []}]', /from: must not be empty/],
  ['an empty source', 'rules: [{from: [{source: {}}]}]', /source: must not be empty/],
  ['an empty operation', 'rules: [{to: [{}]}]', /operation: must not be empty/],
  [
    'serviceAccounts with principals',
    'rules: [{from: [{source: {serviceAccounts: [a], principals: [b]}}]}]',
    /cannot be combined/,
  ],
  [
    'a condition without values',
    'rules: [{when: [{key: source.ip}]}]',
    /values or notValues must not be empty/,
  ],
  [
    'an unknown condition',
    'rules: [{when: [{key: source.colour, values: [red]}]}]',
    /key: is unknown/,
  ],
  [
    'a bad address',
    'rules: [{from: [{source: {ipBlocks: [10.0.0.0/33]}}]}]',
    /neither an IP address nor a CIDR/,
  ],
  ['a bad port', 'rules: [{to: [{operation: {ports: ["http"]}}]}]', /is no port/],
  [
    'a port that is no text',
    'rules: [{to: [{operation: {ports: [80]}}]}]',
    /expected text, found number 80; write "80"/,
  ],
  ['a wildcard in a selector', 'selector: {matchLabels: {app: "*"}}', /wildcards are not possible/],
  [
    'an unknown field in a source',
    'rules: [{from: [{source: {namespace: [a]}}]}]',
    /unknown field; did you mean namespaces/,
  ],
];
for (const [name, spec, expected] of refusals)
  test(`an AuthorizationPolicy with ${name} is refused`, (t) => {
    const { objects, problems } = readObjects(policy(spec), 'a.yaml');
    t.is(objects[0]?.object, undefined);
    t.regex(problems.map(formatProblem).join('\n'), expected);
  });

test('a principal with spiffe:// is warned about', (t) => {
  const { objects, problems } = readObjects(
    policy('rules: [{from: [{source: {principals: ["spiffe://cluster.local/ns/a/sa/b"]}}]}]'),
    'a.yaml',
  );
  t.not(objects[0]?.object, undefined);
  t.regex(problems.map(formatProblem).join(), /write "cluster.local\/ns\/a\/sa\/b"/);
});

const others: readonly (readonly [string, string, RegExp])[] = [
  [
    'PeerAuthentication with port modes and no selector',
    'apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a}\nspec: {portLevelMtls: {80: {mode: STRICT}}}',
    /key that is no text/,
  ],
  [
    'PeerAuthentication with port modes without selector',
    'apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a}\nspec: {portLevelMtls: {"80": {mode: STRICT}}}',
    /needs a selector/,
  ],
  [
    'ServiceEntry for every host',
    'apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}\nspec: {hosts: ["*"]}',
    /must not be "\*"/,
  ],
  [
    'ServiceEntry with endpoints and resolution NONE',
    'apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}\nspec: {hosts: [a.b], endpoints: [{address: 1.1.1.1}]}',
    /must be empty with resolution NONE/,
  ],
  [
    'ServiceEntry with one port twice',
    'apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}\nspec: {hosts: [a.b], ports: [{number: 80, name: a}, {number: 80, name: b}]}',
    /number: is used twice/,
  ],
  [
    'WorkloadEntry without address',
    'apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: a}\nspec: {labels: {a: b}}',
    /address: is required/,
  ],
  [
    'ExternalName Service without a name',
    'apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {type: ExternalName}',
    /externalName: is required/,
  ],
  [
    'Gateway at an address that is none',
    'apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: a}\nspec: {gatewayClassName: x, addresses: [{type: IPAddress}, {value: example.com}], listeners: [{name: a, port: 1, protocol: HBONE}]}',
    /addresses\[1\].value: must be an IP address: found "example.com"/,
  ],
  [
    'Gateway with two listeners of one name',
    'apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: a}\nspec: {gatewayClassName: x, listeners: [{name: a, port: 1, protocol: HBONE}, {name: a, port: 2, protocol: HBONE}]}',
    /is used twice/,
  ],
];
for (const [name, text, expected] of others)
  test(`a ${name} is refused`, (t) => {
    const { objects, problems } = readObjects(text, 'a.yaml');
    t.is(objects[0]?.object, undefined);
    t.regex(problems.map(formatProblem).join('\n'), expected);
  });
