import type { Balancer } from './balancer.ts';
import type { Endpoint } from './endpoint.ts';
import { asFraction, type RandomSource } from './random-source.ts';
import { haveOneWeight } from './weights.ts';

/** Any endpoint, in proportion to the weights. */
export class RandomBalancer implements Balancer {
  readonly #endpoints: readonly Endpoint[];
  readonly #random: RandomSource;
  /** Sums of the weights up to and with each endpoint; absent where all are the same. */
  readonly #sums: Float64Array | undefined;

  constructor(endpoints: readonly Endpoint[], random: RandomSource) {
    this.#endpoints = endpoints;
    this.#random = random;
    if (haveOneWeight(endpoints)) return;
    this.#sums = new Float64Array(endpoints.length);
    let sum = 0;
    endpoints.forEach(({ weight }, index) => {
      sum += weight;
      if (this.#sums !== undefined) this.#sums[index] = sum;
    });
  }

  pick(): Endpoint | undefined {
    const { length } = this.#endpoints;
    const sums = this.#sums;
    if (sums === undefined) return this.#endpoints[this.#random.below(length)];
    const wanted = asFraction(this.#random.next()) * (sums[length - 1] ?? 0);
    let low = 0;
    let high = length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((sums[middle] ?? 0) > wanted) high = middle;
      else low = middle + 1;
    }
    return this.#endpoints[low];
  }
}
