import {
  policyKey,
  type AuthorizationPolicy,
  type PolicyKey,
  type PolicyMatch,
  type PolicyRule,
} from './authorization.ts';
import {
  allowBy,
  allowUnrestricted,
  denyBy,
  denyByDefault,
  type Decision,
  type PolicyConnection,
  type PolicyHit,
} from './authorize.ts';
import { PolicyScope } from './policy-scope.ts';
import { PolicyValues } from './policy-values.ts';
import { compiledRuleHolds, compileRule, releaseRule, type CompiledRule } from './rule-index.ts';

/** Whose policies: its namespace's, the global ones and those it names. A Workload is one. */
export type PolicyTarget = Readonly<{
  namespace: string;
  authorizationPolicies: readonly PolicyKey[];
}>;

type Effect = Readonly<{ action: 'ALLOW' | 'DENY'; dryRun: boolean }>;
type Scope = PolicyScope<PolicyMatch>;
type Compiled = Readonly<{ policy: AuthorizationPolicy; rules: readonly CompiledRule[] }>;

/**
 * All policies of a proxy, kept in a form that decides in microseconds however many there are. Each change of a policy
 * costs in proportion to that policy. Decides as authorize() does; where several rules match it may name another.
 */
export class CompiledPolicies {
  readonly #policies = new Map<PolicyKey, Compiled>();
  readonly #values = new PolicyValues();
  readonly #global = new PolicyScope<PolicyMatch>(this.#values, () => this.#values);
  readonly #namespaces = new Map<string, Scope>();

