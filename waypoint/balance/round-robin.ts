import type { Balancer } from './balancer.ts';
import type { Endpoint } from './endpoint.ts';
import type { RandomSource } from './random-source.ts';

/** One after the other, from a random start, so that many waypoints do not all begin with the same one. */
export class RoundRobin implements Balancer {
  readonly #endpoints: readonly Endpoint[];
  #next: number;

  constructor(endpoints: readonly Endpoint[], random: RandomSource) {
    this.#endpoints = endpoints;
    this.#next = random.below(endpoints.length);
  }

  pick(): Endpoint | undefined {
    const endpoint = this.#endpoints[this.#next];
    this.#next++;
    if (this.#next >= this.#endpoints.length) this.#next = 0;
    return endpoint;
  }
}
