/** Ways around policies of HTTP, row by row; the whole of what policies mean is in http-policy-model.test.ts. */
import test from 'ava';
import { performance } from 'node:perf_hooks';
import {
  CompiledHttpPolicies,
  type HttpDecision,
} from '../../mesh/model/compiled-http-policies.ts';
import { socketAddress } from '../../base/address.ts';
import type { HttpPolicy } from '../../mesh/model/http-policy.ts';
import { parseSpiffeId } from '../../mesh/model/identity.ts';
import { policyRefusal, policyRequest } from '../../waypoint/authorize.ts';
import { Downstream } from '../../waypoint/downstream.ts';
import { normalizePath } from '../../waypoint/normalize-path.ts';
import { RequestHead } from '../../waypoint/request-head.ts';
import {
  httpPolicies,
  httpRequest,
  type PolicySpec,
  type RequestFields,
} from '../support/http-policies.ts';

const TARGET = 'Service/shop/web';
const downstream = new Downstream({
  ...{ version: 'HTTP/1.1', remote: socketAddress('10.0.0.1', 4711) },
  ...{ local: socketAddress('10.0.0.2', 80) },
  identity: parseSpiffeId('spiffe://cluster.local/ns/shop/sa/client'),
});

function compile(...specs: readonly PolicySpec[]): CompiledHttpPolicies {
  const compiled = new CompiledHttpPolicies();
  compiled.set(TARGET, httpPolicies(...specs));
  return compiled;
}

function decide(specs: readonly PolicySpec[], request: RequestFields): HttpDecision {
  return compile(...specs).decide([TARGET], httpRequest(request));
}

const allow = (...rules: readonly unknown[]): PolicySpec => ({ name: 'allow', rules });
const deny = (...rules: readonly unknown[]): PolicySpec => ({
  name: 'deny',
  action: 'DENY',
  rules,
});
const operation = (fields: object): object => ({ to: [{ operation: fields }] });
const when = (key: string, fields: object): object => ({ when: [{ key, ...fields }] });

/** A whole request, as it comes from the wire, until policy has decided; a status where it is refused before. */
function decideWhole(specs: readonly PolicySpec[], list: readonly string[]): string {
  const head = new RequestHead(list, downstream);
  const path = normalizePath(head.path, 'STRICT');
  if (path.kind === 'refused') return '400';
  head.path = path.target;
  const request = policyRequest({ head, downstream }, { trustedProxies: 0 });
  return compile(...specs).decide([TARGET], request).kind;
}

const get = (path: string, ...more: readonly string[]): string[] => [
  ...[':method', 'GET', ':scheme', 'http', ':authority', 'web', ':path', path, ...more],
];

test('no way of writing /admin gets past a policy that denies it (A1, A2, A3)', (t) => {
  const policies = [deny(operation({ paths: ['/admin', '/admin/*'] }))];
  const ways = [
    ...['/admin', '//admin', '/./admin', '/x/../admin', '/%61dmin', '/x/%2e%2e/admin', '/admin//x'],
    ...[
      '/%2Fadmin',
      '/\\admin',
      '/%5cadmin',
      '/admin#x',
      '/x/..;/admin',
      '/admin%00',
      '/%c0%afadmin',
    ],
    ...['/admin?x=1', '/../admin', '/x//../../admin', '/admin/%2e', '/admin/.'],
  ];
  for (const way of ways) t.not(decideWhole(policies, get(way)), 'allow', way);
  for (const other of ['/administrator', '/x/admin', '/ADMIN', '/admin%2523'])
    t.is(decideWhole(policies, get(other)), 'allow', other);
});

test('a policy may be written with encoded letters: it means what it says (A1)', (t) => {
  const policies = [deny(operation({ paths: ['/%61dmin/%7Eme', '/caf%C3%A9'] }))];
  t.is(decideWhole(policies, get('/admin/~me')), 'deny');
  t.is(decideWhole(policies, get('/caf%c3%a9')), 'deny');
  t.is(decideWhole(policies, get('/caf%C3%A9')), 'deny');
});

