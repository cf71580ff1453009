/** The generator of Lehmer, so that every run draws the same: from 0 to below 1. */
export function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 48_271) % 0x7fff_ffff;
    return (state - 1) / 0x7fff_fffe;
  };
}

/** How far counts are from what is expected of them, relative to its variance. */
export function chiSquare(counts: readonly number[], expected: readonly number[]): number {
  return counts.reduce((sum, count, index) => {
    const wanted = expected[index] ?? 0;
    return sum + (count - wanted) ** 2 / wanted;
  }, 0);
}

/** What chi-square exceeds in one of 10,000 fair draws, nearly (Wilson and Hilferty). */
export function chiSquareLimit(degreesOfFreedom: number): number {
  const part = 2 / (9 * degreesOfFreedom);
  return degreesOfFreedom * (1 - part + 3.72 * Math.sqrt(part)) ** 3;
}
