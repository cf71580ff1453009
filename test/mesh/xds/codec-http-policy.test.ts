import test from 'ava';
import fc from 'fast-check';
import { ipFromBytes, makeCidr } from '../../../base/address.ts';
import { policyKey, type StringMatch } from '../../../mesh/model/authorization.ts';
import type { HttpCondition, HttpPolicy } from '../../../mesh/model/http-policy.ts';
import { PATH_NORMALIZATIONS } from '../../../mesh/model/path-normalization.ts';
import { serviceKey } from '../../../mesh/model/service.ts';
import { serviceTarget, type TargetSecurity } from '../../../mesh/model/target-security.ts';
import { TargetSecurity as Message } from '../../../mesh/proto/gen/waypoint-security.ts';
import { decodeTargetSecurity, encodeTargetSecurity } from '../../../mesh/xds/codec-http-policy.ts';
import { makeAuthorizer } from '../../support/http-policies.ts';

const text = fc.string({ unit: 'grapheme', maxLength: 12 });
const name = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 });
const texts = fc.array(text, { maxLength: 3 });
const match: fc.Arbitrary<StringMatch> = fc.oneof(
  fc.record({ kind: fc.constantFrom('exact', 'prefix', 'suffix'), value: text }),
  fc.constant({ kind: 'presence' as const }),
);
const template = fc.constantFrom('/{*}', '/a/{**}', '/a/{*}/b/{**}/c').map((value) => ({
  kind: 'template' as const,
  value,
}));
const cidr = fc
  .tuple(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.nat(32))
  .map(([ip, prefix]) => makeCidr(ipFromBytes(ip), prefix));
const account = fc.record({ namespace: text, serviceAccount: text });

/** Values on either side, of which there is one at least. */
function valuesOf<T>(value: fc.Arbitrary<T>): fc.Arbitrary<{ values: T[]; notValues: T[] }> {
  const list = fc.array(value, { maxLength: 3 });
  return fc
    .record({ values: list, notValues: list })
    .filter(({ values, notValues }) => values.length + notValues.length > 0);
}

const condition: fc.Arbitrary<HttpCondition> = fc.oneof(
  fc
    .tuple(
      fc.constantFrom(
        ...(['source.namespace', 'source.principal', 'source.trustDomain'] as const),
        ...(['connection.sni', 'request.host', 'request.method'] as const),
        ...(['request.auth.principal', 'request.auth.audiences'] as const),
        'request.auth.presenter' as const,
      ),
      valuesOf(match),
    )
    .map(([attribute, values]) => ({ attribute, ...values })),
  valuesOf(account).map((values) => ({ attribute: 'source.serviceAccount' as const, ...values })),
  fc
    .tuple(fc.constantFrom('source.ip', 'remote.ip', 'destination.ip'), valuesOf(cidr))
    .map(([attribute, values]) => ({ attribute, ...values })),
  valuesOf(fc.integer({ min: 1, max: 65_535 })).map((values) => ({
    attribute: 'destination.port' as const,
    ...values,
  })),
  valuesOf(fc.oneof(match, template)).map((values) => ({
    attribute: 'request.path' as const,
    ...values,
  })),
  fc.tuple(name, valuesOf(match)).map(([header, values]) => ({
    ...{ attribute: 'request.headers' as const, name: header.toLowerCase() },
    ...values,
  })),
  fc
    .tuple(fc.array(text, { minLength: 1, maxLength: 3 }), valuesOf(match))
    .map(([claim, values]) => ({
      ...{ attribute: 'request.auth.claims' as const, claim },
      ...values,
    })),
);

const key = fc.tuple(name, name).map(([namespace, own]) => policyKey(namespace, own));
const validKey = key.filter((each) => each.split('/').length === 2);
const authorizer = fc.record({
  ...{ name: text, host: name, failOpen: fc.boolean(), packAsBytes: fc.boolean() },
  ...{ port: fc.integer({ min: 1, max: 65_535 }), timeoutMs: fc.nat(600_000) },
  ...{ statusOnError: fc.integer({ min: 400, max: 599 }), maxRequestBytes: fc.nat() },
  ...{ allowPartialMessage: fc.boolean(), includeHeaders: texts },
});
const http = fc.record({
  ...{ pathPrefix: text, headersToUpstreamOnAllow: texts },
  ...{ headersToDownstreamOnDeny: texts, headersToDownstreamOnAllow: texts },
  additionalHeaders: fc.array(fc.record({ name: text, value: text }), { maxLength: 2 }),
});
const policy: fc.Arbitrary<HttpPolicy> = fc.record({
  key: validKey,
  action: fc.oneof(
    fc.record({ kind: fc.constantFrom('ALLOW' as const, 'DENY' as const, 'AUDIT' as const) }),
    fc.record({ kind: fc.constant('CUSTOM' as const), problem: name }),
    fc.record({
      kind: fc.constant('CUSTOM' as const),
      authorizer: fc.oneof(
        authorizer,
        fc.tuple(authorizer, http).map(([both, own]) => ({ ...both, http: own })),
      ),
    }),
  ),
  dryRun: fc.boolean(),
  rules: fc.array(
    fc.record({
      clauses: fc.array(
        fc.record({
          matches: fc.array(
            fc.record({ conditions: fc.array(condition, { minLength: 1, maxLength: 3 }) }),
            { minLength: 1, maxLength: 2 },
          ),
        }),
        { maxLength: 3 },
      ),
    }),
    { maxLength: 3 },
  ),
});
const jwtRule = fc.record({
  ...{ issuer: name, audiences: texts, jwks: text, fromParams: texts, fromCookies: texts },
  fromHeaders: fc.array(fc.record({ name: text, prefix: text }), { maxLength: 2 }),
  outputPayloadToHeader: text,
  outputClaimToHeaders: fc.array(fc.record({ header: text, claim: texts }), { maxLength: 2 }),
  ...{ forwardOriginalToken: fc.boolean(), spaceDelimitedClaims: texts },
});
const withoutSettings = fc.record({
  target: fc.constant(serviceTarget(serviceKey('shop', 'web.shop.svc.cluster.local'))),
  policies: fc.array(policy, { maxLength: 3 }),
  authentications: fc.array(
    fc.record({ key: validKey, rules: fc.array(jwtRule, { maxLength: 3 }) }),
    { maxLength: 2 },
  ),
});
const waypointSettings = fc.record({
  ...{ trustedProxies: fc.nat(64), allowUnderscores: fc.boolean() },
  ...{ tellClientIdentity: fc.boolean() },
  paths: fc.constantFrom('STRICT' as const, ...PATH_NORMALIZATIONS),
});
const security: fc.Arbitrary<TargetSecurity> = fc.oneof(
  withoutSettings,
  fc.tuple(withoutSettings, waypointSettings).map(([one, settings]) => ({ ...one, settings })),
);

