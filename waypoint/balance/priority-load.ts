/** How many endpoints a level has, and how many of them are available. */
export type LevelHealth = Readonly<{ available: number; total: number }>;

/** What a level gets of the requests, from 0 to 1, and whether it is in panic: then all of its endpoints are used. */
export type LevelLoad = Readonly<{ share: number; panic: boolean }>;

/** A level with this much more than it needs keeps all requests: 28 % of its endpoints may be away. Envoy, 140 %. */
export const OVERPROVISIONING = 1.4;

/**
 * Shares requests among levels, the most preferred first: each takes what its available endpoints can carry, what is left
 * flows down. Where all levels together cannot carry everything, those under the threshold are in panic.
 *
 * @param panicPercent a level with fewer percent available is in panic; 0: never.
 */
export function shareLevels(levels: readonly LevelHealth[], panicPercent: number): LevelLoad[] {
  const health = levels.map(({ available, total }) =>
    total === 0 ? 0 : Math.min(1, (OVERPROVISIONING * available) / total),
  );
  const carried = Math.min(
    1,
    health.reduce((sum, each) => sum + each, 0),
  );
  const inPanic = levels.map(
    ({ available, total }) => carried < 1 && total > 0 && (100 * available) / total < panicPercent,
  );
  if (carried === 0) return shareInPanic(levels, inPanic);
  let left = 1;
  return health.map((each, index) => {
    const share = Math.min(left, each / carried);
    left -= share;
    return { share, panic: inPanic[index] ?? false };
  });
}

/** Nothing is available: all endpoints, wherever they are, get the same. */
function shareInPanic(levels: readonly LevelHealth[], inPanic: readonly boolean[]): LevelLoad[] {
  const all = levels.reduce((sum, { total }, index) => sum + (inPanic[index] ? total : 0), 0);
  return levels.map(({ total }, index) => {
    const panic = inPanic[index] ?? false;
    return { share: panic ? total / all : 0, panic };
  });
}
