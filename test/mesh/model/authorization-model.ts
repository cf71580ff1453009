/**
 * Authorization at L4 once more, as short as it can be said, to hold the real one against. It imports nothing of the
 * product: types, addresses and patterns are its own, and so are their readings.
 *
 * The rules: a dry-run DENY is only noted; a DENY that matches denies; a policy that the destination names and that is
 * not there makes the connection wait; a dry-run ALLOW is only noted; without an enforced ALLOW all is allowed; an ALLOW
 * that matches allows; the rest is denied.
 */

export type ModelIdentity = Readonly<{ domain: string; namespace: string; account: string }>;

export type ModelConnection = Readonly<{
  from: string;
  identity: ModelIdentity | undefined;
  to: string;
  port: number;
}>;

/** `*` any, `x*` prefix, `*x` suffix, else exact; accounts are `namespace/account`, networks `address/bits`. */
export type ModelMatch = Readonly<{
  namespaces?: readonly string[];
  notNamespaces?: readonly string[];
  principals?: readonly string[];
  notPrincipals?: readonly string[];
  serviceAccounts?: readonly string[];
  notServiceAccounts?: readonly string[];
  sourceIps?: readonly string[];
  notSourceIps?: readonly string[];
  destinationIps?: readonly string[];
  notDestinationIps?: readonly string[];
  destinationPorts?: readonly number[];
  notDestinationPorts?: readonly number[];
}>;

/** Rules of clauses of matches. */
export type ModelRules = readonly (readonly (readonly ModelMatch[])[])[];

export type ModelPolicy = Readonly<{
  namespace: string;
  name: string;
  scope: 'GLOBAL' | 'NAMESPACE' | 'WORKLOAD_SELECTOR';
  action: 'ALLOW' | 'DENY';
  dryRun: boolean;
  rules: ModelRules;
}>;

export type ModelDestination = Readonly<{
  namespace: string;
  /** `namespace/name` of the policies that it names. */
  names: readonly string[];
}>;

export type ModelOutcome = Readonly<{
  verdict: 'allow' | 'deny' | 'wait';
  /** `namespace/name` of every policy that may be named as the reason; empty where none is. */
  by: readonly string[];
  /** `ACTION namespace/name` of the dry-run policies that matched, sorted. */
  noted: readonly string[];
}>;

export function modelOutcome(
  policies: readonly ModelPolicy[],
  destination: ModelDestination,
  connection: ModelConnection,
): ModelOutcome {
  const keyOf = (policy: ModelPolicy): string => `${policy.namespace}/${policy.name}`;
  const concerned = policies.filter((policy) => {
    if (policy.scope === 'GLOBAL') return true;
    if (policy.scope === 'NAMESPACE' && policy.namespace === destination.namespace) return true;
    return destination.names.includes(keyOf(policy));
  });
  const matching = concerned.filter((policy) => anyRule(policy.rules, connection));
  const keys = (action: string, dryRun: boolean): string[] =>
    matching.filter((each) => each.action === action && each.dryRun === dryRun).map(keyOf);
  const noted = (...actions: string[]): string[] =>
    actions.flatMap((action) => keys(action, true).map((key) => `${action} ${key}`)).sort();

  const denying = keys('DENY', false);
  if (denying.length > 0) return { verdict: 'deny', by: denying, noted: noted('DENY') };
  const known = new Set(policies.map(keyOf));
  if (destination.names.some((name) => !known.has(name)))
    return { verdict: 'wait', by: [], noted: [] };
  const both = noted('ALLOW', 'DENY');
  if (!concerned.some((policy) => policy.action === 'ALLOW' && !policy.dryRun))
    return { verdict: 'allow', by: [], noted: both };
  const allowing = keys('ALLOW', false);
  return { verdict: allowing.length > 0 ? 'allow' : 'deny', by: allowing, noted: both };
}

/** Or of rules, and of clauses, or of matches; no rules match nothing, no clauses and no matches everything. */
function anyRule(rules: ModelRules, connection: ModelConnection): boolean {
  for (const clauses of rules) {
    let all = true;
    for (const matches of clauses) {
      if (matches.length === 0) continue;
      let any = false;
      for (const match of matches)
        any ||= Object.keys(match).length > 0 && matchHolds(match, connection);
      all &&= any;
    }
    if (all) return true;
  }
  return false;
}

function matchHolds(match: ModelMatch, { from, identity, to, port }: ModelConnection): boolean {
  const namespace = identity?.namespace ?? '';
  const principal =
    identity && `${identity.domain}/ns/${identity.namespace}/sa/${identity.account}`;
  const account = identity && `${identity.namespace}/${identity.account}`;
  const isNamespace = (wanted: string): boolean => fits(wanted, namespace);
  const isPrincipal = (wanted: string): boolean =>
    principal !== undefined && fits(wanted, principal);
  const isAccount = (wanted: string): boolean => wanted === account;
  const isFrom = (wanted: string): boolean => contains(wanted, from);
  const isTo = (wanted: string): boolean => contains(wanted, to);
  const isPort = (wanted: number): boolean => wanted === port;
  return (
    (match.namespaces?.some(isNamespace) ?? true) &&
    (match.principals?.some(isPrincipal) ?? true) &&
    (match.serviceAccounts?.some(isAccount) ?? true) &&
    (match.sourceIps?.some(isFrom) ?? true) &&
    (match.destinationIps?.some(isTo) ?? true) &&
    (match.destinationPorts?.some(isPort) ?? true) &&
    !match.notNamespaces?.some(isNamespace) &&
    !match.notPrincipals?.some(isPrincipal) &&
    !match.notServiceAccounts?.some(isAccount) &&
    !match.notSourceIps?.some(isFrom) &&
    !match.notDestinationIps?.some(isTo) &&
    !match.notDestinationPorts?.some(isPort)
  );
}

function fits(wanted: string, text: string): boolean {
  if (wanted === '*') return text.length > 0;
  const rest = wanted.replace('*', '');
  if (rest.length === wanted.length) return text === wanted;
  const part = wanted.endsWith('*') ? text.slice(0, rest.length) : text.slice(-rest.length);
  return part === rest;
}

const known = new Map<string, string>();

/** An address as its bits, `0` and `1`: 32 or 128 of them. */
function bits(address: string): string {
  const before = known.get(address);
  if (before !== undefined) return before;
  const written = address.includes(':')
    ? expand(address).map((group) => Number.parseInt(group, 16).toString(2).padStart(16, '0'))
    : address.split('.').map((byte) => Number(byte).toString(2).padStart(8, '0'));
  known.set(address, written.join(''));
  return written.join('');
}

function expand(address: string): string[] {
  const [left = '', right = ''] = address.split('::');
  const [before, behind] = [left, right].map((half) => half.split(':').filter(Boolean));
  const missing = 8 - (before?.length ?? 0) - (behind?.length ?? 0);
  return [...(before ?? []), ...Array.from({ length: missing }, () => '0'), ...(behind ?? [])];
}

function contains(network: string, address: string): boolean {
  const [base = '', length = ''] = network.split('/');
  const [one, other] = [bits(base), bits(address)];
  return one.length === other.length && one.startsWith(other.slice(0, Number(length)));
}
