import type { Fraction } from '../../mesh/model/http-filter.ts';
import { isOfShare } from './share.ts';

export type Delay = Readonly<{ delayMs: number; share: Fraction }>;
export type Abort = Readonly<{ status: number; grpcStatus?: number; share: Fraction }>;

/** What is done to one request on purpose: first the delay, then the end. */
export type Fault = Readonly<{ delayMs: number; abort: Abort | undefined }>;

const NO_FAULT: Fault = { delayMs: 0, abort: undefined };

/**
 * Delays add up; of several aborts the first whose share the request is of.
 *
 * @param random gives numbers from 0 to below 1: delays and aborts are drawn independently.
 */
export function decideFault(
  delays: readonly Delay[],
  aborts: readonly Abort[],
  random: () => number,
): Fault {
  if (delays.length === 0 && aborts.length === 0) return NO_FAULT;
  let delayMs = 0;
  for (const delay of delays) if (isOfShare(delay.share, random())) delayMs += delay.delayMs;
  return { delayMs, abort: aborts.find(({ share }) => isOfShare(share, random())) };
}