  set(policy: AuthorizationPolicy): void {
    const key = policyKey(policy.namespace, policy.name);
    this.delete(key);
    const scope = this.#scopeOf(policy);
    const own = (rule: PolicyRule, index: number): CompiledRule => {
      const hit = { policy: key, rule: index };
      if (scope !== undefined) return scope.add(effectKey(policy), rule, hit);
      const compiled = compileRule(rule, this.#values);
      compiled.owners.push(hit);
      return compiled;
    };
    this.#policies.set(key, { policy, rules: policy.rules.map(own) });
    scope?.count(effectKey(policy), 1);
  }

  /** @returns whether it was there. */
  delete(key: PolicyKey): boolean {
    const known = this.#policies.get(key);
    if (known === undefined) return false;
    const { policy, rules } = known;
    const scope = this.#scopeOf(policy);
    this.#policies.delete(key);
    policy.rules.forEach((rule, index) => {
      const compiled = rules[index];
      if (compiled === undefined) return;
      if (scope === undefined) releaseRule(compiled, this.#values);
      else scope.remove(effectKey(policy), rule, compiled, { policy: key, rule: index });
    });
    scope?.count(effectKey(policy), -1);
    if (policy.scope === 'NAMESPACE' && scope?.isEmpty() === true)
      this.#namespaces.delete(policy.namespace);
    return true;
  }

  get(key: PolicyKey): AuthorizationPolicy | undefined {
    return this.#policies.get(key)?.policy;
  }

  *values(): Iterable<AuthorizationPolicy> {
    for (const { policy } of this.#policies.values()) yield policy;
  }

  get size(): number {
    return this.#policies.size;
  }

  /** The keys that a target names and that are not here. */
  missing(target: PolicyTarget): readonly PolicyKey[] {
    const keys = target.authorizationPolicies;
    return keys.every((key) => this.#policies.has(key))
      ? NONE_MISSING
      : keys.filter((key) => !this.#policies.has(key));
  }

  /** What concerns a target, in the order of the keys: for explanations and for authorize(). */
  applying(target: PolicyTarget): readonly AuthorizationPolicy[] {
    const named = new Set(target.authorizationPolicies);
    return [...this.#policies]
      .filter(
        ([key, { policy }]) =>
          named.has(key) ||
          policy.scope === 'GLOBAL' ||
          (policy.scope === 'NAMESPACE' && policy.namespace === target.namespace),
      )
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([, { policy }]) => policy);
  }

  /** Decides among the policies that are here; see missing() for those that are not. */
  decide(target: PolicyTarget, connection: PolicyConnection): Decision {
    this.#values.match(connection);
    const scopes = [this.#global];
    const ofNamespace = this.#namespaces.get(target.namespace);
    if (ofNamespace !== undefined) scopes.push(ofNamespace);
    const named: Compiled[] = [];
    for (const key of target.authorizationPolicies) {
      const policy = this.#policies.get(key);
      if (policy !== undefined) named.push(policy);
    }
    const dryRunDeny = this.#dryRun('DENY', scopes, named);
    const denial = this.#hit({ action: 'DENY', dryRun: false }, scopes, named);
    if (denial !== undefined) return denyBy(denial, dryRunDeny);
    const dryRun = [...dryRunDeny, ...this.#dryRun('ALLOW', scopes, named)];
    const enforcedAllow = { action: 'ALLOW', dryRun: false } as const;
    const restricted =
      scopes.some((scope) => scope.has(effectKey(enforcedAllow))) ||
      named.some(({ policy }) => isOf(policy, enforcedAllow));
    if (!restricted) return allowUnrestricted(dryRun);
    const permission = this.#hit(enforcedAllow, scopes, named);
    return permission === undefined ? denyByDefault(dryRun) : allowBy(permission, dryRun);
  }

  #hit(
    effect: Effect,
    scopes: readonly Scope[],
    named: readonly Compiled[],
  ): PolicyHit | undefined {
    for (const scope of scopes) {
      const rule = scope.find(effectKey(effect));
      if (rule !== undefined) return rule.owners[0];
    }
    for (const { policy, rules } of named) {
      if (!isOf(policy, effect)) continue;
      const index = rules.findIndex((rule) => compiledRuleHolds(rule, this.#values));
      if (index >= 0) return { policy: policyKey(policy.namespace, policy.name), rule: index };
    }
    return undefined;
  }

  #dryRun(
    action: 'ALLOW' | 'DENY',
    scopes: readonly Scope[],
    named: readonly Compiled[],
  ): Decision['dryRun'] {
    const effect = { action, dryRun: true };
    // The first rule that matches stands for its policy, as it does when policies are enforced.
    const hits = new Map<PolicyKey, number>();
    const note = ({ policy, rule }: PolicyHit): void => {
      hits.set(policy, Math.min(rule, hits.get(policy) ?? rule));
    };
    for (const scope of scopes) {
      if (!scope.has(effectKey(effect))) continue;
      for (const rule of scope.findAll(effectKey(effect))) rule.owners.forEach(note);
    }
    for (const { policy, rules } of named) {
      if (!isOf(policy, effect)) continue;
      const rule = rules.findIndex((candidate) => compiledRuleHolds(candidate, this.#values));
      if (rule >= 0) note({ policy: policyKey(policy.namespace, policy.name), rule });
    }
    if (hits.size === 0) return NO_HITS;
    return [...hits].map(([policy, rule]) => ({ policy, rule, action }));
  }

  /** `undefined` for a policy that is found by its key only. */
  #scopeOf(policy: AuthorizationPolicy): Scope | undefined {
    switch (policy.scope) {
      case 'GLOBAL':
        return this.#global;
      case 'WORKLOAD_SELECTOR':
        return undefined;
      case 'NAMESPACE': {
        const scope =
          this.#namespaces.get(policy.namespace) ??
          new PolicyScope<PolicyMatch>(this.#values, () => this.#values);
        this.#namespaces.set(policy.namespace, scope);
        return scope;
      }
    }
  }
}

const NO_HITS: Decision['dryRun'] = [];
const NONE_MISSING: readonly PolicyKey[] = [];

function isOf(policy: AuthorizationPolicy, { action, dryRun }: Effect): boolean {
  return policy.action === action && policy.dryRun === dryRun;
}

function effectKey({ action, dryRun }: Effect): string {
  return dryRun ? `dry ${action}` : action;
}
