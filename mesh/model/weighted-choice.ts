/**
 * Chooses by weight; a weight of 0 gets no share. What cannot be reached may keep its share, so that it is answered with an
 * error in proportion.
 *
 * @param random from 0 to below 1.
 * @returns `undefined` when nothing has a weight.
 */
export function chooseWeighted<T>(
  items: readonly T[],
  weightOf: (item: T) => number,
  random: number,
): T | undefined {
  let total = 0;
  for (const item of items) total += weightOf(item);
  let rest = random * total;
  let last: T | undefined;
  for (const item of items) {
    const weight = weightOf(item);
    if (weight === 0) continue;
    if (rest < weight) return item;
    rest -= weight;
    last = item;
  }
  return last; // where rounding leaves a rest after the last one
}
