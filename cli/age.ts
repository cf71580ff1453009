/** How long ago, for people: whole units, the two largest, such as `1m30s` or `2d4h`. */
export function formatAge(durationMs: number): string {
  const units: readonly (readonly [string, number])[] = [
    ['d', 86_400_000],
    ['h', 3_600_000],
    ['m', 60_000],
    ['s', 1_000],
  ];
  const first = units.findIndex(([, unitMs]) => durationMs >= unitMs);
  if (first < 0) return durationMs > 0 ? `${Math.round(durationMs)}ms` : '0s';
  let rest = durationMs;
  return units
    .slice(first, first + 2)
    .map(([unit, unitMs]) => {
      const count = Math.floor(rest / unitMs);
      rest -= count * unitMs;
      return count > 0 ? `${count}${unit}` : '';
    })
    .join('');
}
