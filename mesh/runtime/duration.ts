import { MeshError } from '../../base/errors.ts';

const UNIT_MS: ReadonlyMap<string, number> = new Map([
  ['ms', 1],
  ['s', 1000],
  ['m', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000],
]);
const PART = /(\d{1,12}(?:\.\d{1,6})?)(ms|s|m|h|d)/y;

/**
 * Parses a duration such as `10s`, `1.5s`, `1h30m`, `24h` or `0`.
 *
 * @returns whole milliseconds.
 * @throws {MeshError} ERR_DURATION for a sign, a space, a missing or unknown unit, units out of order.
 */
export function parseDurationMs(text: string): number {
  if (text === '0') return 0;
  let totalMs = 0;
  let largestMs = Infinity;
  PART.lastIndex = 0;
  while (PART.lastIndex < text.length) {
    const [, amount = '', unit = ''] = PART.exec(text) ?? [];
    const unitMs = UNIT_MS.get(unit);
    // Units go down (1h30m), so that each appears once and no order surprises.
    if (unitMs === undefined || unitMs >= largestMs) throw durationError(text);
    largestMs = unitMs;
    totalMs += Number(amount) * unitMs;
  }
  if (largestMs === Infinity || !Number.isSafeInteger(Math.round(totalMs)))
    throw durationError(text);
  return Math.round(totalMs);
}

/** The shortest text that parseDurationMs() reads as the same value: `1h30m`, `250ms`, `0s`. */
export function formatDurationMs(durationMs: number): string {
  let rest = Math.round(durationMs);
  if (rest <= 0) return '0s';
  let text = '';
  for (const [unit, unitMs] of [...UNIT_MS].reverse()) {
    if (unit === 'd') continue; // 24h is how the settings' defaults are known
    const amount = Math.floor(rest / unitMs);
    if (amount > 0) text += `${amount}${unit}`;
    rest -= amount * unitMs;
  }
  return text;
}

function durationError(text: string): MeshError {
  const found = JSON.stringify(text.slice(0, 64));
  return new MeshError('ERR_DURATION', 'local', `Cannot parse duration: found ${found}`);
}
