import { parseCidr, parseIpAddress } from '../../base/address.ts';
import type {
  AuthorizationPolicy,
  PolicyMatch,
  PolicyRule,
  StringMatch,
} from '../../mesh/model/authorization.ts';
import type { PolicyConnection } from '../../mesh/model/authorize.ts';
import { parseSpiffeId } from '../../mesh/model/identity.ts';

const NOTHING: PolicyMatch = {
  namespaces: [],
  notNamespaces: [],
  principals: [],
  notPrincipals: [],
  serviceAccounts: [],
  notServiceAccounts: [],
  sourceIps: [],
  notSourceIps: [],
  destinationIps: [],
  notDestinationIps: [],
  destinationPorts: [],
  notDestinationPorts: [],
};

/** A match of the given fields, without values in the others. */
export function makeMatch(fields: Partial<PolicyMatch> = {}): PolicyMatch {
  return { ...NOTHING, ...fields };
}

/** A rule of one clause for each list of matches. */
export function makeRule(...clauses: readonly (readonly PolicyMatch[])[]): PolicyRule {
  return { clauses: clauses.map((matches) => ({ matches })) };
}

/** An enforced GLOBAL ALLOW policy `istio-system/policy` where nothing else is given. */
export function makePolicy(fields: Partial<AuthorizationPolicy> = {}): AuthorizationPolicy {
  return {
    name: 'policy',
    namespace: 'istio-system',
    scope: 'GLOBAL',
    action: 'ALLOW',
    dryRun: false,
    rules: [],
    ...fields,
  };
}

/** Reads `*` as presence, `a*` as prefix, `*a` as suffix and the rest as exact, as Istio's API writes them. */
export function text(pattern: string): StringMatch {
  if (pattern === '*') return { kind: 'presence' };
  if (pattern.endsWith('*')) return { kind: 'prefix', value: pattern.slice(0, -1) };
  if (pattern.startsWith('*')) return { kind: 'suffix', value: pattern.slice(1) };
  return { kind: 'exact', value: pattern };
}

export const cidrs = (...texts: readonly string[]): PolicyMatch['sourceIps'] =>
  texts.map(parseCidr);

/** A connection of `identity` ("ns/account", or '' for plaintext) to 10.0.0.2:80 where nothing else is given. */
export function connectionOf(
  identity: string,
  to: { ip?: string; port?: number; from?: string } = {},
): PolicyConnection {
  const [namespace = '', account = ''] = identity.split('/');
  return {
    sourceIp: parseIpAddress(to.from ?? '10.0.0.1'),
    ...(identity === ''
      ? {}
      : {
          sourceIdentity: parseSpiffeId(`spiffe://cluster.local/ns/${namespace}/sa/${account}`),
        }),
    destinationIp: parseIpAddress(to.ip ?? '10.0.0.2'),
    destinationPort: to.port ?? 80,
  };
}
