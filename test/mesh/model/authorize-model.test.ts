/**
 * Holds authorize(), CompiledPolicies and the state store against a model of authorization that shares nothing with them,
 * over every combination of small domains: more than a million pairs of a set of policies and a connection.
 */
import test from 'ava';
import { parseIpAddress } from '../../../base/address.ts';
import { policyKey, type AuthorizationPolicy } from '../../../mesh/model/authorization.ts';
import { authorize, type Decision, type PolicyConnection } from '../../../mesh/model/authorize.ts';
import { parseSpiffeId } from '../../../mesh/model/identity.ts';
import { ProxyState } from '../../../mesh/proxy/state/store.ts';
import { cidrs, makeMatch, text } from '../../support/policies.ts';
import {
  modelOutcome,
  type ModelConnection,
  type ModelDestination,
  type ModelIdentity,
  type ModelMatch,
  type ModelOutcome,
  type ModelPolicy,
  type ModelRules,
} from './authorization-model.ts';

// From the model's words into ours.

function toConnection({ from, identity, to, port }: ModelConnection): PolicyConnection {
  const addresses = { sourceIp: parseIpAddress(from), destinationIp: parseIpAddress(to) };
  if (identity === undefined) return { ...addresses, destinationPort: port };
  const { domain, namespace, account } = identity;
  const sourceIdentity = parseSpiffeId(`spiffe://${domain}/ns/${namespace}/sa/${account}`);
  return { ...addresses, destinationPort: port, sourceIdentity };
}

function toPolicy({ rules, ...policy }: ModelPolicy): AuthorizationPolicy {
  const toRule = (clauses: ModelRules[number]): AuthorizationPolicy['rules'][number] => ({
    clauses: clauses.map((matches) => ({ matches: matches.map(toMatch) })),
  });
  return { ...policy, rules: rules.map(toRule) };
}

function toMatch(match: ModelMatch): ReturnType<typeof makeMatch> {
  const account = (name: string): { namespace: string; serviceAccount: string } => {
    const [namespace = '', serviceAccount = ''] = name.split('/');
    return { namespace, serviceAccount };
  };
  return makeMatch({
    namespaces: (match.namespaces ?? []).map(text),
    notNamespaces: (match.notNamespaces ?? []).map(text),
    principals: (match.principals ?? []).map(text),
    notPrincipals: (match.notPrincipals ?? []).map(text),
    serviceAccounts: (match.serviceAccounts ?? []).map(account),
    notServiceAccounts: (match.notServiceAccounts ?? []).map(account),
    sourceIps: cidrs(...(match.sourceIps ?? [])),
    notSourceIps: cidrs(...(match.notSourceIps ?? [])),
    destinationIps: cidrs(...(match.destinationIps ?? [])),
    notDestinationIps: cidrs(...(match.notDestinationIps ?? [])),
    destinationPorts: match.destinationPorts ?? [],
    notDestinationPorts: match.notDestinationPorts ?? [],
  });
}

// Comparison.

type Case = Readonly<{ connection: ModelConnection; ours: PolicyConnection }>;

function differs(decision: Decision, outcome: ModelOutcome): boolean {
  if (decision.kind !== outcome.verdict) return true;
  if (decision.by === undefined ? outcome.by.length > 0 : !outcome.by.includes(decision.by.policy))
    return true;
  if (decision.dryRun.length !== outcome.noted.length) return true;
  const noted = decision.dryRun.map(({ action, policy }) => `${action} ${policy}`).sort();
  return noted.some((hit, index) => hit !== outcome.noted[index]);
}

/** Compares all three over the connections, and returns how many there were. @throws with the first difference. */
function compare(
  policies: readonly ModelPolicy[],
  destination: ModelDestination,
  cases: readonly Case[],
): number {
  const target = {
    namespace: destination.namespace,
    authorizationPolicies: destination.names.map((name) => {
      const [namespace = '', own = ''] = name.split('/');
      return policyKey(namespace, own);
    }),
  };
  const store = new ProxyState();
  for (const policy of policies) store.setPolicy(toPolicy(policy));
  const { policies: applying, missing } = store.policiesFor(target);
  for (const { connection, ours } of cases) {
    const expected = modelOutcome(policies, destination, connection);
    const indexed = store.authorize(target, ours);
    const plain = authorize(applying, ours);
    const waits = missing.length > 0 && expected.verdict === 'wait';
    const wrong =
      indexed.kind === 'wait'
        ? !waits
        : differs(indexed, expected) || (missing.length === 0 && differs(plain, expected));
    if (wrong)
      throw new Error(
        JSON.stringify({ policies, destination, connection, expected, indexed, plain }, null, 1),
      );
  }
  return cases.length;
}

