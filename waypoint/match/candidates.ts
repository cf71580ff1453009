import type { Regex } from '../../mesh/model/regex.ts';
import { conditionsHold, type Conditions, type ValueCondition } from './conditions.ts';
import type { RequestFields } from './request-fields.ts';

/** A match of a rule among those of its table; the lower rank is tried first. */
export type Candidate<T> = Readonly<{
  rank: number;
  /** Of the path, where its place in the tree does not say all. */
  pattern: Regex | undefined;
  conditions: Conditions;
  result: T;
}>;

/** As many are tried one by one without anybody noticing. */
const FEW = 8;

/** Matches that ask for one exact value of the same field, by that value. */
type ByValue<T> = Readonly<{
  of: 'header' | 'parameter';
  slot: number;
  values: Map<string, Candidate<T>[]>;
}>;

/**
 * The matches of one path. Where they are many, those that ask for an exact value are found by the value that the request
 * has, so that a thousand canaries of one path cost no more than one.
 */
export class Candidates<T> {
  /** In the order of their ranks, as all lists here. */
  readonly #all: Candidate<T>[] = [];
  #plain: Candidate<T>[] = this.#all;
  #byValue: ByValue<T>[] = [];

  /** Adds one that comes after all that are here. */
  add(candidate: Candidate<T>): void {
    this.#all.push(candidate);
  }

  /** Called once, when all are here. */
  index(): void {
    if (this.#all.length <= FEW) return;
    this.#plain = [];
    for (const candidate of this.#all) this.#listOf(candidate).push(candidate);
  }

  /** The first that holds, if it comes before `best`; else `best`. @throws as conditionsHold(). */
  better(request: RequestFields, best: Candidate<T> | undefined): Candidate<T> | undefined {
    let found = firstHolding(this.#plain, request, best);
    for (const { of, slot, values } of this.#byValue) {
      const value = of === 'header' ? request.header(slot) : request.parameter(slot);
      const list = value === undefined ? undefined : values.get(value);
      if (list !== undefined) found = firstHolding(list, request, found);
    }
    return found;
  }

  #listOf({ conditions }: Candidate<T>): Candidate<T>[] {
    for (const condition of conditions.headers) {
      const value = exactValue(condition);
      if (value !== undefined) return this.#listOfValue('header', condition.slot, value);
    }
    for (const condition of conditions.parameters) {
      const value = exactValue(condition);
      if (value !== undefined) return this.#listOfValue('parameter', condition.slot, value);
    }
    return this.#plain;
  }

  #listOfValue(of: 'header' | 'parameter', slot: number, value: string): Candidate<T>[] {
    let field = this.#byValue.find((known) => known.of === of && known.slot === slot);
    if (field === undefined) this.#byValue.push((field = { of, slot, values: new Map() }));
    let list = field.values.get(value);
    if (list === undefined) field.values.set(value, (list = []));
    return list;
  }
}

function exactValue({ test, absent }: ValueCondition): string | undefined {
  return test.kind === 'exact' && !absent ? test.value : undefined;
}

function firstHolding<T>(
  list: readonly Candidate<T>[],
  request: RequestFields,
  best: Candidate<T> | undefined,
): Candidate<T> | undefined {
  for (const candidate of list) {
    if (best !== undefined && candidate.rank > best.rank) return best;
    const { pattern, conditions } = candidate;
    if (!conditionsHold(conditions, request)) continue;
    if (pattern === undefined || request.isMatchedBy(pattern, request.pathAlone()))
      return candidate;
  }
  return best;
}
