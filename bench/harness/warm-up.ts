/** A warm-up that saves less is the last one. */
const WORTHWHILE_GAIN = 0.05;

/** Enough on a slow machine for what a proxy does alone. */
const MOST_WARM_MS = 15_000;

/**
 * Proxies run for months, so what is measured is code that has been compiled: how long that takes depends on the rate of
 * requests and on the machine. Runs again and again until a request costs no less than before, at least twice.
 *
 * @param run does some of the work, and tells what a request of it cost, in any unit.
 * @param mostMs after which it is enough.
 */
export async function warmUp(run: () => Promise<number>, mostMs = MOST_WARM_MS): Promise<void> {
  const endMs = performance.now() + mostMs;
  let least = Infinity;
  for (;;) {
    const cost = await run();
    if (cost >= least * (1 - WORTHWHILE_GAIN) || performance.now() > endMs) return;
    least = cost;
  }
}
