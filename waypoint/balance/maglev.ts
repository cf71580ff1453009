import type { Balancer, Building } from './balancer.ts';
import type { Endpoint } from './endpoint.ts';
import { hashText, SECOND_SEED } from './hash.ts';
import { asFraction } from './random-source.ts';

/** So many slots are tried in a step of the building. */
const TRIES_A_STEP = 32_768;

/**
 * A table of a prime number of slots, which endpoints fill in turns, each by its own permutation of the slots. Shares are
 * equal within one slot, and one that goes moves little beside its own. Eisenbud et al., Maglev, NSDI 2016; weights as
 * Envoy: an endpoint takes part in as many turns as its weight is of the greatest.
 */
export class Maglev implements Balancer {
  readonly #endpoints: readonly Endpoint[];
  readonly #table: Int32Array;

  private constructor(endpoints: readonly Endpoint[], table: Int32Array) {
    this.#endpoints = endpoints;
    this.#table = table;
  }

  /** @param tableSize prime, and greater than the number of endpoints. */
  static *build(endpoints: readonly Endpoint[], tableSize: number): Building {
    const table = new Int32Array(tableSize).fill(-1);
    const count = endpoints.length;
    const { positions, skips, weights, greatest } = permutationsOf(endpoints, tableSize);
    /** The turn in which each takes part next. */
    const due = new Float64Array(count);
    yield;
    let filled = count === 0 ? tableSize : 0;
    let tries = 0;
    for (let turn = 1; filled < tableSize; turn++)
      for (let index = 0; index < count && filled < tableSize; index++) {
        tries++;
        if (turn * (weights[index] ?? 0) < (due[index] ?? 0)) continue;
        due[index] = (due[index] ?? 0) + greatest;
        const skip = skips[index] ?? 1;
        let slot = positions[index] ?? 0;
        while (table[slot] !== -1) {
          slot += skip;
          if (slot >= tableSize) slot -= tableSize;
          tries++;
        }
        table[slot] = index;
        filled++;
        slot += skip;
        positions[index] = slot >= tableSize ? slot - tableSize : slot;
        if (tries >= TRIES_A_STEP) {
          tries = 0;
          yield;
        }
      }
    return new Maglev(endpoints, table);
  }

  pick(hash: number, attempt: number): Endpoint | undefined {
    const table = this.#table;
    const slot = Math.floor(asFraction(hash) * table.length);
    return this.#endpoints[table[(slot + attempt) % table.length] ?? -1];
  }
}

type Permutations = Readonly<{
  /** Where in the table each endpoint begins, and how far its next slot is. */
  positions: Int32Array;
  skips: Int32Array;
  weights: Float64Array;
  greatest: number;
}>;

/** In which order each endpoint wants the slots. */
function permutationsOf(endpoints: readonly Endpoint[], tableSize: number): Permutations {
  const count = endpoints.length;
  const positions = new Int32Array(count);
  const skips = new Int32Array(count);
  const weights = new Float64Array(count);
  let greatest = 0;
  for (const [index, { hashKey, weight }] of endpoints.entries()) {
    positions[index] = Math.floor(asFraction(hashText(hashKey)) * tableSize);
    skips[index] = 1 + Math.floor(asFraction(hashText(hashKey, SECOND_SEED)) * (tableSize - 1));
    weights[index] = weight;
    greatest = Math.max(greatest, weight);
  }
  return { positions, skips, weights, greatest };
}
