import { boundedList, boundedText, checked, quote } from './gateway-values.ts';
import { isHost } from './networking.ts';
import type { ObjectBase } from './object.ts';
import type { Report } from './problem.ts';
import { dictionary, fields, list, optional, required, text, type Decoded } from './schema.ts';
import { validateLabels } from './selector.ts';
import { trafficPolicy } from './traffic-policy.ts';

const NAMESPACE = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
/** Names of subsets stand in names of clusters, so dots are not in them. */
const SUBSET_NAME = /^[a-zA-Z0-9](?:[-_a-zA-Z0-9]*[a-zA-Z0-9])?$/;

const subset = fields({
  name: required(boundedText(1, 63, SUBSET_NAME, 'name of a subset')),
  labels: dictionary(text()),
  trafficPolicy: optional(trafficPolicy),
});

/** `.`: the rule's own namespace; `*`: all. */
const exportTo = list(
  checked(text(), (value, path, report) => {
    if (value !== '.' && value !== '*' && !NAMESPACE.test(value))
      report.error(path, `is no namespace: found ${quote(value)}`, 'use ".", "*" or a namespace');
  }),
);

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
  if (spec.exportTo.includes('*') && spec.exportTo.length > 1)
    report.error(['spec', 'exportTo'], 'must have "*" alone');
}
