import type { PolicyHit } from './authorize.ts';
import type { FieldTest, MatchedValues, PolicyValue, ValueStore } from './value-tables.ts';

/** A rule over shared values. Rules with one body are one object, evaluated once, with an owner for each policy. */
export type CompiledRule = {
  /** And of clauses, or of matches, and of tests. `undefined`: nothing can meet it. */
  readonly clauses: readonly (readonly (readonly FieldTest[])[])[] | undefined;
  readonly owners: PolicyHit[];
  /** The stamp of the connection that it was last found not to hold for. */
  failedStamp: number;
};

/** And of clauses, or of matches: a rule before it is compiled. */
export type RuleOf<Match> = Readonly<{
  clauses: readonly Readonly<{ matches: readonly Match[] }>[];
}>;

/**
 * Reads a rule; clauses without matches always hold and are left out, a match that asks for nothing is skipped. Its
 * values are used until releaseRule().
 */
export function compileRule<Match>(
  rule: RuleOf<Match>,
  values: Pick<ValueStore<Match>, 'acquire' | 'release'>,
): CompiledRule {
  const clauses = rule.clauses
    .filter((clause) => clause.matches.length > 0)
    .map((clause) =>
      clause.matches.map((match) => values.acquire(match)).filter((tests) => tests.length > 0),
    );
  if (clauses.every((matches) => matches.length > 0))
    return { clauses, owners: [], failedStamp: 0 };
  for (const tests of clauses.flat()) values.release(tests);
  return { clauses: undefined, owners: [], failedStamp: 0 };
}

export function releaseRule(
  rule: CompiledRule,
  values: Readonly<{ release(tests: readonly FieldTest[]): void }>,
): void {
  for (const matches of rule.clauses ?? []) {
    for (const tests of matches) values.release(tests);
  }
}

/** Whether a rule holds for what `values` last matched. */
export function compiledRuleHolds(rule: CompiledRule, values: MatchedValues): boolean {
  const { stamp } = values;
  if (rule.clauses === undefined || rule.failedStamp === stamp) return false;
  for (const matches of rule.clauses) {
    let holds = false;
    for (const tests of matches) {
      if (testsHold(tests, values)) {
        holds = true;
        break;
      }
    }
    if (!holds) {
      rule.failedStamp = stamp;
      return false;
    }
  }
  return true;
}

function testsHold(tests: readonly FieldTest[], { stamp }: MatchedValues): boolean {
  for (const test of tests) {
    const { repeated } = test;
    const holds =
      repeated?.stamp === stamp
        ? repeatedHolds(test, repeated.full, stamp)
        : anyStamped(test, stamp) !== test.negative;
    if (!holds) return false;
  }
  return true;
}

function anyStamped(test: FieldTest, stamp: number): boolean {
  for (const value of test.values) {
    if (value.stamp === stamp) return true;
  }
  return false;
}

/** Each time that the field came is tested alone. */
function repeatedHolds(test: FieldTest, full: number, stamp: number): boolean {
  let matching = 0;
  for (const value of test.values) {
    if (value.stamp === stamp) matching |= value.mask;
  }
  const holding = test.negative ? full & ~matching : matching;
  return test.every === true ? holding === full : holding !== 0;
}

/** A rule with the values of which a connection must match one, for each dimension where that is known. */
type Entry = Readonly<{
  rule: CompiledRule;
  wanted: readonly (readonly PolicyValue[] | undefined)[];
}>;

/** Entries not yet divided, or divided by the values they want in one dimension; `any` wants none there. */
type Node = Leaf | Branch;
type Leaf = { readonly kind: 'leaf'; readonly entries: Entry[] };
type Branch = {
  readonly kind: 'branch';
  /** Every way down goes through the dimensions in order, leaving out those that nobody wants. */
  readonly dimension: number;
  any: Node;
  readonly byValue: Map<PolicyValue, Node>;
};

/** So many entries are evaluated one by one before it is worth dividing them: bench/authorize.ts. */
const LEAF_ENTRIES = 2;
/** A rule is divided into at most so many entries; what would make more is left to evaluation. */
const MAX_ENTRIES_PER_RULE = 32;
/** A list of more values than this does not divide: it would be in too many places at once. */
const MAX_VALUES_PER_ENTRY = 64;

/**
 * A decision tree over rules, grown as they are added. A connection meets, beside a few that are not divided, only the
 * rules whose positive fields it matches: what is left to evaluate are their negative fields. Dimensions in which a
 * connection matches one value come first and networks, of which it may match many, last.
 */
export class RuleIndex {
  readonly #values: MatchedValues;
  #root: Node = newLeaf();

  constructor(values: MatchedValues) {
    this.#values = values;
  }

  add(rule: CompiledRule): void {
    for (const entry of entriesOf(rule)) this.#root = insert(this.#root, entry, 0);
  }

  remove(rule: CompiledRule): void {
    for (const entry of entriesOf(rule)) this.#root = removeFrom(this.#root, entry);
  }

