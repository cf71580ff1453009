import type { ModeName } from '../../../../bench/ambient/modes.ts';
import type { ModeSample } from '../../../../bench/ambient/rows.ts';

/** A measurement as a run keeps it; latencies as [us, count]. */
export function sample(
  mode: ModeName,
  repetition: number,
  values: Readonly<Record<string, number>>,
  pods = 100,
  histogram: ModeSample['histogram'] = [],
): ModeSample {
  const meshed = mode !== 'none';
  return {
    ...{ mode, pods, repetition, values, histogram },
    security: {
      ...{ encrypts: meshed, authorises: meshed },
      ciphers: meshed ? ['TLS_AES_128_GCM_SHA256'] : [],
    },
    raw: { podStartMs: [], enrolmentMs: [], changeMs: [] },
  };
}
