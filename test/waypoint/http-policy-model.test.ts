/**
 * Holds a waypoint's policies, from what people write to the decision, against a model that shares nothing with them, over
 * every combination of small domains: more than a million pairs of a set of policies and a request.
 */
import test from 'ava';
import { parseIpAddress } from '../../base/address.ts';
import { CompiledHttpPolicies } from '../../mesh/model/compiled-http-policies.ts';
import type { PolicyRequest } from '../../mesh/model/http-policy-values.ts';
import { parseSpiffeId } from '../../mesh/model/identity.ts';
import { httpPolicies } from '../support/http-policies.ts';
import {
  modelOutcome,
  type ModelPolicy,
  type ModelRequest,
  type ModelRule,
  type ModelToken,
} from './http-policy-model.ts';

const TARGET = 'Service/shop/web';

function toRequest(model: ModelRequest): PolicyRequest {
  const { identity, token } = model;
  const id =
    identity &&
    parseSpiffeId(`spiffe://${identity.domain}/ns/${identity.namespace}/sa/${identity.account}`);
  return {
    connection: {
      sourceIp: parseIpAddress(model.ip),
      destinationIp: parseIpAddress('10.9.0.1'),
      destinationPort: model.port,
      ...(id && { sourceIdentity: id }),
    },
    remoteIp: parseIpAddress(model.remote),
    sni: '',
    ...(!model.tcp && {
      http: {
        ...{ hostname: model.host, hostPort: model.hostPort },
        ...{ method: model.method, path: model.path, headers: model.headers.flat() },
        ...(token && {
          identity: {
            principal: `${token.iss}/${token.sub}`,
            audiences: token.aud,
            presenter: token.azp,
            claims: token.claims,
          },
        }),
      },
    }),
  };
}

const plain: ModelRequest = {
  ...{ tcp: false, identity: undefined, ip: '10.0.0.1', remote: '10.0.0.1', port: 80 },
  ...{ host: 'web', hostPort: 80, method: 'GET', path: '/', headers: [], token: undefined },
};

type Case = Readonly<{ model: ModelRequest; ours: PolicyRequest }>;

/** Every combination of the values that fields may have. */
function product<T extends Readonly<Record<string, readonly unknown[]>>>(
  domains: T,
): { readonly [K in keyof T]: T[K][number] }[] {
  let all: Record<string, unknown>[] = [{}];
  for (const [key, values] of Object.entries(domains))
    all = all.flatMap((one) => values.map((value) => ({ ...one, [key]: value })));
  return all as { readonly [K in keyof T]: T[K][number] }[];
}

function casesOf(domains: { [K in keyof ModelRequest]?: readonly ModelRequest[K][] }): Case[] {
  return (product(domains) as Partial<ModelRequest>[]).map((fields) => {
    const model: ModelRequest = { ...plain, ...fields };
    return { model, ours: toRequest(model) };
  });
}

/** One store for everything, so that values and rules come and go as they do in a waypoint. */
const compiled = new CompiledHttpPolicies();

/** Compares over the cases, and returns how many there were. @throws with the first difference. */
function compare(policies: readonly ModelPolicy[], cases: readonly Case[]): number {
  compiled.set(
    TARGET,
    httpPolicies(
      ...policies.map(({ dryRun, ...policy }) => ({
        ...policy,
        annotations: dryRun ? { 'istio.io/dry-run': 'true' } : {},
        ...(policy.action === 'CUSTOM' && { provider: { name: 'asker' } }),
      })),
    ),
  );
  for (const { model, ours } of cases) {
    const expected = modelOutcome(policies, model);
    const custom = compiled.custom([TARGET], ours);
    const decision = compiled.decide([TARGET], ours);
    const short = (key: string): string => key.slice('shop/'.length);
    const noted = [
      ...decision.audit.map(({ policy }) => `AUDIT ${short(policy)}`),
      ...decision.dryRun.map(({ action, policy }) => `${action} ${short(policy)}`),
    ].sort();
    const isAsked = custom.kind === 'ask' && custom.authorizers.length > 0;
    const by = decision.by === undefined ? undefined : short(decision.by.policy);
    const same =
      decision.kind === expected.verdict &&
      isAsked === expected.asked.length > 0 &&
      (by === undefined ? expected.by.length === 0 : expected.by.includes(by)) &&
      noted.join() === expected.noted.join();
    if (!same)
      throw new Error(JSON.stringify({ policies, model, expected, decision, custom }, null, 1));
  }
  return cases.length;
}

