/** What gets a share of the requests; a weight of 0 gets none. */
export type Weighted = Readonly<{ weight: number }>;

/**
 * Chooses by weight. What cannot be reached keeps its share here, so that it is answered with an error in proportion.
 *
 * @param random from 0 to below 1.
 * @returns `undefined` when nothing has a weight.
 */
export function chooseWeighted<T extends Weighted>(
  items: readonly T[],
  random: number,
): T | undefined {
  let total = 0;
  for (const { weight } of items) total += weight;
  let rest = random * total;
  let last: T | undefined;
  for (const item of items) {
    if (item.weight === 0) continue;
    if (rest < item.weight) return item;
    rest -= item.weight;
    last = item;
  }
  return last; // where rounding leaves a rest after the last one
}
