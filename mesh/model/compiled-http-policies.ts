import type { PolicyKey } from './authorization.ts';
import {
  allowBy,
  allowUnrestricted,
  denyBy,
  denyByDefault,
  type Decision,
  type PolicyHit,
} from './authorize.ts';
import {
  ruleWithoutHttp,
  type ExternalAuthorizer,
  type HttpMatch,
  type HttpPolicy,
  type HttpPolicyAction,
  type HttpRule,
} from './http-policy.ts';
import { HttpPolicyValues, type PolicyRequest } from './http-policy-values.ts';
import { PolicyScope, type RuleValues } from './policy-scope.ts';
import type { CompiledRule } from './rule-index.ts';

type ActionKind = HttpPolicyAction['kind'];

/** A decision of a waypoint. */
export type HttpDecision = Decision &
  Readonly<{
    /** Matches of AUDIT policies, for the log; they decide nothing. */
    audit: readonly PolicyHit[];
  }>;

/** Whom to ask before anything else is decided. */
export type CustomDecision = Readonly<
  | {
      kind: 'ask';
      authorizers: readonly (PolicyHit & Readonly<{ authorizer: ExternalAuthorizer }>)[];
    }
  | { kind: 'deny'; by?: PolicyHit; reason: string }
>;

type Compiled = Readonly<{
  policy: HttpPolicy;
  /** How it was written, to see whether it is another one. */
  text: string;
  rules: readonly (readonly [HttpRule, CompiledRule])[];
  tcpRules: readonly (readonly [HttpRule, CompiledRule, number])[];
}>;

type Target = {
  readonly http: PolicyScope<HttpMatch>;
  readonly tcp: PolicyScope<HttpMatch>;
  readonly policies: Map<PolicyKey, Compiled>;
};

/**
 * The policies of all targets of a waypoint (itself, its services), kept in a form that decides in microseconds however
 * many there are. A change costs in proportion to what changed.
 */
export class CompiledHttpPolicies {
  readonly #values = new HttpPolicyValues();
  readonly #every: RuleValues<HttpMatch> = this.#valuesFor(true);
  readonly #any: RuleValues<HttpMatch> = this.#valuesFor(false);
  readonly #targets = new Map<string, Target>();

  /**
   * Replaces the policies of a target; an empty list removes it.
   *
   * @throws {MeshError} ERR_PATH_TEMPLATE, and then nothing has changed.
   */
  set(name: string, policies: readonly HttpPolicy[]): void {
    const before = this.#targets.get(name);
    const target = before ?? this.#newTarget();
    const wanted = new Map(policies.map((policy) => [policy.key, policy]));
    const changed: HttpPolicy[] = [];
    for (const policy of wanted.values()) {
      if (target.policies.get(policy.key)?.text === JSON.stringify(policy)) continue;
      // Read once beforehand: a policy that cannot be used must not leave the target without its old one.
      for (const { clauses } of policy.rules)
        for (const match of clauses.flatMap(({ matches }) => matches))
          this.#any.release(this.#any.acquire(match));
      changed.push(policy);
    }
    for (const [key, compiled] of target.policies)
      if (!wanted.has(key) || changed.some((policy) => policy.key === key))
        this.#remove(target, compiled);
    for (const policy of changed) this.#add(target, policy);
    if (target.policies.size === 0) this.#targets.delete(name);
    else this.#targets.set(name, target);
  }