function compareRule(rule: ModelRule, cases: readonly Case[]): number {
  const one = { name: 'one', dryRun: false, rules: [rule] };
  return (
    compare([{ ...one, action: 'ALLOW' }], cases) + compare([{ ...one, action: 'DENY' }], cases)
  );
}

const counts = new Map<string, number>();

test.serial('every operation of hosts, methods and paths decides as the model says', (t) => {
  const cases = casesOf({
    host: ['', 'web', 'web.shop', 'a.web.shop', 'webx', 'shop'],
    hostPort: [80, 8080],
    method: ['GET', 'HEAD', 'POST'],
    path: [
      '/',
      '/a',
      '/a/',
      '/a/b',
      '/a/b/c',
      '/ab',
      '/a/x/c',
      '/a//c',
      '/b/a',
      '/A',
      '',
      '/a/b/',
      '/c',
    ],
  });
  const operations = product({
    host: [
      {},
      ...[['web'], ['WEB.shop'], ['*.shop'], ['web*'], ['*'], ['web:8080'], ['web:*']].map(
        (hosts) => ({ hosts }),
      ),
      ...[['web'], ['*.shop', 'web:80']].map((notHosts) => ({ notHosts })),
    ],
    method: [{}, { methods: ['GET'] }, { methods: ['*'] }, { notMethods: ['GET', 'P*'] }],
    path: [
      {},
      ...[
        ...[['/a'], ['/a*'], ['*/c'], ['*'], ['/a/{*}'], ['/a/{*}/c'], ['/a/{**}']],
        ...[['/{*}/b', '/b/{**}'], ['/a/{**}/c'], ['/{**}']],
      ].map((paths) => ({ paths })),
      ...[['/a'], ['/a/{*}', '/ab']].map((notPaths) => ({ notPaths })),
    ],
  });
  let count = 0;
  for (const { host, method, path } of operations) {
    const operation = { ...host, ...method, ...path };
    const to = Object.keys(operation).length === 0 ? {} : { to: [{ operation }] };
    count += compareRule(to, cases);
  }
  t.true(count > 250_000, `${count} tuples`);
  counts.set('operations', count);
});

const identities = [
  undefined,
  { domain: 'td', namespace: 'a', account: 'x' },
  { domain: 'td', namespace: 'ab', account: 'x' },
  { domain: 'other', namespace: 'a', account: 'x.y' },
];

test.serial('every source decides as the model says', (t) => {
  const cases = casesOf({
    identity: identities,
    ip: ['10.0.0.1', '10.1.0.1'],
    remote: ['192.0.2.1', '10.0.0.1'],
    tcp: [false, true],
  });
  const sources = product({
    namespace: [{}, { namespaces: ['a'] }, { namespaces: ['a*'] }, { notNamespaces: ['*'] }],
    principal: [
      {},
      { principals: ['td/ns/a/sa/x'] },
      { principals: ['*/sa/x'] },
      { principals: ['*'] },
      { notPrincipals: ['td/*'] },
    ],
    domain: [{}, { trustDomains: ['td'] }, { trustDomains: ['*'] }, { notTrustDomains: ['td'] }],
    ip: [{}, { ipBlocks: ['10.0.0.0/16'] }, { notIpBlocks: ['10.0.0.1'] }],
    remote: [{}, { remoteIpBlocks: ['10.0.0.0/8'] }, { notRemoteIpBlocks: ['192.0.2.0/24'] }],
    token: [{}, { requestPrincipals: ['*'] }, { notRequestPrincipals: ['*'] }],
  });
  let count = 0;
  for (const each of sources) {
    const source = {
      ...{ ...each.namespace, ...each.principal, ...each.domain },
      ...{ ...each.ip, ...each.remote, ...each.token },
    };
    if (Object.keys(source).length > 0) count += compareRule({ from: [{ source }] }, cases);
  }
  const accounts = [['a/x'], ['a/x.y', 'b/z']];
  for (const list of accounts)
    for (const source of [{ serviceAccounts: list }, { notServiceAccounts: list }])
      count += compareRule({ from: [{ source }] }, cases);
  t.true(count > 130_000, `${count} tuples`);
  counts.set('sources', count);
});

