import { deepStrictEqual, match } from 'node:assert';
import { makeBaggage, parseBaggage, type Baggage } from '../../../mesh/hbone/headers.ts';
import { makeWorkload } from '../../support/workloads.ts';
import type { Target } from '../oracle.ts';

/** No header makes it throw; what is read is harmless in a log, and written again it is read again. */
export const target: Target = {
  maxBytes: 16 << 10,
  check(input) {
    const baggage = parseBaggage(input.toString('latin1'));
    for (const value of Object.values(baggage)) match(value, /^[!-~]{0,253}$/);
    const written = makeBaggage(workloadOf(baggage));
    deepStrictEqual(parseBaggage(written), baggage);
  },
};

function workloadOf(baggage: Baggage): ReturnType<typeof makeWorkload> {
  const { clusterId, namespace, workloadName, canonicalName, canonicalRevision } = baggage;
  return makeWorkload({
    ...{ name: 'x', clusterId, namespace, workloadName, canonicalName, canonicalRevision },
    workloadType: baggage.workloadType ?? 'DEPLOYMENT',
    locality: { region: baggage.region, zone: baggage.zone, subzone: '' },
  });
}
