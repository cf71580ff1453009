import type { HeaderChanges } from './http-filter.ts';

/** Fields of one connection (RFC 9110 section 7.6.1) and those that frame a body: changing them would be smuggling. */
const NEVER_CHANGED: ReadonlySet<string> = new Set([
  ...['connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'transfer-encoding'],
  ...['upgrade', 'http2-settings', 'content-length'],
]);

/** The target of a request by its two names: it is set, but never taken away or added to. */
const AUTHORITY: ReadonlySet<string> = new Set(['host', ':authority']);

const NAME = /^[!#$%&'*+.^_`|~0-9a-z-]+$/;

/** What is wrong with changes that are asked for, as the end of a sentence; `undefined` when nothing is. */
export function headerChangesProblem(
  changes: HeaderChanges,
  of: 'request' | 'response',
): string | undefined {
  for (const { name, value } of changes.set) {
    const problem =
      of === 'request' && AUTHORITY.has(name) ? authorityProblem(value) : fieldProblem(name, value);
    if (problem !== undefined) return problem;
  }
  for (const { name, value } of changes.add) {
    const problem = fieldProblem(name, value);
    if (problem !== undefined) return problem;
  }
  return changes.remove.map(fieldNameProblem).find((problem) => problem !== undefined);
}

function fieldProblem(name: string, value: string): string | undefined {
  if (isValue(value)) return fieldNameProblem(name);
  return `header ${name} must have neither control characters nor spaces around its value`;
}

/** What is wrong with the name of a field that is put into, or taken out of, a message. */
export function fieldNameProblem(name: string): string | undefined {
  if (AUTHORITY.has(name)) return `header ${name} can only be set, and only of requests`;
  if (NEVER_CHANGED.has(name)) return `header ${name} belongs to the connection`;
  if (!NAME.test(name)) return `header ${JSON.stringify(name)} is not a field name in lower case`;
  return undefined;
}

/** What is wrong with the host, with or without a port, that requests shall go to. */
export function authorityProblem(value: string): string | undefined {
  if (/^[A-Za-z0-9._~:[\]-]+$/.test(value)) return undefined;
  return `${JSON.stringify(value)} is not a host that a request can be for`;
}

/** Neither controls nor spaces around it: with them a value would become more than one field, or another one. */
function isValue(value: string): boolean {
  for (let index = 0; index < value.length; index++) {
    const code = value.charCodeAt(index);
    if ((code < 0x20 && code !== 0x09) || code === 0x7f) return false;
  }
  return value === value.trim();
}
