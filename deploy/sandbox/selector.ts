import { isRecord } from './documents.ts';

type Labels = Readonly<Record<string, string>>;

/** `spec.selector` of a Service, or `matchLabels` of a Deployment; undefined when there is none or it is empty. */
export function plainSelector(value: unknown): ReadonlyMap<string, string> | undefined {
  if (!isRecord(value)) return undefined;
  const entries = Object.entries(value).filter(
    (entry): entry is [string, string] => typeof entry[1] === 'string',
  );
  return entries.length === 0 ? undefined : new Map(entries);
}

export function matchesLabels(
  selector: ReadonlyMap<string, string>,
  labels: Labels | undefined,
): boolean {
  const own = new Map(Object.entries(labels ?? {}));
  for (const [key, value] of selector) if (own.get(key) !== value) return false;
  return true;
}

/** A selector as people write it on a command line: `a=b,c!=d,e,!f`. */
export function parseSelectorText(text: string): (labels: Labels | undefined) => boolean {
  const terms = text
    .split(',')
    .map((term) => term.trim())
    .filter((term) => term !== '')
    .map(parseTerm);
  return (labels) => {
    const own = new Map(Object.entries(labels ?? {}));
    return terms.every((term) => term(own));
  };
}

function parseTerm(term: string): (labels: ReadonlyMap<string, string>) => boolean {
  const unequal = term.indexOf('!=');
  if (unequal > 0) {
    const [key, value] = [term.slice(0, unequal), term.slice(unequal + 2)];
    return (labels) => labels.get(key) !== value;
  }
  const equal = term.indexOf('=');
  if (equal > 0) {
    const [key, value] = [term.slice(0, equal), term.slice(equal + 1).replace(/^=/, '')];
    return (labels) => labels.get(key) === value;
  }
  if (term.startsWith('!')) return (labels) => !labels.has(term.slice(1));
  return (labels) => labels.has(term);
}
