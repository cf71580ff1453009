import { isValidField, type HeaderList } from '../../net/h2/headers.ts';

/**
 * Fields that frame the message or name its target: whoever could set them would change what was decided and routed.
 */
export function isProtected(name: string): boolean {
  return name.startsWith(':') || PROTECTED.has(name);
}

const PROTECTED: ReadonlySet<string> = new Set([
  ...['host', 'content-length', 'transfer-encoding', 'connection', 'upgrade', 'te', 'trailer'],
  ...['keep-alive', 'proxy-connection'],
]);

/**
 * A field of an authorizer's answer as it may be set; `undefined` for one that may not.
 *
 * @param value with a character for each byte.
 */
export function settableField(
  name: string,
  value: string,
): readonly [name: string, value: string] | undefined {
  const lower = name.toLowerCase();
  return isProtected(lower) || !isValidField(lower, value) ? undefined : [lower, value];
}

/** Whether a name is among those that are configured: in lower case, exact, `prefix*` or `*suffix`. */
export function isNamed(patterns: readonly string[], name: string): boolean {
  return patterns.some((pattern) => {
    if (pattern.endsWith('*')) return name.startsWith(pattern.slice(0, -1));
    return pattern.startsWith('*') ? name.endsWith(pattern.slice(1)) : name === pattern;
  });
}

/** The list without the fields of such names. */
export function without(headers: HeaderList, isOut: (name: string) => boolean): string[] {
  const kept: string[] = [];
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index] ?? '';
    if (!isOut(name)) kept.push(name, headers[index + 1] ?? '');
  }
  return kept;
}
