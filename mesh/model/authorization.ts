import type { Cidr } from '../../base/address.ts';
import type { Brand } from '../../base/brand.ts';

/** `<namespace>/<name>`. */
export type PolicyKey = Brand<string, 'PolicyKey'>;

export type StringMatch = Readonly<
  { kind: 'exact' | 'prefix' | 'suffix'; value: string } | { kind: 'presence' }
>;

export type ServiceAccountMatch = Readonly<{ namespace: string; serviceAccount: string }>;

/** All fields must hold. Within a field, one positive value must match; of a `not` field none may. */
export type PolicyMatch = Readonly<{
  namespaces: readonly StringMatch[];
  notNamespaces: readonly StringMatch[];
  /** SPIFFE ids without `spiffe://`. */
  principals: readonly StringMatch[];
  notPrincipals: readonly StringMatch[];
  serviceAccounts: readonly ServiceAccountMatch[];
  notServiceAccounts: readonly ServiceAccountMatch[];
  sourceIps: readonly Cidr[];
  notSourceIps: readonly Cidr[];
  destinationIps: readonly Cidr[];
  notDestinationIps: readonly Cidr[];
  destinationPorts: readonly number[];
  notDestinationPorts: readonly number[];
}>;

/** One of the matches must hold; an empty match is skipped, and a clause without matches holds. */
export type PolicyClause = Readonly<{ matches: readonly PolicyMatch[] }>;

/** Every clause must hold; a rule without clauses holds. */
export type PolicyRule = Readonly<{ clauses: readonly PolicyClause[] }>;

/** As istio.security.Authorization has it. One of the rules must hold; a policy without rules never matches. */
export type AuthorizationPolicy = Readonly<{
  name: string;
  namespace: string;
  /** GLOBAL and NAMESPACE find their workloads; WORKLOAD_SELECTOR applies to the workloads that list its key. */
  scope: 'GLOBAL' | 'NAMESPACE' | 'WORKLOAD_SELECTOR';
  action: 'ALLOW' | 'DENY';
  /** Evaluated and logged, never enforced. */
  dryRun: boolean;
  rules: readonly PolicyRule[];
}>;

export function policyKey(namespace: string, name: string): PolicyKey {
  return `${namespace}/${name}` as PolicyKey;
}
