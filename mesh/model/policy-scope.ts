import { hash } from 'node:crypto';
import type { PolicyHit } from './authorize.ts';
import {
  compileRule,
  releaseRule,
  RuleIndex,
  type CompiledRule,
  type RuleOf,
} from './rule-index.ts';
import type { MatchedValues, ValueStore } from './value-tables.ts';

/** Where the values of an effect's rules come from and go back to. */
export type RuleValues<Match> = Pick<ValueStore<Match>, 'acquire' | 'release'>;

/**
 * The policies that apply together: one index for each effect (what they are for, in a word), rules of one body joined.
 */
export class PolicyScope<Match> {
  readonly #values: MatchedValues;
  readonly #valuesOf: (effect: string) => RuleValues<Match>;
  readonly #parts = new Map<string, Part>();

  constructor(values: MatchedValues, valuesOf: (effect: string) => RuleValues<Match>) {
    this.#values = values;
    this.#valuesOf = valuesOf;
  }

  add(effect: string, rule: RuleOf<Match>, hit: PolicyHit): CompiledRule {
    const part = this.#part(effect);
    const body = bodyKey(rule);
    let compiled = part.byBody.get(body);
    if (compiled === undefined) {
      compiled = compileRule(rule, this.#valuesOf(effect));
      part.byBody.set(body, compiled);
      part.index.add(compiled);
    }
    compiled.owners.push(hit);
    return compiled;
  }

  /** Takes away what add() gave for that rule and hit. */
  remove(effect: string, rule: RuleOf<Match>, compiled: CompiledRule, hit: PolicyHit): void {
    const { policy, rule: index } = hit;
    const at = compiled.owners.findIndex((own) => own.policy === policy && own.rule === index);
    if (at >= 0) compiled.owners.splice(at, 1);
    if (compiled.owners.length > 0) return;
    const part = this.#part(effect);
    part.byBody.delete(bodyKey(rule));
    part.index.remove(compiled);
    releaseRule(compiled, this.#valuesOf(effect));
  }

  /** Policies, whether or not they have rules. */
  count(effect: string, by: 1 | -1): void {
    this.#part(effect).policies += by;
  }

  has(effect: string): boolean {
    return (this.#parts.get(effect)?.policies ?? 0) > 0;
  }

  isEmpty(): boolean {
    return [...this.#parts.values()].every((part) => part.policies === 0);
  }

  /** A rule that holds for what the values last matched. */
  find(effect: string): CompiledRule | undefined {
    return this.#parts.get(effect)?.index.find();
  }

  findAll(effect: string): ReadonlySet<CompiledRule> {
    return this.#part(effect).index.findAll();
  }

  #part(effect: string): Part {
    let part = this.#parts.get(effect);
    if (part === undefined) {
      part = { index: new RuleIndex(this.#values), byBody: new Map(), policies: 0 };
      this.#parts.set(effect, part);
    }
    return part;
  }
}

type Part = {
  readonly index: RuleIndex;
  readonly byBody: Map<string, CompiledRule>;
  policies: number;
};

/** A digest, because the text of a rule is long and there may be a hundred thousand of them. */
function bodyKey(rule: Readonly<{ clauses: unknown }>): string {
  return hash('sha256', JSON.stringify(rule.clauses), 'base64');
}