test.serial(
  'every pair of conditions on headers, however often they come, decides as the model says',
  (t) => {
    const values = ['', 'a', 'ab', 'b'];
    const upToThree = [
      [],
      ...values.map((one) => [one]),
      ...values.flatMap((one) => values.map((two) => [one, two])),
      ...values.flatMap((one) => values.map((two) => [one, two, 'a'])),
    ];
    const headers = upToThree.flatMap((xs) =>
      [[], ['a'], ['a', 'b']].map((ys) => [
        ...xs.map((value) => ['x', value] as const),
        ...ys.map((value) => ['y', value] as const),
      ]),
    );
    const cases = casesOf({ headers, tcp: [false, true] });
    const conditions = (name: string): NonNullable<ModelRule['when']>[number][] => {
      const key = `request.headers[${name}]`;
      const lists = [['a'], ['a*'], ['*b'], ['*'], ['a', 'b']];
      return [
        ...lists.map((list) => ({ key, values: list })),
        ...lists.map((list) => ({ key, notValues: list })),
        { key, values: ['*'], notValues: ['b'] },
        { key, values: ['a*'], notValues: ['a'] },
      ];
    };
    let count = 0;
    for (const one of conditions('x')) {
      count += compareRule({ when: [one] }, cases);
      for (const other of [...conditions('x'), ...conditions('y')])
        count += compareRule({ when: [one, other] }, cases);
    }
    t.true(count > 130_000, `${count} tuples`);
    counts.set('headers', count);
  },
);

const token = (fields: Partial<ModelToken>): ModelToken => ({
  ...{ iss: 'https://i', sub: 's', aud: [], azp: '', claims: {} },
  ...fields,
});

test.serial('every pair of conditions on tokens decides as the model says', (t) => {
  const cases = casesOf({
    token: [
      undefined,
      token({}),
      token({ iss: 'https://j', sub: 't', aud: ['one'], azp: 'p' }),
      token({ aud: ['one', 'two'], claims: { group: 'a', n: { group: ['a', 'b'] } } }),
      token({ azp: 'q', claims: { group: ['a', 'b', 7], n: 'a' } }),
      token({ claims: { group: 7, n: { group: { a: 'a' } } } }),
    ],
    tcp: [false, true],
  });
  const lists: [key: string, values: string[][]][] = [
    ['request.auth.principal', [['https://i/s'], ['https://i/*'], ['*/t'], ['*']]],
    ['request.auth.audiences', [['one'], ['two', 'three'], ['*']]],
    ['request.auth.presenter', [['p'], ['*']]],
    ['request.auth.claims[group]', [['a'], ['*b'], ['*']]],
    ['request.auth.claims[n][group]', [['a'], ['*']]],
  ];
  const conditions = lists.flatMap(([key, each]) =>
    each.flatMap((list) => [
      { key, values: list },
      { key, notValues: list },
    ]),
  );
  let count = 0;
  for (const one of conditions)
    for (const other of conditions) count += compareRule({ when: [one, other] }, cases);
  t.true(count > 18_000, `${count} tuples`);
  counts.set('tokens', count);
});