test('of a header that comes twice one value denies, and all are needed to allow (A4)', (t) => {
  const twice = { headers: ['x-role', 'user', 'x-role', 'admin'] };
  t.is(decide([deny(when('request.headers[X-Role]', { values: ['admin'] }))], twice).kind, 'deny');
  t.is(decide([allow(when('request.headers[x-role]', { values: ['admin'] }))], twice).kind, 'deny');
  t.is(
    decide([allow(when('request.headers[x-role]', { values: ['admin', 'us*'] }))], twice).kind,
    'allow',
  );
  // Neither may a value be hidden behind one that is excluded.
  t.is(
    decide([deny(when('request.headers[x-role]', { notValues: ['admin'] }))], twice).kind,
    'deny',
  );
  t.is(
    decide([allow(when('request.headers[x-role]', { notValues: ['admin'] }))], twice).kind,
    'deny',
  );
  // Joined, they would be another text.
  t.is(
    decide([allow(when('request.headers[x-role]', { values: ['user,admin'] }))], twice).kind,
    'deny',
  );
});

test('a header that comes more often than can be looked at allows nothing (A4)', (t) => {
  const headers = Array.from({ length: 31 }, () => ['x-role', 'user']).flat();
  const policies = [allow(when('request.headers[x-role]', { values: ['user'] }))];
  t.is(decide(policies, { headers: headers.slice(2) }).kind, 'allow');
  const decision = decide(policies, { headers });
  t.is(decision.kind, 'deny');
  t.regex(decision.reason, /x-role comes too often/);
  t.is(
    decide([deny(when('request.headers[x-role]', { values: ['no'] }))], { headers }).kind,
    'deny',
  );
});

test('crumbs of a cookie are one text (A4)', (t) => {
  const policies = [allow(when('request.headers[cookie]', { values: ['a=1; b=2'] }))];
  t.is(decide(policies, { headers: ['cookie', 'a=1', 'x', 'y', 'cookie', 'b=2'] }).kind, 'allow');
  const crumbs = Array.from({ length: 40 }, (_, at) => ['cookie', `c${at}=1`]).flat();
  t.is(
    decide([deny(when('request.headers[cookie]', { values: ['*c39=1'] }))], { headers: crumbs })
      .kind,
    'deny',
  );
});

test('nothing in a policy is a pattern but "*" at an end and the operators of a path (A5)', (t) => {
  const policies = [
    allow(
      { from: [{ source: { principals: ['cluster.local/ns/shop/sa/a.b'] } }] },
      operation({ paths: ['/v1.0/[a-z]+', '/x|y', '/(.*)'] }),
      operation({ hosts: ['w.b'] }),
    ),
  ];
  t.is(decide(policies, { from: 'shop/a.b' }).kind, 'allow');
  t.is(decide(policies, { from: 'shop/a-b' }).kind, 'deny');
  t.is(decide(policies, { path: '/v1.0/[a-z]+' }).kind, 'allow');
  for (const path of ['/v1x0/abc', '/v1.0/abc', '/x', '/anything'])
    t.is(decide(policies, { path }).kind, 'deny', path);
});

test('a policy without rules, with an empty rule and with none at all are three things (A6)', (t) => {
  t.is(decide([{ name: 'nothing' }], {}).kind, 'deny');
  t.is(decide([allow({})], {}).kind, 'allow');
  t.is(decide([], {}).kind, 'allow');
  t.is(decide([deny({})], {}).kind, 'deny');
});

test('negative fields of an ALLOW hold where the request has nothing to compare (A6)', (t) => {
  t.is(decide([allow(operation({ notPaths: ['/admin*'] }))], { path: '/a' }).kind, 'allow');
  t.is(decide([allow(operation({ notPaths: ['/admin*'] }))], { path: '/admin' }).kind, 'deny');
  t.is(
    decide([allow(operation({ notHosts: ['web'] }))], { host: 'web', hostPort: 8080 }).kind,
    'deny',
  );
  t.is(decide([allow({ from: [{ source: { notRequestPrincipals: ['*'] } }] })], {}).kind, 'allow');
});