  /** A rule that holds for the connection that the values last matched. */
  find(): CompiledRule | undefined {
    return find(this.#root, this.#values);
  }

  /** All of them, each once. */
  findAll(): ReadonlySet<CompiledRule> {
    const found = new Set<CompiledRule>();
    findAll(this.#root, this.#values, found);
    return found;
  }
}

function newLeaf(): Leaf {
  return { kind: 'leaf', entries: [] };
}

function find(node: Node, values: MatchedValues): CompiledRule | undefined {
  if (node.kind === 'leaf') {
    for (const { rule } of node.entries) {
      if (compiledRuleHolds(rule, values)) return rule;
    }
    return undefined;
  }
  for (const value of values.matched[node.dimension] ?? []) {
    const below = node.byValue.get(value);
    const found = below && find(below, values);
    if (found !== undefined) return found;
  }
  return find(node.any, values);
}

function findAll(node: Node, values: MatchedValues, found: Set<CompiledRule>): void {
  if (node.kind === 'leaf') {
    for (const { rule } of node.entries) {
      if (compiledRuleHolds(rule, values)) found.add(rule);
    }
    return;
  }
  for (const value of values.matched[node.dimension] ?? []) {
    const below = node.byValue.get(value);
    if (below !== undefined) findAll(below, values, found);
  }
  findAll(node.any, values, found);
}

/** @param from the first dimension that has not divided yet on the way here. */
function insert(node: Node, entry: Entry, from: number): Node {
  if (node.kind === 'leaf') {
    node.entries.push(entry);
    return node.entries.length <= LEAF_ENTRIES ? node : divide(node, from);
  }
  const first = firstWanted(entry, from);
  // What is below wants nothing before its own dimension, so one level more goes on top of it.
  if (first !== undefined && first < node.dimension)
    return insertBelow(newBranch(first, node), entry);
  return insertBelow(node, entry);
}

function insertBelow(branch: Branch, entry: Entry): Branch {
  const { dimension, byValue } = branch;
  const wanted = entry.wanted[dimension];
  if (wanted === undefined) branch.any = insert(branch.any, entry, dimension + 1);
  for (const value of wanted ?? [])
    byValue.set(value, insert(byValue.get(value) ?? newLeaf(), entry, dimension + 1));
  return branch;
}

/** Divides by the first dimension that any of the entries wants. */
function divide(leaf: Leaf, from: number): Node {
  let first: number | undefined;
  for (const entry of leaf.entries) {
    const own = firstWanted(entry, from);
    if (own !== undefined && (first === undefined || own < first)) first = own;
  }
  if (first === undefined) return leaf;
  const branch = newBranch(first, newLeaf());
  for (const entry of leaf.entries) insertBelow(branch, entry);
  return branch;
}

function newBranch(dimension: number, any: Node): Branch {
  return { kind: 'branch', dimension, any, byValue: new Map() };
}

function firstWanted({ wanted }: Entry, from: number): number | undefined {
  for (let dimension = from; dimension < wanted.length; dimension++)
    if (wanted[dimension] !== undefined) return dimension;
  return undefined;
}

function removeFrom(node: Node, entry: Entry): Node {
  if (node.kind === 'leaf') {
    const at = node.entries.findIndex(({ rule }) => rule === entry.rule);
    if (at >= 0) node.entries.splice(at, 1);
    return node;
  }
  const wanted = entry.wanted[node.dimension];
  if (wanted === undefined) node.any = removeFrom(node.any, entry);
  for (const value of wanted ?? []) {
    const below = node.byValue.get(value);
    if (below === undefined) continue;
    const left = removeFrom(below, entry);
    if (isEmpty(left)) node.byValue.delete(value);
    else node.byValue.set(value, left);
  }
  // A branch without values is its `any`.
  return node.byValue.size === 0 ? node.any : node;
}

function isEmpty(node: Node): boolean {
  return node.kind === 'leaf' && node.entries.length === 0;
}

/** The places of a rule: one of its entries is met by every connection for which it holds. */
function entriesOf(rule: CompiledRule): readonly Entry[] {
  if (rule.clauses === undefined) return [];
  let wishes: Entry['wanted'][] = [[]];
  for (const matches of [...rule.clauses].sort((a, b) => a.length - b.length)) {
    if (wishes.length * matches.length > MAX_ENTRIES_PER_RULE) break;
    wishes = wishes.flatMap((wanted) => matches.map((tests) => narrow(wanted, tests)));
  }
  return wishes.map((wanted) => ({ rule, wanted }));
}

/** Adds what a match wants; where two clauses want something of one dimension, the shorter list divides better. */
function narrow(wanted: Entry['wanted'], tests: readonly FieldTest[]): Entry['wanted'] {
  const narrowed = [...wanted];
  for (const { dimension, wanted: values } of tests) {
    if (values === undefined || values.length > MAX_VALUES_PER_ENTRY) continue;
    const known = narrowed[dimension];
    if (known === undefined || values.length < known.length) narrowed[dimension] = values;
  }
  return narrowed;
}
