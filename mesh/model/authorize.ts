import { cidrContains, type Cidr, type IpAddress } from '../../base/address.ts';
import {
  policyKey,
  type AuthorizationPolicy,
  type PolicyClause,
  type PolicyKey,
  type PolicyMatch,
  type PolicyRule,
  type ServiceAccountMatch,
  type StringMatch,
} from './authorization.ts';
import { identityParts, principalOf, type SpiffeId } from './identity.ts';

/** What a policy may look at: addresses of real packets and the identity that TLS has proven, nothing else. */
export type PolicyConnection = Readonly<{
  sourceIp: IpAddress;
  /** Absent for plaintext. */
  sourceIdentity?: SpiffeId;
  destinationIp: IpAddress;
  /** The port of the application, never the tunnel's. */
  destinationPort: number;
}>;

/** A rule of a policy; `rule` counts from 0 in the policy's order. */
export type PolicyHit = Readonly<{ policy: PolicyKey; rule: number }>;

/**
 * The outcome of policy. `by` is the rule that made it; without it no ALLOW policy applies (allowed), or some do and
 * none of them matched (denied).
 */
export type Decision = Readonly<{
  kind: 'allow' | 'deny';
  by?: PolicyHit;
  /** Of a denial: completes "connection closed due to policy rejection: ", as istio/ztunnel logs it. */
  reason: string;
  /** Matches of policies in dry-run, for the log; they decide nothing. */
  dryRun: readonly (PolicyHit & Readonly<{ action: 'ALLOW' | 'DENY' }>)[];
}>;

type DryRunHits = Decision['dryRun'];

/**
 * Decides by the plain reading of policies, in the order given: what CompiledPolicies must agree with.
 *
 * @param policies all that concern the destination, see policiesFor().
 */
export function authorize(
  policies: readonly AuthorizationPolicy[],
  connection: PolicyConnection,
): Decision {
  const hits = (action: 'ALLOW' | 'DENY', dryRun: boolean): PolicyHit[] =>
    policies
      .filter((policy) => policy.action === action && policy.dryRun === dryRun)
      .flatMap((policy) => {
        const rule = policy.rules.findIndex((candidate) => ruleHolds(candidate, connection));
        return rule < 0 ? [] : [{ policy: policyKey(policy.namespace, policy.name), rule }];
      });
  const dryRunDeny = hits('DENY', true).map((hit) => ({ ...hit, action: 'DENY' as const }));
  const [denial] = hits('DENY', false);
  if (denial !== undefined) return denyBy(denial, dryRunDeny);
  const dryRunAllow = hits('ALLOW', true).map((hit) => ({ ...hit, action: 'ALLOW' as const }));
  const dryRun = [...dryRunDeny, ...dryRunAllow];
  if (!policies.some((policy) => policy.action === 'ALLOW' && !policy.dryRun))
    return allowUnrestricted(dryRun);
  const [permission] = hits('ALLOW', false);
  return permission === undefined ? denyByDefault(dryRun) : allowBy(permission, dryRun);
}

export function denyBy(by: PolicyHit, dryRun: DryRunHits): Decision {
  return { kind: 'deny', by, reason: `explicitly denied by: ${by.policy}`, dryRun };
}

export function denyByDefault(dryRun: DryRunHits): Decision {
  return { kind: 'deny', reason: 'allow policies exist, but none allowed', dryRun };
}

export function allowBy(by: PolicyHit, dryRun: DryRunHits): Decision {
  return { kind: 'allow', by, reason: `allowed by: ${by.policy}`, dryRun };
}

export function allowUnrestricted(dryRun: DryRunHits): Decision {
  return { kind: 'allow', reason: 'no allow policies apply', dryRun };
}

/** True when every clause holds; so a rule without clauses matches everything. */
export function ruleHolds(rule: PolicyRule, connection: PolicyConnection): boolean {
  return rule.clauses.every((clause) => clauseHolds(clause, connection));
}

/** True without matches; an empty match is skipped, so a clause of only empty ones is false. */
function clauseHolds(clause: PolicyClause, connection: PolicyConnection): boolean {
  if (clause.matches.length === 0) return true;
  return clause.matches.some((match) => !isEmptyMatch(match) && matchHolds(match, connection));
}

export function isEmptyMatch(match: PolicyMatch): boolean {
  return Object.values(match).every((values) => values.length === 0);
}

function matchHolds(match: PolicyMatch, connection: PolicyConnection): boolean {
  return MATCH_FIELDS.every((field) => fieldHolds(field, match, connection));
}

export type MatchField = keyof PolicyMatch;

export const MATCH_FIELDS: readonly MatchField[] = [
  'namespaces',
  'notNamespaces',
  'principals',
  'notPrincipals',
  'serviceAccounts',
  'notServiceAccounts',
  'sourceIps',
  'notSourceIps',
  'destinationIps',
  'notDestinationIps',
  'destinationPorts',
  'notDestinationPorts',
];

/** Whether one field of a match is met: without values always; a `not` field by no value. */
export function fieldHolds(
  field: MatchField,
  match: PolicyMatch,
  connection: PolicyConnection,
): boolean {
  const { sourceIp, sourceIdentity, destinationIp, destinationPort } = connection;
  switch (field) {
    case 'namespaces':
    case 'notNamespaces': {
      const namespace = sourceIdentity === undefined ? '' : identityParts(sourceIdentity).namespace;
      return holds(field, match[field], (wanted) => stringMatches(wanted, namespace));
    }
    case 'principals':
    case 'notPrincipals': {
      const principal = sourceIdentity === undefined ? undefined : principalOf(sourceIdentity);
      return holds(
        field,
        match[field],
        (wanted) => principal !== undefined && stringMatches(wanted, principal),
      );
    }
    case 'serviceAccounts':
    case 'notServiceAccounts':
      return holds(field, match[field], (wanted) => accountMatches(wanted, sourceIdentity));
    case 'sourceIps':
    case 'notSourceIps':
      return holds(field, match[field], (wanted: Cidr) => cidrContains(wanted, sourceIp));
    case 'destinationIps':
    case 'notDestinationIps':
      return holds(field, match[field], (wanted: Cidr) => cidrContains(wanted, destinationIp));
    case 'destinationPorts':
    case 'notDestinationPorts':
      return holds(field, match[field], (wanted) => wanted === destinationPort);
  }
}

function holds<T>(
  field: MatchField,
  values: readonly T[],
  matches: (value: T) => boolean,
): boolean {
  return values.length === 0 || values.some(matches) !== isNegative(field);
}

/** Of a negative field none of the values may match. */
export function isNegative(field: MatchField): boolean {
  return field.startsWith('not');
}

/** Literal comparison; case counts, and no value is a pattern. */
export function stringMatches(wanted: StringMatch, text: string): boolean {
  switch (wanted.kind) {
    case 'exact':
      return text === wanted.value;
    case 'prefix':
      return text.startsWith(wanted.value);
    case 'suffix':
      return text.endsWith(wanted.value);
    case 'presence':
      return text !== '';
  }
}

function accountMatches(wanted: ServiceAccountMatch, id: SpiffeId | undefined): boolean {
  if (id === undefined) return false;
  const { namespace, serviceAccount } = identityParts(id);
  return namespace === wanted.namespace && serviceAccount === wanted.serviceAccount;
}
