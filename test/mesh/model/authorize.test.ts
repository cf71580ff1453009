import test from 'ava';
import {
  policyKey,
  type AuthorizationPolicy,
  type PolicyRule,
} from '../../../mesh/model/authorization.ts';
import {
  authorize,
  ruleHolds,
  stringMatches,
  type PolicyConnection,
} from '../../../mesh/model/authorize.ts';
import { nearestAllow } from '../../../mesh/model/nearest-allow.ts';
import {
  cidrs,
  connectionOf,
  makeMatch,
  makePolicy,
  makeRule,
  text,
} from '../../support/policies.ts';

const client = connectionOf('shop/web');
const plaintext = connectionOf('');

const rules = test.macro({
  exec(t, rule: PolicyRule, connection: PolicyConnection, expected: boolean) {
    t.is(ruleHolds(rule, connection), expected);
  },
  title: (given = '') => `ruleHolds(): ${given}`,
});

const webPrincipal = makeMatch({ principals: [text('cluster.local/ns/shop/sa/web')] });
const port80 = makeMatch({ destinationPorts: [80] });
const port81 = makeMatch({ destinationPorts: [81] });

test('a rule without clauses holds', rules, makeRule(), client, true);
test('a clause without matches holds', rules, makeRule([]), client, true);
test('a clause of only empty matches is false', rules, makeRule([makeMatch()]), client, false);
test('an empty match is skipped', rules, makeRule([makeMatch(), port80]), client, true);
test('an empty match helps no other', rules, makeRule([makeMatch(), port81]), client, false);
test('clauses are joined by and', rules, makeRule([port80], [port81]), client, false);
test('a false clause kills its rule', rules, makeRule([port80], [makeMatch()]), client, false);
test('matches are joined by or', rules, makeRule([port81, webPrincipal]), client, true);
test(
  'fields are joined by and',
  rules,
  makeRule([{ ...webPrincipal, destinationPorts: [81] }]),
  client,
  false,
);
test(
  'values of a field are joined by or',
  rules,
  makeRule([makeMatch({ destinationPorts: [81, 80] })]),
  client,
  true,
);

const fields: readonly (readonly [string, Parameters<typeof makeMatch>[0], boolean, boolean])[] = [
  // title, match, holds for shop/web, holds for plaintext
  ['an exact principal', { principals: [text('cluster.local/ns/shop/sa/web')] }, true, false],
  [
    'a principal written as URI',
    { principals: [text('spiffe://cluster.local/ns/shop/sa/web')] },
    false,
    false,
  ],
  [
    'a principal in other case',
    { principals: [text('cluster.local/ns/shop/sa/Web')] },
    false,
    false,
  ],
  ['a dot is literal', { principals: [text('cluster.local/ns/shop/sa/w.b')] }, false, false],
  ['a principal by prefix', { principals: [text('cluster.local/ns/shop/*')] }, true, false],
  ['a principal by suffix', { principals: [text('*/sa/web')] }, true, false],
  ['any principal', { principals: [text('*')] }, true, false],
  [
    'an empty prefix is any principal',
    { principals: [{ kind: 'prefix', value: '' }] },
    true,
    false,
  ],
  [
    'not an exact principal',
    { notPrincipals: [text('cluster.local/ns/shop/sa/web')] },
    false,
    true,
  ],
  ['not another principal', { notPrincipals: [text('cluster.local/ns/shop/sa/api')] }, true, true],
  ['no principal at all', { notPrincipals: [text('*')] }, false, true],
  ['a namespace', { namespaces: [text('shop')] }, true, false],
  ['any namespace', { namespaces: [text('*')] }, true, false],
  ['a namespace by prefix', { namespaces: [text('sh*')] }, true, false],
  ['a namespace by suffix', { namespaces: [text('*op')] }, true, false],
  ['not a namespace', { notNamespaces: [text('shop')] }, false, true],
  ['not any namespace', { notNamespaces: [text('*')] }, false, true],
  [
    'a service account',
    { serviceAccounts: [{ namespace: 'shop', serviceAccount: 'web' }] },
    true,
    false,
  ],
  [
    'the account of another namespace',
    { serviceAccounts: [{ namespace: 'bank', serviceAccount: 'web' }] },
    false,
    false,
  ],
  [
    'not a service account',
    { notServiceAccounts: [{ namespace: 'shop', serviceAccount: 'web' }] },
    false,
    true,
  ],
  [
    'not another account',
    { notServiceAccounts: [{ namespace: 'bank', serviceAccount: 'web' }] },
    true,
    true,
  ],
  ['a source network', { sourceIps: cidrs('10.0.0.0/30') }, true, true],
  ['another source network', { sourceIps: cidrs('10.0.1.0/24') }, false, false],
  ['a source network of IPv6', { sourceIps: cidrs('::/0') }, false, false],
  ['not a source network', { notSourceIps: cidrs('10.0.0.1') }, false, false],
  ['a destination network', { destinationIps: cidrs('10.0.0.2/32') }, true, true],
  ['not a destination network', { notDestinationIps: cidrs('10.0.0.0/8') }, false, false],
  ['a port', { destinationPorts: [80] }, true, true],
  ['another port', { destinationPorts: [8080, 443] }, false, false],
  ['not a port', { notDestinationPorts: [80] }, false, false],
  ['not another port', { notDestinationPorts: [443] }, true, true],
];
for (const [title, match, forClient, forPlaintext] of fields) {
  const rule = makeRule([makeMatch(match)]);
  test(title, rules, rule, client, forClient);
  test(`${title}, for plaintext`, rules, rule, plaintext, forPlaintext);
}

