import type { Warmup } from '../../mesh/model/traffic-policy.ts';
import type { Balancer } from './balancer.ts';
import { EarliestDeadlineFirst } from './earliest-deadline.ts';
import type { Endpoint } from './endpoint.ts';
import type { RandomSource } from './random-source.ts';
import { warmPart } from './warm-up.ts';

export type WeightedOptions = Readonly<{
  /** An endpoint with n requests in flight has its weight divided by n + 1. */
  byLoad: boolean;
  warmup: Warmup | undefined;
  now: () => number;
  random: RandomSource;
}>;

/** Round robin and least request where endpoints differ in weight, or some of them are still warming up. */
export class Weighted implements Balancer {
  readonly #endpoints: readonly Endpoint[];
  readonly #byLoad: boolean;
  readonly #warmup: Warmup | undefined;
  readonly #now: () => number;
  readonly #turns: EarliestDeadlineFirst;

  constructor(endpoints: readonly Endpoint[], { byLoad, warmup, now, random }: WeightedOptions) {
    this.#endpoints = endpoints;
    this.#byLoad = byLoad;
    this.#warmup = warmup;
    this.#now = now;
    const nowMs = now();
    const weightOf = (index: number): number => this.#weightOf(endpoints[index], nowMs);
    this.#turns = new EarliestDeadlineFirst(endpoints.length, weightOf, random);
  }

  pick(): Endpoint | undefined {
    const endpoint = this.#endpoints[this.#turns.next];
    if (endpoint === undefined) return undefined;
    // Without a warm-up nobody reads the clock for a pick.
    this.#turns.postpone(this.#weightOf(endpoint, this.#warmup === undefined ? 0 : this.#now()));
    return endpoint;
  }

  #weightOf(endpoint: Endpoint | undefined, nowMs: number): number {
    if (endpoint === undefined) return 1;
    const { weight, state } = endpoint;
    const warm = this.#warmup === undefined ? 1 : warmPart(state, this.#warmup, nowMs);
    return (weight * warm) / (this.#byLoad ? state.active + 1 : 1);
  }
}
