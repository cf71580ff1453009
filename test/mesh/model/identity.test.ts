import test from 'ava';
import fc from 'fast-check';
import {
  identityParts,
  makeSpiffeId,
  parseSpiffeId,
  parseTrustDomain,
  principalOf,
} from '../../../mesh/model/identity.ts';

const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?$/);
const account = fc.array(label, { minLength: 1, maxLength: 3 }).map((labels) => labels.join('.'));
const trustDomain = fc.stringMatching(/^[a-z0-9._-]{1,40}$/).map(parseTrustDomain);

test('makeSpiffeId(), parseSpiffeId() and identityParts() are inverse', (t) => {
  fc.assert(
    fc.property(trustDomain, label, account, (domain, namespace, serviceAccount) => {
      const id = makeSpiffeId({ trustDomain: domain, namespace, serviceAccount });
      const parts = identityParts(parseSpiffeId(id));
      return (
        parts.trustDomain === domain &&
        parts.namespace === namespace &&
        parts.serviceAccount === serviceAccount &&
        `spiffe://${principalOf(id)}` === id
      );
    }),
  );
  t.is(
    String(principalOf(parseSpiffeId('spiffe://cluster.local/ns/a/sa/b'))),
    'cluster.local/ns/a/sa/b',
  );
});

const hostile = [
  '',
  'cluster.local/ns/a/sa/b',
  'SPIFFE://cluster.local/ns/a/sa/b',
  'spiffe:///ns/a/sa/b',
  'spiffe://cluster.local/ns/a/sa/b/',
  'spiffe://cluster.local//ns/a/sa/b',
  'spiffe://cluster.local/ns//sa/b',
  'spiffe://cluster.local/ns/a/sa/',
  'spiffe://cluster.local/sa/b/ns/a',
  'spiffe://cluster.local/ns/a/sa/b?x=1',
  'spiffe://cluster.local/ns/a/sa/b#x',
  'spiffe://user@cluster.local/ns/a/sa/b',
  'spiffe://cluster.local:8080/ns/a/sa/b',
  'spiffe://cluster.local/ns/../sa/b',
  'spiffe://cluster.local/ns/a%2fb/sa/b',
  'spiffe://cluster.local/ns/A/sa/b',
  'spiffe://Cluster.local/ns/a/sa/b',
  'spiffe://clu\u0455ter.local/ns/a/sa/b',
  'spiffe://cluster.local/ns/a/sa/b\0',
  'spiffe://cluster.local/ns/a/sa/b\n',
  'spiffe://cluster.local/ns/-a/sa/b',
  'spiffe://cluster.local/ns/a.b/sa/b',
  'spiffe://cluster.local/ns/a/sa/b..c',
  `spiffe://cluster.local/ns/a/sa/${'b'.repeat(254)}`,
  `spiffe://${'a'.repeat(256)}/ns/a/sa/b`,
  `spiffe://cluster.local/ns/a/sa/${'b'.repeat(3000)}`,
  ' spiffe://cluster.local/ns/a/sa/b',
];
for (const text of hostile) {
  test(`parseSpiffeId() refuses ${JSON.stringify(text.slice(0, 60))} of ${text.length}`, (t) => {
    t.throws(() => parseSpiffeId(text), { code: 'ERR_SPIFFE_ID' });
  });
}

test('makeSpiffeId() refuses parts that would write another path', (t) => {
  const parts = {
    trustDomain: parseTrustDomain('cluster.local'),
    namespace: 'a',
    serviceAccount: 'b',
  };
  t.throws(() => makeSpiffeId({ ...parts, namespace: 'a/sa/x' }), { code: 'ERR_SPIFFE_ID' });
  t.throws(() => makeSpiffeId({ ...parts, serviceAccount: 'b/../c' }), { code: 'ERR_SPIFFE_ID' });
  t.throws(() => makeSpiffeId({ ...parts, serviceAccount: '' }), { code: 'ERR_SPIFFE_ID' });
});

test('parseSpiffeId() decides on hostile lengths within a millisecond each', (t) => {
  const text = `spiffe://cluster.local/ns/a/sa/${'a-'.repeat(900)}`;
  const start = performance.now();
  for (let round = 0; round < 100; round++) t.throws(() => parseSpiffeId(text));
  t.true(performance.now() - start < 1000);
});
