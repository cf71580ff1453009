import type { HeaderChanges, HeaderField, HttpFilter } from '../../../mesh/model/http-filter.ts';
import type { HeaderOperations } from '../../../mesh/kubernetes/virtual-service.ts';
import type { VirtualParts } from './parts.ts';

type Headers =
  | Readonly<{ request: HeaderOperations | undefined; response: HeaderOperations | undefined }>
  | undefined;

/** What Envoy would put in at run time: `%START_TIME%`, `%REQ(x)%`. A doubled percent sign is one. */
const VARIABLE = /%[A-Z_]+(?:\([^)]*\))?(?::[0-9]+)?%/;

/** The filters that change the headers of requests and responses. */
export function headerFilters(headers: Headers, parts: VirtualParts): HttpFilter[] {
  const filters: HttpFilter[] = [];
  if (headers?.request !== undefined)
    filters.push({ kind: 'request-headers', changes: changesOf(headers.request, parts) });
  if (headers?.response !== undefined)
    filters.push({ kind: 'response-headers', changes: changesOf(headers.response, parts) });
  return filters;
}

function changesOf({ set, add, remove }: HeaderOperations, parts: VirtualParts): HeaderChanges {
  const removed = new Set(remove.map((name) => name.toLowerCase()));
  const fieldsOf = (entries: ReadonlyMap<string, string>, how: 'set' | 'add'): HeaderField[] =>
    [...entries].flatMap(([written, value]) => {
      const name = written.toLowerCase();
      if (!VARIABLE.test(value)) return [{ name, value: value.replaceAll('%%', '%') }];
      parts.note(
        `header ${name} is not ${how === 'set' ? 'set' : 'added'}: variables of Envoy have no value here`,
      );
      // What a client puts there must not pass for what was to be set.
      if (how === 'set') removed.add(name);
      return [];
    });
  return { set: fieldsOf(set, 'set'), add: fieldsOf(add, 'add'), remove: [...removed] };
}