  /** The policies of targets, in the order of their keys. */
  applying(targets: readonly string[]): readonly HttpPolicy[] {
    return targets
      .flatMap((name) => [...(this.#targets.get(name)?.policies.values() ?? [])])
      .map(({ policy }) => policy)
      .sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  /** Whether any of the targets has a policy that is asked before tokens are looked at. */
  hasCustom(targets: readonly string[]): boolean {
    return targets.some((name) => this.#targets.get(name)?.http.has('CUSTOM') === true);
  }

  /** The CUSTOM policies that match: every authorizer of them must allow. */
  custom(targets: readonly string[], request: PolicyRequest): CustomDecision {
    const scopes = this.#scopes(targets, request);
    const tooOften = this.#values.match(request);
    if (tooOften !== undefined && this.hasCustom(targets))
      return { kind: 'deny', reason: tooManyValues(tooOften) };
    const hits = this.#hits(scopes, 'CUSTOM');
    const authorizers: (PolicyHit & { authorizer: ExternalAuthorizer })[] = [];
    for (const hit of hits) {
      const action = this.#find(targets, hit.policy)?.action;
      if (action?.kind !== 'CUSTOM') continue;
      if ('problem' in action)
        return { kind: 'deny', by: hit, reason: `${hit.policy}: ${action.problem}` };
      if (!authorizers.some(({ authorizer }) => authorizer.name === action.authorizer.name))
        authorizers.push({ ...hit, authorizer: action.authorizer });
    }
    return { kind: 'ask', authorizers };
  }

  /** AUDIT, DENY and ALLOW, in this order; what a CUSTOM policy says must have been asked before. */
  decide(targets: readonly string[], request: PolicyRequest): HttpDecision {
    const scopes = this.#scopes(targets, request);
    if (scopes.length === 0) return UNRESTRICTED;
    const tooOften = this.#values.match(request);
    const audit = this.#hits(scopes, 'AUDIT');
    const dryRunDeny = this.#dryRun(scopes, 'DENY');
    const denial = this.#hit(scopes, 'DENY');
    if (denial !== undefined) return { ...denyBy(denial, dryRunDeny), audit };
    const dryRun = [...dryRunDeny, ...this.#dryRun(scopes, 'ALLOW')];
    if (tooOften !== undefined)
      return { kind: 'deny', reason: tooManyValues(tooOften), dryRun, audit };
    if (!scopes.some((scope) => scope.has('ALLOW')))
      return audit.length + dryRun.length === 0
        ? UNRESTRICTED
        : { ...allowUnrestricted(dryRun), audit };
    const permission = this.#hit(scopes, 'ALLOW');
    const decision = permission === undefined ? denyByDefault(dryRun) : allowBy(permission, dryRun);
    return { ...decision, audit };
  }

  #scopes(targets: readonly string[], { http }: PolicyRequest): PolicyScope<HttpMatch>[] {
    const scopes: PolicyScope<HttpMatch>[] = [];
    for (const name of targets) {
      const target = this.#targets.get(name);
      if (target !== undefined) scopes.push(http === undefined ? target.tcp : target.http);
    }
    return scopes;
  }

  #hit(scopes: readonly PolicyScope<HttpMatch>[], effect: string): PolicyHit | undefined {
    for (const scope of scopes) {
      const rule = scope.find(effect);
      if (rule !== undefined) return rule.owners[0];
    }
    return undefined;
  }

  /** Every policy that matches, with the first of its rules that does. */
  #hits(scopes: readonly PolicyScope<HttpMatch>[], effect: string): readonly PolicyHit[] {
    let hits: Map<PolicyKey, number> | undefined;
    for (const scope of scopes) {
      if (!scope.has(effect)) continue;
      hits ??= new Map();
      for (const { owners } of scope.findAll(effect))
        for (const { policy, rule } of owners)
          hits.set(policy, Math.min(rule, hits.get(policy) ?? rule));
    }
    return hits === undefined ? NO_HITS : [...hits].map(([policy, rule]) => ({ policy, rule }));
  }

  #dryRun(scopes: readonly PolicyScope<HttpMatch>[], action: 'ALLOW' | 'DENY'): Decision['dryRun'] {
    const hits = this.#hits(scopes, `dry ${action}`);
    return hits.length === 0 ? NO_DRY_RUN : hits.map((hit) => ({ ...hit, action }));
  }

  #find(targets: readonly string[], key: PolicyKey): HttpPolicy | undefined {
    for (const name of targets) {
      const compiled = this.#targets.get(name)?.policies.get(key);
      if (compiled !== undefined) return compiled.policy;
    }
    return undefined;
  }

  #add({ http, tcp, policies }: Target, policy: HttpPolicy): void {
    const effect = effectOf(policy);
    const tcpRules: [HttpRule, CompiledRule, number][] = [];
    const rules = policy.rules.map((rule, index): readonly [HttpRule, CompiledRule] => {
      const hit = { policy: policy.key, rule: index };
      const rest = ruleWithoutHttp(rule, policy.action.kind);
      if (rest !== undefined) tcpRules.push([rest, tcp.add(effect, rest, hit), index]);
      return [rule, http.add(effect, rule, hit)];
    });
    http.count(effect, 1);
    tcp.count(effect, 1);
    policies.set(policy.key, { policy, text: JSON.stringify(policy), rules, tcpRules });
  }

  #remove({ http, tcp, policies }: Target, { policy, rules, tcpRules }: Compiled): void {
    const effect = effectOf(policy);
    rules.forEach(([rule, compiled], index) => {
      http.remove(effect, rule, compiled, { policy: policy.key, rule: index });
    });
    for (const [rule, compiled, index] of tcpRules)
      tcp.remove(effect, rule, compiled, { policy: policy.key, rule: index });
    http.count(effect, -1);
    tcp.count(effect, -1);
    policies.delete(policy.key);
  }

  #newTarget(): Target {
    const scope = (): PolicyScope<HttpMatch> =>
      new PolicyScope(this.#values, (effect) =>
        effect.endsWith('ALLOW') ? this.#every : this.#any,
      );
    return { http: scope(), tcp: scope(), policies: new Map() };
  }

  #valuesFor(every: boolean): RuleValues<HttpMatch> {
    return {
      acquire: (match) => this.#values.acquire(match, every),
      release: (tests) => {
        this.#values.release(tests);
      },
    };
  }
}

const NO_HITS: readonly PolicyHit[] = [];
const NO_DRY_RUN: Decision['dryRun'] = [];
const UNRESTRICTED: HttpDecision = { ...allowUnrestricted(NO_DRY_RUN), audit: NO_HITS };

function effectOf({ action, dryRun }: HttpPolicy): `dry ${ActionKind}` | ActionKind {
  return dryRun ? `dry ${action.kind}` : action.kind;
}

function tooManyValues(name: string): string {
  return `header ${name} comes too often for policy to look at each value`;
}
