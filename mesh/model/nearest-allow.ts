import { formatCidr } from '../../base/address.ts';
import {
  policyKey,
  type AuthorizationPolicy,
  type PolicyClause,
  type PolicyMatch,
  type PolicyRule,
} from './authorization.ts';
import {
  fieldHolds,
  isEmptyMatch,
  isNegative,
  MATCH_FIELDS,
  type MatchField,
  type PolicyConnection,
  type PolicyHit,
} from './authorize.ts';
import { identityParts, principalOf } from './identity.ts';

/** An ALLOW rule with what a connection lacks for it, in words; `unmet` is empty when the rule allows it. */
export type NearestAllow = PolicyHit & Readonly<{ unmet: readonly string[] }>;

/** At most so many values of a field are written out: an explanation is for people. */
const MAX_VALUES_SHOWN = 5;

/**
 * Finds the rule of the enforced ALLOW policies that a connection comes closest to: the fewest unmet fields, the first
 * of equals. `undefined` when no rule could ever allow anything.
 */
export function nearestAllow(
  policies: readonly AuthorizationPolicy[],
  connection: PolicyConnection,
): NearestAllow | undefined {
  let nearest: NearestAllow | undefined;
  for (const policy of policies) {
    if (policy.action !== 'ALLOW' || policy.dryRun) continue;
    policy.rules.forEach((candidate, rule) => {
      const unmet = unmetByRule(candidate, connection);
      if (unmet === undefined || (nearest && nearest.unmet.length <= unmet.length)) return;
      nearest = { policy: policyKey(policy.namespace, policy.name), rule, unmet };
    });
  }
  return nearest;
}

/** What of one rule a connection does not meet, in words; `undefined` for a rule that nothing can meet. */
function unmetByRule(
  rule: PolicyRule,
  connection: PolicyConnection,
): readonly string[] | undefined {
  const unmet: string[] = [];
  for (const clause of rule.clauses) {
    const best = unmetByClause(clause, connection);
    if (best === undefined) return undefined;
    unmet.push(...best);
  }
  return unmet;
}

function unmetByClause(
  clause: PolicyClause,
  connection: PolicyConnection,
): readonly string[] | undefined {
  if (clause.matches.length === 0) return [];
  return clause.matches
    .filter((match) => !isEmptyMatch(match))
    .map((match) =>
      MATCH_FIELDS.filter((field) => !fieldHolds(field, match, connection)).map((field) =>
        describeUnmet(field, match, connection),
      ),
    )
    .reduce<readonly string[] | undefined>(
      (best, unmet) => (best === undefined || unmet.length < best.length ? unmet : best),
      undefined,
    );
}

function describeUnmet(
  field: MatchField,
  match: PolicyMatch,
  connection: PolicyConnection,
): string {
  const { subject, found } = describeFound(field, connection);
  const values = describeValues(field, match);
  const shown = values.slice(0, MAX_VALUES_SHOWN).join(', ');
  const more = values.length - MAX_VALUES_SHOWN;
  const list = more > 0 ? `${shown} and ${more} more` : shown;
  const wanted = isNegative(field) ? 'must be none of' : 'must be one of';
  return `${subject} ${wanted} ${list}, found ${found}`;
}

function describeFound(
  field: MatchField,
  connection: PolicyConnection,
): { subject: string; found: string } {
  const { sourceIp, sourceIdentity, destinationIp, destinationPort } = connection;
  const parts = sourceIdentity === undefined ? undefined : identityParts(sourceIdentity);
  const none = 'no identity (plaintext)';
  switch (field) {
    case 'namespaces':
    case 'notNamespaces':
      return { subject: 'source namespace', found: parts?.namespace ?? none };
    case 'principals':
    case 'notPrincipals':
      return {
        subject: 'source principal',
        found: sourceIdentity === undefined ? none : principalOf(sourceIdentity),
      };
    case 'serviceAccounts':
    case 'notServiceAccounts':
      return {
        subject: 'source service account',
        found: parts === undefined ? none : `${parts.namespace}/${parts.serviceAccount}`,
      };
    case 'sourceIps':
    case 'notSourceIps':
      return { subject: 'source IP', found: sourceIp };
    case 'destinationIps':
    case 'notDestinationIps':
      return { subject: 'destination IP', found: destinationIp };
    case 'destinationPorts':
    case 'notDestinationPorts':
      return { subject: 'destination port', found: String(destinationPort) };
  }
}

function describeValues(field: MatchField, match: PolicyMatch): readonly string[] {
  return match[field].map((value) => {
    if (typeof value === 'number') return String(value);
    if ('ip' in value) return formatCidr(value);
    if ('serviceAccount' in value) return `${value.namespace}/${value.serviceAccount}`;
    switch (value.kind) {
      case 'exact':
        return value.value;
      case 'prefix':
        return `${value.value}*`;
      case 'suffix':
        return `*${value.value}`;
      case 'presence':
        return '* (any)';
    }
  });
}