test.serial(
  'every rule of a source, an operation and a condition decides as the model says',
  (t) => {
    const cases = casesOf({
      tcp: [false, true],
      identity: identities.slice(0, 3),
      method: ['GET', 'POST'],
      path: ['/a', '/a/b', '/c'],
      headers: [
        [],
        [['x', 'a']],
        [
          ['x', 'a'],
          ['x', 'b'],
        ],
      ],
      token: [undefined, token({})],
      port: [80, 81],
    });
    const rules = product({
      from: [
        undefined,
        [{ source: { namespaces: ['a'] } }],
        [{ source: { namespaces: ['ab'] } }, { source: { requestPrincipals: ['*'] } }],
        [{ source: { notPrincipals: ['*'] } }],
        [{ source: { requestPrincipals: ['https://i/s'], namespaces: ['a*'] } }],
      ],
      to: [
        undefined,
        [{ operation: { paths: ['/a*'], methods: ['GET'] } }],
        [{ operation: { ports: ['80'] } }, { operation: { paths: ['/c'] } }],
        [{ operation: { ports: ['80'], notPaths: ['/a'] } }],
        [{ operation: { notPorts: ['81'] } }],
      ],
      when: [
        [],
        [{ key: 'request.headers[x]', values: ['a'] }],
        [{ key: 'request.headers[x]', notValues: ['a'] }],
        [
          { key: 'source.principal', values: ['td/*'] },
          { key: 'destination.port', values: ['80'] },
        ],
      ],
    });
    let count = 0;
    for (const { from, to, when } of rules)
      count += compareRule({ ...(from && { from }), ...(to && { to }), when }, cases);
    t.true(count > 80_000, `${count} tuples`);
    counts.set('rules', count);
  },
);

const RULES: readonly (readonly ModelRule[])[] = [
  [],
  [{}],
  [{ to: [{ operation: { paths: ['/a'] } }] }],
  [{ from: [{ source: { namespaces: ['a'] } }] }],
  [
    { to: [{ operation: { paths: ['/b'] } }] },
    { from: [{ source: { namespaces: ['a'] } }], to: [{ operation: { methods: ['GET'] } }] },
  ],
];

const templates: readonly Omit<ModelPolicy, 'name'>[] = product({
  kind: [
    { action: 'ALLOW', dryRun: false },
    { action: 'DENY', dryRun: false },
    { action: 'AUDIT', dryRun: false },
    { action: 'CUSTOM', dryRun: false },
    { action: 'ALLOW', dryRun: true },
    { action: 'DENY', dryRun: true },
  ] as const,
  rules: RULES,
}).flatMap(({ kind, rules }) => {
  // A CUSTOM policy may not ask who the client is: it comes first.
  const named = rules.some(({ from }) => from !== undefined);
  return kind.action === 'CUSTOM' && named ? [] : [{ ...kind, rules }];
});

const numbered = (...policies: readonly Omit<ModelPolicy, 'name'>[]): ModelPolicy[] =>
  policies.map((policy, index) => ({ ...policy, name: `p${index}` }));

test.serial('every two and three policies decide as the model says', (t) => {
  const cases = casesOf({
    identity: identities.slice(0, 2),
    path: ['/a', '/b'],
    tcp: [false, true],
  });
  let count = compare([], cases);
  for (const first of templates) {
    count += compare(numbered(first), cases);
    for (const second of templates) {
      count += compare(numbered(first, second), cases);
      for (const third of templates) count += compare(numbered(first, second, third), cases);
    }
  }
  t.true(count > 150_000, `${count} tuples`);
  counts.set('policies', count);
});

test.serial('the model was asked at least a million times', (t) => {
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
  t.log(`${total} pairs of a set of policies and a request`);
  t.true(total >= 1_000_000, `${total} tuples ${JSON.stringify([...counts])}`);
});

test.serial('nothing is left of policies that were taken away', (t) => {
  compiled.set(TARGET, []);
  t.deepEqual(compiled.applying([TARGET]), []);
  const [first] = casesOf({});
  t.is(first && compiled.decide([TARGET], first.ours).kind, 'allow');
});