test('decodeTargetSecurity() reads what encodeTargetSecurity() writes', (t) => {
  fc.assert(
    fc.property(security, (one) => {
      t.deepEqual(decodeTargetSecurity(encodeTargetSecurity(one)), one);
    }),
    { numRuns: 300 },
  );
});

const sample: TargetSecurity = {
  target: serviceTarget(serviceKey('shop', 'web.shop.svc.cluster.local')),
  policies: [
    {
      key: policyKey('shop', 'one'),
      action: { kind: 'CUSTOM', authorizer: makeAuthorizer() },
      dryRun: false,
      rules: [
        {
          clauses: [
            {
              matches: [
                {
                  conditions: [
                    {
                      attribute: 'request.path',
                      values: [{ kind: 'exact', value: '/a' }],
                      notValues: [],
                    },
                  ],
                },
              ],
            },
          ],
        },
      ],
    },
  ],
  authentications: [],
};

type Messages = ReturnType<typeof Message.decode>;

const refused = test.macro({
  exec(t, change: (message: Messages) => void, reason: RegExp) {
    const message = Message.decode(encodeTargetSecurity(sample));
    change(message);
    const error = t.throws(() => decodeTargetSecurity(Message.encode(message).finish()), {
      code: 'ERR_XDS_RESOURCE',
    });
    t.regex(String(error), reason);
  },
  title: (given = '') => `decodeTargetSecurity() refuses ${given}`,
});

type ConditionMessage =
  Messages['policies'][number]['rules'][number]['clauses'][number]['matches'][number]['conditions'][number];

function onCondition(change: (condition: ConditionMessage) => void): (message: Messages) => void {
  return (message) => {
    const condition = message.policies[0]?.rules[0]?.clauses[0]?.matches[0]?.conditions[0];
    if (condition !== undefined) change(condition);
  };
}

test(
  'an attribute that it does not know',
  refused,
  onCondition((condition) => {
    condition.attribute = 99 as ConditionMessage['attribute'];
  }),
  /unknown value 99 of attribute/,
);
test(
  'a condition without an attribute',
  refused,
  onCondition((condition) => {
    condition.attribute = 0;
  }),
  /without attribute/,
);
test(
  'a condition without values',
  refused,
  onCondition((condition) => {
    condition.values = [];
  }),
  /without values/,
);
test(
  'a value of no kind',
  refused,
  onCondition((condition) => {
    condition.values = [{}];
  }),
  /of a kind that it does not have/,
);
test(
  'a network for a path',
  refused,
  onCondition((condition) => {
    condition.values = [{ value: { $case: 'port', value: 80 } }];
  }),
  /of a kind that it does not have/,
);
test(
  'a template that cannot be read',
  refused,
  onCondition((condition) => {
    condition.values = [{ value: { $case: 'template', value: '/{**}/{*}' } }];
  }),
  /bad path template/,
);
test(
  'a clause without matches',
  refused,
  (message) => {
    const clause = message.policies[0]?.rules[0]?.clauses[0];
    if (clause !== undefined) clause.matches = [];
  },
  /a clause without matches/,
);
test(
  'CUSTOM without an authorizer',
  refused,
  (message) => {
    const [first] = message.policies;
    if (first !== undefined) delete first.authorizer;
  },
  /CUSTOM without an authorizer/,
);
test(
  'an action that it does not know',
  refused,
  (message) => {
    const [first] = message.policies;
    if (first !== undefined) first.action = 9 as (typeof first)['action'];
  },
  /unknown value 9 of action/,
);

test('decodeTargetSecurity() refuses a field that it does not know', (t) => {
  // Field 15, a number.
  const bytes = Buffer.concat([encodeTargetSecurity(sample), Buffer.from([15 << 3, 1])]);
  const error = t.throws(() => decodeTargetSecurity(bytes), { code: 'ERR_XDS_RESOURCE' });
  t.regex(String(error), /fields that are not known here/);
});