function product<T extends Readonly<Record<string, readonly unknown[]>>>(
  domains: T,
): { readonly [K in keyof T]: T[K][number] }[] {
  let all: Record<string, unknown>[] = [{}];
  for (const [key, values] of Object.entries(domains))
    all = all.flatMap((one) => values.map((value) => ({ ...one, [key]: value })));
  return all as { readonly [K in keyof T]: T[K][number] }[];
}

const identity = (domain: string, namespace: string, account: string): ModelIdentity => ({
  ...{ domain, namespace, account },
});
const identities = [
  undefined,
  identity('td', 'a', 'x'),
  identity('td', 'ab', 'x'),
  identity('td', 'b', 'y'),
  identity('td2', 'a', 'x'),
  identity('td', 'a', 'x.y'),
];
const casesOf = (connections: readonly ModelConnection[]): Case[] =>
  connections.map((connection) => ({ connection, ours: toConnection(connection) }));

const counts = new Map<string, number>();

test.serial('every match of values in all six dimensions decides as the model says', (t) => {
  const cases = casesOf(
    product({
      identity: identities,
      from: ['10.0.0.1', '10.1.0.1', 'fd00::1'],
      to: ['10.9.0.1', 'fd00::9'],
      port: [80, 81],
    }),
  );
  const dimensions = product({
    namespace: [
      {},
      { namespaces: ['a'] },
      { namespaces: ['a*'] },
      { namespaces: ['*b'] },
      { namespaces: ['*'] },
      { namespaces: ['ab', 'b'] },
      { notNamespaces: ['a'] },
      { notNamespaces: ['*'] },
    ],
    principal: [
      {},
      { principals: ['td/ns/a/sa/x'] },
      { principals: ['td/*'] },
      { principals: ['*/sa/x'] },
      { principals: ['*'] },
      { notPrincipals: ['td/ns/a/sa/x'] },
      { notPrincipals: ['*'] },
    ],
    account: [{}, { serviceAccounts: ['a/x'] }, { notServiceAccounts: ['a/x', 'b/y'] }],
    from: [
      {},
      { sourceIps: ['10.0.0.0/8'] },
      { sourceIps: ['10.0.0.1/32', 'fd00::1/128'] },
      { sourceIps: ['::/0'] },
      { notSourceIps: ['0.0.0.0/0'] },
      { sourceIps: ['10.0.0.0/8'], notSourceIps: ['10.0.0.0/16'] },
    ],
    to: [{}, { destinationIps: ['10.9.0.0/16'] }, { notDestinationIps: ['fd00::/64'] }],
    port: [
      {},
      { destinationPorts: [80] },
      { destinationPorts: [80, 81] },
      { notDestinationPorts: [80] },
    ],
  });
  const destination = { namespace: 'a', names: [] };
  let count = 0;
  for (const each of dimensions) {
    const match = { ...each.namespace, ...each.principal, ...each.account };
    const rules = [[[{ ...match, ...each.from, ...each.to, ...each.port }]]];
    const one = { namespace: 'root', name: 'one', scope: 'GLOBAL', dryRun: false } as const;
    count += compare([{ ...one, action: 'DENY', rules }], destination, cases);
  }
  t.true(count > 800_000, `${count} tuples`);
  counts.set('matches', count);
});

const fewCases = casesOf(
  product({
    identity: [undefined, identity('td', 'a', 'x'), identity('td', 'b', 'y')],
    from: ['10.0.0.1'],
    to: ['10.9.0.1'],
    port: [80, 81],
  }),
);

