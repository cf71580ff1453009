import type { Fraction } from '../../mesh/model/http-filter.ts';

/** Whether a request belongs to that part of all. @param random from 0 to below 1. */
export function isOfShare({ numerator, denominator }: Fraction, random: number): boolean {
  return random * denominator < numerator;
}
