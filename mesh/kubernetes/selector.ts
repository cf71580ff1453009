import { dictionary, fields, list, oneOf, required, text, type Decoded } from './schema.ts';
import type { FieldPath, Report } from './problem.ts';

export const labelSelectorSchema = fields({
  matchLabels: dictionary(text()),
  matchExpressions: list(
    fields({
      key: required(text()),
      operator: required(oneOf(['In', 'NotIn', 'Exists', 'DoesNotExist'], 'In')),
      values: list(text()),
    }),
  ),
});

export type LabelSelector = Decoded<typeof labelSelectorSchema>;

export type Labels = ReadonlyMap<string, string>;

/** True when every wanted label is there with its value; an empty selector matches all. */
export function labelsMatch(wanted: Labels, labels: Labels): boolean {
  for (const [key, value] of wanted) if (labels.get(key) !== value) return false;
  return true;
}

/** As Kubernetes: all labels and all expressions must hold; an empty selector matches all. */
export function selectorMatches(selector: LabelSelector, labels: Labels): boolean {
  if (!labelsMatch(selector.matchLabels, labels)) return false;
  return selector.matchExpressions.every(({ key, operator, values }) => {
    const value = labels.get(key);
    switch (operator) {
      case 'In':
        return value !== undefined && values.includes(value);
      case 'NotIn':
        return value === undefined || !values.includes(value);
      case 'Exists':
        return value !== undefined;
      case 'DoesNotExist':
        return value === undefined;
    }
  });
}

/** Kubernetes' rules for keys (optional DNS prefix, 63 characters) and values. */
const LABEL_NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;
const LABEL_PREFIX =
  /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/;

function isLabelKey(key: string): boolean {
  const slash = key.indexOf('/');
  if (slash < 0) return LABEL_NAME.test(key);
  return LABEL_PREFIX.test(key.slice(0, slash)) && LABEL_NAME.test(key.slice(slash + 1));
}

function isLabelValue(value: string): boolean {
  return value === '' || LABEL_NAME.test(value);
}

export function validateLabels(labels: Labels, path: FieldPath, report: Report): void {
  for (const [key, value] of labels) {
    if (!isLabelKey(key)) report.error([...path, key], 'is no label key');
    if (!isLabelValue(value))
      report.error(
        [...path, key],
        `is no label value: found ${JSON.stringify(value.slice(0, 80))}`,
        'at most 63 letters, digits, ".", "_", "-", with a letter or digit at both ends',
      );
  }
}
