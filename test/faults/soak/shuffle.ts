/** Numbers from 0 to 1 that a seed determines (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Forever: all of them in an order by chance, and again in another one. */
export function* shuffled<T>(items: readonly T[], random: () => number): Generator<T, never> {
  for (;;) {
    const order = [...items];
    for (let last = order.length - 1; last > 0; last--) {
      const other = Math.floor(random() * (last + 1));
      const [a, b] = [order[last], order[other]];
      if (a === undefined || b === undefined) continue;
      [order[last], order[other]] = [b, a];
    }
    yield* order;
  }
}