test.serial('every shape of rules, clauses and matches decides as the model says', (t) => {
  const matches: readonly ModelMatch[] = [
    {}, // the empty match
    { destinationPorts: [80] },
    { namespaces: ['a'] },
    { notPrincipals: ['*'] },
  ];
  const upToTwo = <T>(values: readonly T[]): (readonly T[])[] => [
    [],
    ...values.map((value) => [value]),
    ...values.flatMap((one) => values.map((other) => [one, other])),
  ];
  const clauses = upToTwo(matches);
  const rules = upToTwo(clauses);
  const pairs = rules.filter((_, index) => index % 17 === 0);
  const policies = [...rules.map((one) => [one]), ...upToTwo(pairs)];
  const destination = { namespace: 'a', names: [] };
  let count = 0;
  for (const action of ['ALLOW', 'DENY'] as const)
    for (const own of policies) {
      const one = { namespace: 'a', name: 'one', scope: 'NAMESPACE', dryRun: false } as const;
      count += compare([{ ...one, action, rules: own }], destination, fewCases);
    }
  t.true(count > 10_000, `${count} tuples`);
  counts.set('shapes', count);
});

const RULES: Readonly<Record<string, ModelRules>> = {
  none: [],
  everything: [[]],
  port80: [[[{ destinationPorts: [80] }]]],
  namespaceA: [[[{ namespaces: ['a'] }]]],
  plaintext: [[[{ notPrincipals: ['*'] }]]],
  emptyMatch: [[[{}]]],
};

/** Where a policy is, seen from a destination in namespace `a` that names `root/named1` and so on. */
const PLACES = {
  global: { namespace: 'root', scope: 'GLOBAL', name: 'p' },
  own: { namespace: 'a', scope: 'NAMESPACE', name: 'p' },
  foreign: { namespace: 'b', scope: 'NAMESPACE', name: 'p' },
  named: { namespace: 'root', scope: 'WORKLOAD_SELECTOR', name: 'named' },
  unnamed: { namespace: 'a', scope: 'WORKLOAD_SELECTOR', name: 'p' },
} as const;

function policyOf(
  place: keyof typeof PLACES,
  action: 'ALLOW' | 'DENY',
  dryRun: boolean,
  rules: ModelRules,
): ModelPolicy {
  return { ...PLACES[place], action, dryRun, rules };
}

/** Compares the set with and without a name that no policy has. */
function compareSet(policies: readonly ModelPolicy[]): number {
  const numbered = policies.map((one, index) => ({ ...one, name: `${one.name}${index}` }));
  const names = numbered.filter(({ name }) => name.startsWith('named')).map(keyOfPolicy);
  return (
    compare(numbered, { namespace: 'a', names }, fewCases) +
    compare(numbered, { namespace: 'a', names: [...names, 'root/late'] }, fewCases)
  );
}

const keyOfPolicy = ({ namespace, name }: ModelPolicy): string => `${namespace}/${name}`;

test.serial('every pair of policies, wherever they are, decides as the model says', (t) => {
  const templates = product({
    place: Object.keys(PLACES) as (keyof typeof PLACES)[],
    action: ['ALLOW', 'DENY'] as const,
    dryRun: [false, true],
    rules: Object.values(RULES),
  }).map(({ place, action, dryRun, rules }) => policyOf(place, action, dryRun, rules));
  let count = compareSet([]);
  for (const first of templates) {
    count += compareSet([first]);
    for (const second of templates) count += compareSet([first, second]);
  }
  t.true(count > 170_000, `${count} tuples`);
  counts.set('pairs', count);
});

test.serial('every three policies decide as the model says', (t) => {
  const templates = product({
    place: ['global', 'own', 'named'] as const,
    action: ['ALLOW', 'DENY'] as const,
    dryRun: [false, true],
    rules: [RULES['none'] ?? [], RULES['port80'] ?? []],
  }).map(({ place, action, dryRun, rules }) => policyOf(place, action, dryRun, rules));
  let count = 0;
  for (const first of templates)
    for (const second of templates)
      for (const third of templates) count += compareSet([first, second, third]);
  t.true(count > 160_000, `${count} tuples`);
  counts.set('threes', count);
});

test.serial('the model was asked at least a million times', (t) => {
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
  t.log(`${total} pairs of a set of policies and a connection`);
  t.true(total >= 1_000_000, `${total} tuples`);
});