test('stringMatches() takes every value literally', (t) => {
  t.false(stringMatches({ kind: 'exact', value: '*' }, 'shop'));
  t.false(stringMatches({ kind: 'prefix', value: '.*' }, 'shop'));
  t.false(stringMatches({ kind: 'exact', value: 'shop.' }, 'shop'));
  t.false(stringMatches({ kind: 'presence' }, ''));
});

const decisions = test.macro({
  exec(t, policies: readonly AuthorizationPolicy[], kind: 'allow' | 'deny', reason: string) {
    const decision = authorize(policies, client);
    t.is(decision.kind, kind);
    t.is(decision.reason, reason);
  },
  title: (given = '') => `authorize(): ${given}`,
});

const hits = [makeRule([webPrincipal])];
const misses = [makeRule([port81])];
const named = (name: string, fields: Partial<AuthorizationPolicy>): AuthorizationPolicy =>
  makePolicy({ name, namespace: 'shop', ...fields });
const DENIED = 'explicitly denied by: shop/d';
const NONE_ALLOWED = 'allow policies exist, but none allowed';

test('without policies everything is allowed', decisions, [], 'allow', 'no allow policies apply');
test(
  'a DENY that matches denies',
  decisions,
  [named('d', { action: 'DENY', rules: hits })],
  'deny',
  DENIED,
);
test(
  'a DENY goes before an ALLOW',
  decisions,
  [named('a', { rules: hits }), named('d', { action: 'DENY', rules: hits })],
  'deny',
  DENIED,
);
test(
  'a DENY that does not match allows the rest',
  decisions,
  [named('d', { action: 'DENY', rules: misses })],
  'allow',
  'no allow policies apply',
);
test(
  'an ALLOW that matches allows',
  decisions,
  [named('a', { rules: hits })],
  'allow',
  'allowed by: shop/a',
);
test(
  'an ALLOW that does not match denies',
  decisions,
  [named('a', { rules: misses })],
  'deny',
  NONE_ALLOWED,
);
test('an ALLOW without rules denies everything', decisions, [named('a', {})], 'deny', NONE_ALLOWED);
test(
  'a DENY without rules denies nothing',
  decisions,
  [named('d', { action: 'DENY' })],
  'allow',
  'no allow policies apply',
);
test(
  'one of two ALLOWs is enough',
  decisions,
  [named('a', { rules: misses }), named('b', { rules: hits })],
  'allow',
  'allowed by: shop/b',
);
test(
  'an ALLOW in dry-run restricts nothing',
  decisions,
  [named('a', { rules: misses, dryRun: true })],
  'allow',
  'no allow policies apply',
);

test('authorize() reports matches in dry-run and enforces none', (t) => {
  const dry = { dryRun: true, rules: [...misses, ...hits] };
  const decision = authorize([named('a', dry), named('d', { ...dry, action: 'DENY' })], client);
  t.is(decision.kind, 'allow');
  t.deepEqual(decision.dryRun, [
    { policy: policyKey('shop', 'd'), rule: 1, action: 'DENY' },
    { policy: policyKey('shop', 'a'), rule: 1, action: 'ALLOW' },
  ]);
});

test('authorize() names the rule that decided', (t) => {
  const decision = authorize([named('a', { rules: [...misses, ...hits] })], client);
  t.is(decision.by?.policy, policyKey('shop', 'a'));
  t.is(decision.by?.rule, 1);
});

test('nearestAllow() finds the rule with the fewest unmet fields and says which', (t) => {
  const far = makeRule([makeMatch({ principals: [text('*/sa/api')], destinationPorts: [81] })]);
  const near = makeRule([{ ...webPrincipal, destinationPorts: [8080, 443] }], [port80]);
  const policies = [
    named('far', { rules: [far] }),
    named('near', { rules: [misses, near].flat() }),
  ];
  const nearest = nearestAllow(
    [...policies, named('deny', { action: 'DENY', rules: hits })],
    client,
  );
  t.is(nearest?.policy, policyKey('shop', 'near'));
  t.is(nearest?.rule, 0);
  t.deepEqual(nearest?.unmet, ['destination port must be one of 81, found 80']);
});

test('nearestAllow() takes the closest match of each clause', (t) => {
  const rule = makeRule(
    [makeMatch({ namespaces: [text('bank')] }), webPrincipal],
    [makeMatch(), makeMatch({ notSourceIps: cidrs('10.0.0.0/8'), destinationPorts: [80] })],
  );
  const nearest = nearestAllow([named('a', { rules: [rule] })], client);
  t.deepEqual(nearest?.unmet, ['source IP must be none of 10.0.0.0/8, found 10.0.0.1']);
});

test('nearestAllow() leaves out rules that nothing can meet', (t) => {
  t.is(nearestAllow([named('a', { rules: [makeRule([makeMatch()])] })], client), undefined);
  t.is(
    nearestAllow([named('a', {}), named('b', { rules: hits, dryRun: true })], client),
    undefined,
  );
});

test('nearestAllow() says of plaintext that it has no identity', (t) => {
  const principals = ['a', 'b', 'c', 'd', 'e', 'f', 'g'].map(text);
  const nearest = nearestAllow(
    [named('a', { rules: [makeRule([makeMatch({ principals })])] })],
    plaintext,
  );
  t.deepEqual(nearest?.unmet, [
    'source principal must be one of a, b, c, d, e and 2 more, found no identity (plaintext)',
  ]);
});

test('nearestAllow() has nothing unmet exactly when the policies allow', (t) => {
  const nearest = nearestAllow([named('a', { rules: hits })], client);
  t.deepEqual(nearest?.unmet, []);
});
