import type { Balancer } from './balancer.ts';
import type { Endpoint } from './endpoint.ts';
import type { RandomSource } from './random-source.ts';

/** Of two different endpoints drawn at random the one with fewer requests in flight: power of two choices. */
export class LeastRequest implements Balancer {
  readonly #endpoints: readonly Endpoint[];
  readonly #random: RandomSource;

  constructor(endpoints: readonly Endpoint[], random: RandomSource) {
    this.#endpoints = endpoints;
    this.#random = random;
  }

  /** Every second attempt names the other of the two: one that fails fast has few in flight and would be named ever again. */
  pick(_hash: number, attempt: number): Endpoint | undefined {
    const { length } = this.#endpoints;
    const index = this.#random.below(length);
    const first = this.#endpoints[index];
    if (length < 2) return first;
    const step = 1 + this.#random.below(length - 1);
    const second = this.#endpoints[(index + step) % length];
    if (first === undefined || second === undefined) return first;
    const secondIsBetter = second.state.active < first.state.active;
    return secondIsBetter === (attempt % 2 === 0) ? second : first;
  }
}
