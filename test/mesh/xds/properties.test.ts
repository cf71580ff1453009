import test from 'ava';
import fc from 'fast-check';
import { ipFromBytes, makeCidr } from '../../../base/address.ts';
import type {
  AuthorizationPolicy,
  PolicyMatch,
  StringMatch,
} from '../../../mesh/model/authorization.ts';
import { decodeAuthorization, encodeAuthorization } from '../../../mesh/xds/codec-policy.ts';

const text = fc.string({ unit: 'grapheme', maxLength: 20 });
const name = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 });
const stringMatch: fc.Arbitrary<StringMatch> = fc.oneof(
  fc.record({
    kind: fc.constantFrom('exact' as const, 'prefix' as const, 'suffix' as const),
    value: text,
  }),
  fc.constant({ kind: 'presence' as const }),
);
const bytes = (length: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength: length, maxLength: length });
const cidr = fc
  .oneof(
    fc.tuple(bytes(4), fc.nat(32)),
    // Beginning with a bit, so that none is a mapped IPv4 address.
    fc.tuple(
      bytes(16).map((ip) => Uint8Array.from(ip).fill(0x20, 0, 1)),
      fc.nat(128),
    ),
  )
  .map(([ip, prefix]) => makeCidr(ipFromBytes(ip), prefix));
const texts = fc.array(stringMatch, { maxLength: 3 });
const cidrs = fc.array(cidr, { maxLength: 3 });
const ports = fc.array(fc.integer({ min: 1, max: 65_535 }), { maxLength: 3 });
const accounts = fc.array(fc.record({ namespace: text, serviceAccount: text }), { maxLength: 3 });
const match: fc.Arbitrary<PolicyMatch> = fc.record({
  ...{ namespaces: texts, notNamespaces: texts, principals: texts, notPrincipals: texts },
  ...{ serviceAccounts: accounts, notServiceAccounts: accounts },
  ...{ sourceIps: cidrs, notSourceIps: cidrs, destinationIps: cidrs, notDestinationIps: cidrs },
  ...{ destinationPorts: ports, notDestinationPorts: ports },
});
const clause = fc.record({ matches: fc.array(match, { maxLength: 3 }) });
const policy: fc.Arbitrary<AuthorizationPolicy> = fc.record({
  ...{ name, namespace: name, dryRun: fc.boolean() },
  scope: fc.constantFrom('GLOBAL' as const, 'NAMESPACE' as const, 'WORKLOAD_SELECTOR' as const),
  action: fc.constantFrom('ALLOW' as const, 'DENY' as const),
  rules: fc.array(fc.record({ clauses: fc.array(clause, { maxLength: 3 }) }), { maxLength: 3 }),
});

test('decodeAuthorization() reads what encodeAuthorization() writes', (t) => {
  fc.assert(
    fc.property(policy, (one) => {
      t.deepEqual(decodeAuthorization(encodeAuthorization(one)), one);
    }),
    { numRuns: 300 },
  );
});

test('a policy that is cut anywhere is refused or is a whole message, never one with a part of a match', (t) => {
  fc.assert(
    fc.property(policy, fc.nat(), (one, at) => {
      const whole = encodeAuthorization(one);
      try {
        const cut = decodeAuthorization(whole.subarray(0, at % whole.length));
        // What is left out comes last: rules are whole or gone.
        t.deepEqual(cut.rules, one.rules.slice(0, cut.rules.length));
      } catch (error) {
        t.regex(String(Reflect.get(Object(error), 'code')), /^ERR_(?:PROTO|XDS_RESOURCE)$/);
      }
    }),
    { numRuns: 300 },
  );
});
