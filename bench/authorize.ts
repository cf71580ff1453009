/**
 * How long is an authorization decision among 10,000 global DENY policies of 10 mixed rules, none of which matches?
 * Prints the median and the worst connection, in microseconds, for indexed and plain evaluation.
 *
 *     node bench/authorize.ts [policies] [--json]
 */
import { makeCidr, parseIpAddress, type Cidr } from '../base/address.ts';
import type { AuthorizationPolicy, PolicyMatch, PolicyRule } from '../mesh/model/authorization.ts';
import { authorize, type PolicyConnection } from '../mesh/model/authorize.ts';
import { CompiledPolicies } from '../mesh/model/compiled-policies.ts';
import { parseSpiffeId } from '../mesh/model/identity.ts';
import { makeMatch } from '../test/support/policies.ts';

const RULES_PER_POLICY = 10;
const policyCount = Number(process.argv.slice(2).find((word) => !word.startsWith('-')) ?? 10_000);

/** The generator of Lehmer, so that every run has the same policies. */
function makeRandom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 48_271) % 0x7fff_ffff;
    return state % below;
  };
}

const random = makeRandom(20_240_601);
const namespace = (): string => `ns-${random(500)}`;
const account = (): string => `sa-${random(50)}`;
const principal = (): string => `cluster.local/ns/${namespace()}/sa/${account()}`;
const port = (): number => 8000 + random(40);
const network = (): Cidr =>
  makeCidr(parseIpAddress(`10.${random(250)}.${random(250)}.${random(250)}`), 12 + random(21));
const exact = (value: string): { kind: 'exact'; value: string } => ({ kind: 'exact', value });

/** No connection below comes to this port, so that no rule matches however much else of it does. */
const NO_PORT = [1];

/** Ten kinds of rule: each field alone or with others, positive and negative, one clause or several. */
function makeMixedRule(kind: number): PolicyRule {
  const one = (match: Partial<PolicyMatch>): PolicyRule => ({
    clauses: [{ matches: [makeMatch(match)] }],
  });
  switch (kind) {
    case 0:
      return one({ principals: [exact(`${principal()}-x`), exact(`${principal()}-y`)] });
    case 1:
      return one({ namespaces: [exact(namespace())], destinationPorts: NO_PORT });
    case 2:
      return one({
        serviceAccounts: [{ namespace: namespace(), serviceAccount: account() }],
        notSourceIps: [makeCidr(parseIpAddress('10.0.0.0'), 8)],
      });
    case 3:
      return one({ sourceIps: [network(), network()], destinationPorts: NO_PORT });
    case 4:
      return one({ destinationPorts: [port()], namespaces: [exact(`${namespace()}-x`)] });
    case 5:
      return one({
        principals: [{ kind: 'prefix', value: `cluster.local/ns/${namespace()}/` }],
        destinationIps: [makeCidr(parseIpAddress(`192.0.2.${random(256)}`), 32)],
      });
    case 6:
      return one({
        principals: [{ kind: 'suffix', value: `/sa/${account()}` }],
        notDestinationPorts: Array.from({ length: 40 }, (_, index) => 8000 + index),
      });
    case 7:
      return one({ notPrincipals: [{ kind: 'presence' }], notNamespaces: [exact(namespace())] });
    case 8:
      return {
        clauses: [
          { matches: [port(), port()].map((to) => makeMatch({ destinationPorts: [to] })) },
          { matches: [makeMatch({ namespaces: [exact(`${namespace()}-x`)] })] },
          { matches: [makeMatch({ sourceIps: [network()] })] },
        ],
      };
    default:
      return one({ notPrincipals: [{ kind: 'presence' }], destinationPorts: [port(), port()] });
  }
}

function makeBenchPolicy(index: number): AuthorizationPolicy {
  return {
    name: `deny-${index}`,
    namespace: 'istio-system',
    scope: 'GLOBAL',
    action: 'DENY',
    dryRun: false,
    rules: Array.from({ length: RULES_PER_POLICY }, (_, kind) => makeMixedRule(kind)),
  };
}

function makeConnection(): PolicyConnection {
  return {
    sourceIp: parseIpAddress(`10.${random(250)}.${random(250)}.${random(250)}`),
    sourceIdentity: parseSpiffeId(`spiffe://${principal()}`),
    destinationIp: parseIpAddress('10.255.0.1'),
    destinationPort: port(),
  };
}

function microseconds(run: () => void, rounds: number): number {
  for (let round = 0; round < rounds; round++) run(); // warm
  const times: number[] = [];
  for (let sample = 0; sample < 5; sample++) {
    const start = process.hrtime.bigint();
    for (let round = 0; round < rounds; round++) run();
    times.push(Number(process.hrtime.bigint() - start) / 1000 / rounds);
  }
  return times.sort((a, b) => a - b)[2] ?? NaN;
}

const policies = Array.from({ length: policyCount }, (_, index) => makeBenchPolicy(index));
globalThis.gc?.();
const heapBefore = process.memoryUsage().heapUsed;
const compiled = new CompiledPolicies();
const buildStart = performance.now();
for (const policy of policies) compiled.set(policy);
const buildMs = performance.now() - buildStart;
globalThis.gc?.();
const heapMb = (process.memoryUsage().heapUsed - heapBefore) / 2 ** 20;

const target = { namespace: 'shop', authorizationPolicies: [] };
const connections = Array.from({ length: 500 }, makeConnection);
for (const connection of connections) {
  const { kind, by } = compiled.decide(target, connection);
  if (kind !== 'allow') throw new Error(`a rule matches: ${by?.policy ?? ''} ${by?.rule ?? ''}`);
}
const each = connections
  .map((connection) => microseconds(() => compiled.decide(target, connection), 50))
  .sort((a, b) => a - b);
const [first] = connections;
const plain =
  first === undefined ? NaN : microseconds(() => authorize(policies.slice(0, 100), first), 3);

const medianUs = each[each.length >> 1] ?? NaN;
const worstUs = each.at(-1) ?? NaN;
if (process.argv.includes('--json')) {
  console.log(JSON.stringify({ policies: policyCount, medianUs, worstUs }));
} else {
  console.log(`${policyCount} DENY policies of ${RULES_PER_POLICY} rules, none matching`);
  console.log(`indexed, median connection   ${medianUs.toFixed(2)} us`);
  console.log(`indexed, worst of ${each.length}        ${worstUs.toFixed(2)} us`);
  console.log(`plain, from 100 policies     ${((plain / 100) * policyCount).toFixed(0)} us`);
  console.log(`a policy added               ${((buildMs * 1000) / policyCount).toFixed(1)} us`);
  if (globalThis.gc) console.log(`heap of the index            ${heapMb.toFixed(1)} MB`);
}
