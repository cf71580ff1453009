import type { CorsOrigin } from '../../mesh/model/http-filter.ts';
import { Regex } from '../../mesh/model/regex.ts';

/** Whether an `Origin` is one of those allowed. */
export type OriginTest = (origin: string) => boolean;

/** What the `*` in a host stands for: labels, at any depth. Anything else would end the host, and begin another one. */
const LABELS = /^[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$/;

/** Browsers write origins in lower case, so what is configured is read so. @throws {MeshError} ERR_REGEX for a pattern. */
export function compileOrigin({ kind, value }: CorsOrigin): OriginTest {
  const wanted = value.toLowerCase();
  switch (kind) {
    case 'exact':
      return (origin) => origin === wanted;
    case 'prefix':
      return (origin) => origin.startsWith(wanted);
    case 'regex': {
      const regex = new Regex(value);
      return (origin) => regex.matches(origin);
    }
    case 'wildcard':
      return wanted === '*' ? () => true : compileWildcard(wanted);
  }
}

function compileWildcard(wanted: string): OriginTest {
  const star = wanted.indexOf('*');
  const before = wanted.slice(0, star);
  const after = wanted.slice(star + 1);
  return (origin) =>
    origin.length > before.length + after.length &&
    origin.startsWith(before) &&
    origin.endsWith(after) &&
    LABELS.test(origin.slice(before.length, origin.length - after.length));
}