test('what a waypoint cannot look at allows nothing and denies whatever it is (A6)', (t) => {
  const unknown = when('experimental.envoy.filters.network.mysql_proxy[db]', { values: ['x'] });
  t.is(decide([allow(unknown)], {}).kind, 'deny');
  t.is(decide([deny(unknown)], {}).kind, 'deny');
  t.is(decide([deny({ ...unknown, ...operation({ methods: ['PUT'] }) })], {}).kind, 'allow');
});

test('wildcards at the edges, hosts with a dot at the end and texts that are none (A7)', (t) => {
  const hosts = [allow(operation({ hosts: ['*.example.com', 'Exact.example.org.'] }))];
  for (const host of ['a.example.com', 'a.b.example.com', 'exact.example.org'])
    t.is(decide(hosts, { host }).kind, 'allow', host);
  for (const host of ['example.com', 'aexample.com', 'a.example.com.evil', ''])
    t.is(decide(hosts, { host }).kind, 'deny', host);
  const paths = [allow(operation({ paths: ['/a*', '*.html'] }))];
  for (const path of ['/a', '/ab', '/x.html', '/.html'])
    t.is(decide(paths, { path }).kind, 'allow', path);
  for (const path of ['/', '/xhtml', '/x.htmlx']) t.is(decide(paths, { path }).kind, 'deny', path);
  const presence = [allow(when('request.headers[x]', { values: ['*'] }))];
  t.is(decide(presence, { headers: ['x', ''] }).kind, 'deny');
  t.is(decide(presence, { headers: ['x', '0'] }).kind, 'allow');
});

test('methods and gRPC paths are compared as they are written (A9)', (t) => {
  const policies = [allow(operation({ methods: ['GET'], paths: ['/pkg.Service/Method'] }))];
  const path = '/pkg.Service/Method';
  t.is(decide(policies, { path }).kind, 'allow');
  for (const method of ['HEAD', 'OPTIONS', 'POST'])
    t.is(decide(policies, { path, method }).kind, 'deny');
  t.is(decide(policies, { path: '/pkg.service/method' }).kind, 'deny');
  const cors = get(
    '/pkg.Service/Method',
    'origin',
    'http://x',
    'access-control-request-method',
    'GET',
  );
  t.is(
    decideWhole(
      policies,
      cors.map((text) => (text === 'GET' ? 'OPTIONS' : text)),
    ),
    'deny',
  );
});

test('no header of a client is an address, an identity or a workload (A10, M2)', (t) => {
  const policies = [
    allow({
      from: [
        { source: { ipBlocks: ['192.0.2.1'] } },
        { source: { remoteIpBlocks: ['192.0.2.1'] } },
      ],
    }),
    { ...allow({ from: [{ source: { namespaces: ['admin'] } }] }), name: 'names' },
  ];
  const claimed = [
    ...['x-forwarded-for', '192.0.2.1', 'forwarded', 'for=192.0.2.1', 'x-real-ip', '192.0.2.1'],
    ...[
      'baggage',
      'k8s.namespace.name=admin',
      'x-forwarded-client-cert',
      'URI=spiffe://td/ns/admin/sa/a',
    ],
  ];
  t.is(decideWhole(policies, get('/', ...claimed)), 'deny');
  t.is(decide(policies, { remoteIp: '192.0.2.1' }).kind, 'allow');
});

test('policies of one target are not those of another (A11)', (t) => {
  const compiled = compile(deny({}));
  t.is(compiled.decide([TARGET], httpRequest()).kind, 'deny');
  t.is(compiled.decide(['Service/other/web'], httpRequest()).kind, 'allow');
  t.is(compiled.decide(['Gateway/shop/w', TARGET], httpRequest()).kind, 'deny');
});

