import { boundedText, checked, quote } from './gateway-values.ts';
import type { FieldPath, Report } from './problem.ts';
import { list, text, type Schema } from './schema.ts';

// Value types that kinds of networking.istio.io share.

/** Bounded, so that no text makes the expression work long. */
const DURATION = /^(?:[0-9]{1,12}(?:\.[0-9]{1,9})?(?:h|m|s|ms|us|µs|ns)){1,6}$/;
const DURATION_PART = /([0-9]{1,12}(?:\.[0-9]{1,9})?)(h|ms|m|s|us|µs|ns)/g;
const UNIT_MS: ReadonlyMap<string, number> = new Map([
  ...([
    ['h', 3_600_000],
    ['m', 60_000],
    ['s', 1000],
    ['ms', 1],
  ] as const),
  ...([
    ['us', 1e-3],
    ['µs', 1e-3],
    ['ns', 1e-6],
  ] as const),
]);

/**
 * A duration as Go writes it, in milliseconds: `10s`, `1.5s`, `1h30m`, `250ms`.
 *
 * @param leastMs 1 as Istio's admission has it, 0 where none at all has a meaning.
 */
export function goDuration(leastMs: 0 | 1 = 1): Schema<number> {
  return {
    absent: 0,
    required: false,
    decode: (value, path, report) => {
      if (typeof value !== 'string' || !DURATION.test(value)) {
        const found = typeof value === 'string' ? quote(value) : typeof value;
        report.error(path, `is no duration: found ${found}`, 'as in "10s", "1.5s" or "500ms"');
        return 0;
      }
      let totalMs = 0;
      for (const [, amount, unit = ''] of value.matchAll(DURATION_PART))
        totalMs += Number(amount) * (UNIT_MS.get(unit) ?? 0);
      if (totalMs >= leastMs) return totalMs;
      report.error(path, `must be at least ${leastMs}ms: found ${quote(value)}`);
      return 0;
    },
  };
}

/** A number that may have a fraction. */
export function number(least: number, most: number): Schema<number> {
  return {
    absent: 0,
    required: false,
    decode: (value, path, report) => {
      if (typeof value === 'number' && value >= least && value <= most) return value;
      const found = JSON.stringify(value).slice(0, 80);
      report.error(path, `expected a number from ${least} to ${most}, found ${found}`);
      return least;
    },
  };
}

/** Exactly, or at most, one of the fields may be there. */
export function checkOneOf(
  value: Readonly<Record<string, unknown>>,
  names: readonly string[],
  least: 0 | 1,
  path: FieldPath,
  report: Report,
): void {
  const found = names.filter((name) => value[name] !== undefined && value[name] !== false);
  if (found.length > 1) report.error(path, `must have only one of ${found.join(', ')}`);
  if (found.length < least) report.error(path, `must have one of ${names.join(', ')}`);
}

const NAMESPACE = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
/** Names of subsets stand in names of clusters, so dots are not in them. */
const SUBSET_NAME = /^[a-zA-Z0-9](?:[-_a-zA-Z0-9]*[a-zA-Z0-9])?$/;

export function subsetName(): Schema<string> {
  return boundedText(1, 63, SUBSET_NAME, 'name of a subset');
}

/** `.`: the object's own namespace; `*`, alone: all. */
export const exportTo = checked(
  list(
    checked(text(), (value, path, report) => {
      if (value !== '.' && value !== '*' && !NAMESPACE.test(value))
        report.error(path, `is no namespace: found ${quote(value)}`, 'use ".", "*" or a namespace');
    }),
  ),
  (namespaces, path, report) => {
    if (namespaces.includes('*') && namespaces.length > 1)
      report.error(path, 'must have "*" alone');
  },
);
