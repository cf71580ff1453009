import { boundedList, quote } from './gateway-values.ts';
import { exportTo, subsetName } from './istio-values.ts';
import { isHost } from './networking.ts';
import type { ObjectBase } from './object.ts';
import type { Report } from './problem.ts';
import { dictionary, fields, optional, required, text, type Decoded } from './schema.ts';
import { validateLabels } from './selector.ts';
import { trafficPolicy } from './traffic-policy.ts';

const subset = fields({
  name: required(subsetName()),
  labels: dictionary(text()),
  trafficPolicy: optional(trafficPolicy),
});

export const destinationRuleSchema = fields(
  {
    spec: required(
      fields({
        host: required(text()),
        trafficPolicy: optional(trafficPolicy),
        subsets: boundedList(subset, Infinity, { keyOf: ({ name }) => name }),
        exportTo,
        workloadSelector: optional(fields({ matchLabels: dictionary(text()) })),
      }),
    ),
  },
  'error',
  ['apiVersion', 'kind', 'metadata', 'status'],
);

/** networking.istio.io/DestinationRule. */
export type DestinationRule = ObjectBase &
  Readonly<{ kind: 'DestinationRule' }> &
  Decoded<typeof destinationRuleSchema>;

/** What Istio's admission refuses in a DestinationRule. */
export function validateDestinationRule(
  { spec }: Decoded<typeof destinationRuleSchema>,
  report: Report,
): void {
  if (spec.host !== '' && spec.host !== '*' && !isHost(spec.host))
    report.error(['spec', 'host'], `is no host name: found ${quote(spec.host)}`);
  spec.subsets.forEach(({ labels }, index) => {
    validateLabels(labels, ['spec', 'subsets', index, 'labels'], report);
  });
  const selector = spec.workloadSelector?.matchLabels;
  if (selector !== undefined)
    validateLabels(selector, ['spec', 'workloadSelector', 'matchLabels'], report);
}
