import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { describeError, MeshError } from '../../base/errors.ts';
import { numberAt, textAt, valueAt } from '../object-fields.ts';
import type { Prices } from './model.ts';

const HOURS_PER_MONTH = 730;

/** What stands in for a user's own prices: the list price of AWS Fargate, Linux on x86, us-east-1, by the hour. */
export const EXAMPLE_PRICES: Prices = {
  gbMonth: Number((0.004445 * HOURS_PER_MONTH).toFixed(4)),
  cpuMonth: Number((0.04048 * HOURS_PER_MONTH).toFixed(4)),
  currency: 'USD',
  source:
    'an example, the list price of AWS Fargate (Linux, x86, us-east-1); give yours with --prices',
};

/**
 * Reads a file of prices, YAML or JSON: `gbMonth`, `cpuMonth`, and perhaps `currency`.
 *
 * @throws {MeshError} ERR_PRICES naming the field.
 */
export function readPrices(path: string): Prices {
  let value: unknown;
  try {
    value = parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw pricesError(path, describeError(cause));
  }
  for (const field of ['gbMonth', 'cpuMonth']) {
    const found = valueAt(value, field);
    if (typeof found !== 'number' || !(found >= 0))
      throw pricesError(
        path,
        `${field} is ${found === undefined ? 'missing' : JSON.stringify(found)}, not a price`,
      );
  }
  return {
    gbMonth: numberAt(value, 'gbMonth'),
    cpuMonth: numberAt(value, 'cpuMonth'),
    currency: textAt(value, 'currency') || 'of its currency',
    source: path,
  };
}

function pricesError(path: string, found: string): MeshError {
  return new MeshError('ERR_PRICES', 'local', `Cannot read the prices in ${path}: ${found}`);
}