test('a decision names the policy and the rule, as log and answer do', (t) => {
  const decision = decide([deny(operation({ paths: ['/x'] }), operation({ paths: ['/admin'] }))], {
    path: '/admin',
  });
  t.like(decision, {
    kind: 'deny',
    by: { policy: 'shop/deny', rule: 1 },
    reason: 'explicitly denied by: shop/deny',
  });
  t.deepEqual(policyRefusal(decision), {
    ...{ status: 403, body: 'RBAC: access denied' },
    details: 'rbac_access_denied_matched_policy[ns[shop]-policy[deny]-rule[1]]',
  });
  const none = decide([allow(operation({ paths: ['/x'] }))], {});
  t.is(none.reason, 'allow policies exist, but none allowed');
  t.is(policyRefusal(none).details, 'rbac_access_denied_matched_policy[none]');
});

test('a CUSTOM policy is asked about what it matches; one that cannot be asked denies it', (t) => {
  const rules = [operation({ paths: ['/ext*'] })];
  const asked = compile({ name: 'custom', action: 'CUSTOM', provider: { name: 'asker' }, rules });
  const outcome = asked.custom([TARGET], httpRequest({ path: '/ext/a' }));
  t.like(outcome, { kind: 'ask' });
  t.is(outcome.kind === 'ask' && outcome.authorizers[0]?.authorizer.name, 'asker');
  t.deepEqual(asked.custom([TARGET], httpRequest()), { kind: 'ask', authorizers: [] });
  const unknown = compile({
    name: 'custom',
    action: 'CUSTOM',
    provider: { name: 'nobody' },
    rules,
  });
  t.like(unknown.custom([TARGET], httpRequest({ path: '/ext/a' })), {
    kind: 'deny',
    by: { policy: 'shop/custom' },
  });
  t.deepEqual(unknown.custom([TARGET], httpRequest()), { kind: 'ask', authorizers: [] });
});

test('a policy that cannot be used leaves the old ones in force', (t) => {
  const compiled = compile(deny({}));
  const [good] = httpPolicies(deny({}));
  const bad = {
    ...good,
    rules: [
      {
        clauses: [
          {
            matches: [
              {
                conditions: [
                  {
                    attribute: 'request.path',
                    values: [{ kind: 'template', value: '/{**}/{*}' }],
                    notValues: [],
                  },
                ],
              },
            ],
          },
        ],
      },
    ],
  } as unknown;
  t.throws(
    () => {
      compiled.set(TARGET, [bad as HttpPolicy]);
    },
    { code: 'ERR_PATH_TEMPLATE' },
  );
  t.is(compiled.decide([TARGET], httpRequest()).kind, 'deny');
});

test('ten thousand policies are no more work than their matching parts', (t) => {
  const compiled = new CompiledHttpPolicies();
  const many = Array.from({ length: 10_000 }, (_, at): HttpPolicy[] =>
    httpPolicies({
      ...deny({
        from: [{ source: { namespaces: [`ns-${at % 100}`] } }],
        ...operation({ paths: [`/p${at}/{*}`, `/q${at}*`], methods: ['GET'] }),
        ...when('request.headers[x-tenant]', { values: [`t${at}`] }),
      }),
      name: `p${at}`,
    }).slice(),
  ).flat();
  compiled.set(TARGET, many);
  const request = httpRequest({
    ...{ from: 'ns-7/a', path: '/p107/x', headers: ['x-tenant', 't1', 'accept', '*/*'] },
  });
  t.is(compiled.decide([TARGET], request).kind, 'allow');
  t.is(
    compiled.decide(
      [TARGET],
      httpRequest({ from: 'ns-7/a', path: '/p107/x', headers: ['x-tenant', 't107'] }),
    ).kind,
    'deny',
  );
  const startMs = performance.now();
  for (let round = 0; round < 1000; round++) compiled.decide([TARGET], request);
  const microseconds = performance.now() - startMs;
  t.log(`${microseconds.toFixed(1)} us a decision`);
});
