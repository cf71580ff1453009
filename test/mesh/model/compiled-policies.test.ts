import test from 'ava';
import fc from 'fast-check';
import { parseCidr, parseIpAddress } from '../../../base/address.ts';
import {
  policyKey,
  type AuthorizationPolicy,
  type PolicyMatch,
  type StringMatch,
} from '../../../mesh/model/authorization.ts';
import { authorize, ruleHolds, type PolicyConnection } from '../../../mesh/model/authorize.ts';
import { CompiledPolicies } from '../../../mesh/model/compiled-policies.ts';
import { parseSpiffeId } from '../../../mesh/model/identity.ts';
import { connectionOf, makeMatch, makePolicy, makeRule, text } from '../../support/policies.ts';

// Small worlds, so that rules and connections meet often.
const namespaces = ['a', 'ab', 'b', 'ba'];
const accounts = ['x', 'xy'];
const ips = ['10.0.0.1', '10.0.0.2', '10.1.0.1', '192.0.2.1', 'fd00::1', 'fd00::2', 'fd01::1'];
const portNumbers = [80, 81, 443];

const identity = fc.record({
  domain: fc.constantFrom('td', 'td.x'),
  namespace: fc.constantFrom(...namespaces),
  account: fc.constantFrom(...accounts),
});
const principalText = identity.map(
  ({ domain, namespace, account }) => `${domain}/ns/${namespace}/sa/${account}`,
);

function stringMatch(whole: fc.Arbitrary<string>): fc.Arbitrary<StringMatch> {
  const cut = fc.tuple(whole, fc.nat(20));
  return fc.oneof(
    whole.map((value) => ({ kind: 'exact' as const, value })),
    cut.map(([value, length]) => ({ kind: 'prefix' as const, value: value.slice(0, length) })),
    cut.map(([value, from]) => ({ kind: 'suffix' as const, value: value.slice(from) })),
    fc.constant({ kind: 'presence' as const }),
  );
}

const few = <T>(one: fc.Arbitrary<T>): fc.Arbitrary<readonly T[]> =>
  fc.oneof(
    { weight: 5, arbitrary: fc.constant<readonly T[]>([]) },
    { weight: 2, arbitrary: fc.array(one, { minLength: 1, maxLength: 3 }) },
  );
const cidr = fc
  .tuple(fc.constantFrom(...ips), fc.nat(128))
  .map(([ip, prefix]) => parseCidr(`${ip}/${ip.includes(':') ? prefix : Math.min(prefix, 32)}`));
const namespaceMatch = stringMatch(fc.constantFrom(...namespaces));
const account = fc.record({
  namespace: fc.constantFrom(...namespaces),
  serviceAccount: fc.constantFrom(...accounts),
});
const port = fc.constantFrom(...portNumbers);
const match: fc.Arbitrary<PolicyMatch> = fc.record({
  namespaces: few(namespaceMatch),
  notNamespaces: few(namespaceMatch),
  principals: few(stringMatch(principalText)),
  notPrincipals: few(stringMatch(principalText)),
  serviceAccounts: few(account),
  notServiceAccounts: few(account),
  sourceIps: few(cidr),
  notSourceIps: few(cidr),
  destinationIps: few(cidr),
  notDestinationIps: few(cidr),
  destinationPorts: few(port),
  notDestinationPorts: few(port),
});
const clause = fc.record({ matches: fc.array(match, { maxLength: 3 }) });
const rule = fc.record({ clauses: fc.array(clause, { maxLength: 3 }) });
const policy: fc.Arbitrary<AuthorizationPolicy> = fc.record({
  name: fc.integer({ min: 0, max: 11 }).map(String),
  namespace: fc.constantFrom('a', 'b'),
  scope: fc.constantFrom('GLOBAL' as const, 'NAMESPACE' as const, 'WORKLOAD_SELECTOR' as const),
  action: fc.constantFrom('ALLOW' as const, 'DENY' as const),
  dryRun: fc.oneof(
    { weight: 3, arbitrary: fc.constant(false) },
    { weight: 1, arbitrary: fc.constant(true) },
  ),
  rules: fc.array(rule, { maxLength: 4 }),
});
const connection: fc.Arbitrary<PolicyConnection> = fc
  .record({
    from: fc.constantFrom(...ips),
    to: fc.constantFrom(...ips),
    destinationPort: port,
    who: fc.option(principalText),
  })
  .map(({ from, to, destinationPort, who }) => ({
    sourceIp: parseIpAddress(from),
    destinationIp: parseIpAddress(to),
    destinationPort,
    ...(who === null ? {} : { sourceIdentity: parseSpiffeId(`spiffe://${who}`) }),
  }));
