import type { Endpoint } from './endpoint.ts';

/**
 * Chooses among a fixed list of endpoints, in O(1) or O(log n) and without allocating. What changes while it lives
 * (requests in flight, ejections) it reads from the endpoints' states; it may name one that has become unavailable since the
 * list was made, and is then asked again.
 */
export interface Balancer {
  /**
   * @param hash of the request, of 32 bits; others than hashing balancers do not look at it.
   * @param attempt how many were named before for this request and were not taken, so that a hash can go on from there.
   * @returns `undefined` when the list is empty.
   */
  pick(hash: number, attempt: number): Endpoint | undefined;
}

/**
 * Makes a balancer in steps of about a millisecond, so that others can run between them: with 10,000 endpoints a table takes
 * several. See bench/balance.ts.
 */
export type Building = Generator<undefined, Balancer, undefined>;