const target = fc.record({
  namespace: fc.constantFrom('a', 'b', 'c'),
  authorizationPolicies: fc.array(
    fc
      .tuple(fc.constantFrom('a', 'b'), fc.integer({ min: 0, max: 11 }))
      .map(([namespace, name]) => policyKey(namespace, String(name))),
    { maxLength: 4 },
  ),
});
type Step =
  | { kind: 'set'; policy: AuthorizationPolicy }
  | { kind: 'delete'; policy: AuthorizationPolicy };
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: policy.map((one) => ({ kind: 'set' as const, policy: one })) },
  { weight: 1, arbitrary: policy.map((one) => ({ kind: 'delete' as const, policy: one })) },
);

test('CompiledPolicies decides as authorize() does, through any sequence of changes', (t) => {
  const steps = fc.array(step, { minLength: 1, maxLength: 30 });
  const connections = fc.array(fc.tuple(target, connection), { minLength: 10, maxLength: 30 });
  fc.assert(
    fc.property(steps, connections, (changes, cases) => {
      const compiled = new CompiledPolicies();
      const plain = new Map<string, AuthorizationPolicy>();
      for (const change of changes) {
        const key = policyKey(change.policy.namespace, change.policy.name);
        if (change.kind === 'set') {
          compiled.set(change.policy);
          plain.set(key, change.policy);
        } else if (compiled.delete(key) !== plain.delete(key)) return false;
      }
      if (compiled.size !== plain.size) return false;
      return cases.every(([to, from]) => {
        const expected = authorize(compiled.applying(to), from);
        const found = compiled.decide(to, from);
        return (
          found.kind === expected.kind &&
          (found.by === undefined) === (expected.by === undefined) &&
          (found.by === undefined || hits(plain, found.by, from)) &&
          same(found.dryRun, expected.dryRun)
        );
      });
    }),
    { numRuns: 1500 },
  );
  t.pass();
});

function hits(
  policies: ReadonlyMap<string, AuthorizationPolicy>,
  by: { policy: string; rule: number },
  from: PolicyConnection,
): boolean {
  const found = policies.get(by.policy)?.rules[by.rule];
  return found !== undefined && ruleHolds(found, from);
}

function same(a: readonly object[], b: readonly object[]): boolean {
  const sorted = (list: readonly object[]): string =>
    JSON.stringify(list.map((one) => JSON.stringify(one, ['policy', 'rule', 'action'])).sort());
  return sorted(a) === sorted(b);
}

test('applying() holds the global ones, those of the namespace and those named', (t) => {
  const policies = new CompiledPolicies();
  const add = (name: string, namespace: string, scope: AuthorizationPolicy['scope']): void => {
    policies.set(makePolicy({ name, namespace, scope }));
  };
  add('global', 'istio-system', 'GLOBAL');
  add('own', 'shop', 'NAMESPACE');
  add('other', 'bank', 'NAMESPACE');
  add('named', 'istio-system', 'WORKLOAD_SELECTOR');
  add('unnamed', 'shop', 'WORKLOAD_SELECTOR');
  const workload = {
    namespace: 'shop',
    authorizationPolicies: [policyKey('istio-system', 'named'), policyKey('shop', 'late')],
  };
  const names = policies.applying(workload).map(({ name }) => name);
  t.deepEqual(names, ['global', 'named', 'own']);
  t.deepEqual(policies.missing(workload), [policyKey('shop', 'late')]);
});

test('CompiledPolicies forgets what is deleted, to the last value', (t) => {
  const policies = new CompiledPolicies();
  const workload = { namespace: 'shop', authorizationPolicies: [] };
  const everyone = makeRule([makeMatch({ principals: [text('*')] })]);
  for (let round = 0; round < 3; round++) {
    for (let index = 0; index < 200; index++) {
      const unique = makeRule([makeMatch({ principals: [text(`p${index}*`)] })]);
      const rules = [everyone, unique];
      policies.set(makePolicy({ name: `deny-${index}`, action: 'DENY', rules }));
    }
    t.is(policies.decide(workload, connectionOf('shop/web')).kind, 'deny');
    for (let index = 0; index < 200; index++)
      t.true(policies.delete(policyKey('istio-system', `deny-${index}`)));
    t.is(policies.decide(workload, connectionOf('shop/web')).kind, 'allow');
    t.is(policies.size, 0);
  }
});

test('a policy that is set again decides by its new rules only', (t) => {
  const policies = new CompiledPolicies();
  const workload = { namespace: 'shop', authorizationPolicies: [] };
  const deny = (port: number): AuthorizationPolicy =>
    makePolicy({ action: 'DENY', rules: [makeRule([makeMatch({ destinationPorts: [port] })])] });
  policies.set(deny(80));
  t.is(policies.decide(workload, connectionOf('shop/web')).kind, 'deny');
  policies.set(deny(81));
  t.is(policies.decide(workload, connectionOf('shop/web')).kind, 'allow');
  t.is(policies.decide(workload, connectionOf('shop/web', { port: 81 })).kind, 'deny');
});
