import type { HeaderList } from '../h2/headers.ts';

/** Fields that belong to one connection even when Connection does not name them. RFC 9110 section 7.6.1. */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  ...['connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'transfer-encoding'],
  'upgrade',
]);

/**
 * Fields that Connection cannot take away: a client that names them would have them kept from whoever decides or reads
 * behind us, while we went by them.
 */
const NEVER_REMOVED: ReadonlySet<string> = new Set([
  ...['host', 'content-length', 'content-type', 'authorization', 'cookie', 'set-cookie'],
  ...['x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host', 'forwarded', 'x-request-id'],
]);

const NONE: readonly string[] = [];
/** What nearly every Connection field says. */
const KEEP_ALIVE: readonly string[] = ['keep-alive'];
const CLOSE: readonly string[] = ['close'];

/** The options of all Connection fields, in lower case. */
export function connectionOptions(fields: HeaderList): readonly string[] {
  let options = NONE;
  for (let index = 0; index < fields.length; index += 2) {
    if (fields[index] !== 'connection') continue;
    const more = parseOptions(fields[index + 1] ?? '');
    options = options === NONE ? more : [...options, ...more];
  }
  return options;
}

function parseOptions(value: string): readonly string[] {
  switch (value) {
    case 'keep-alive':
    case 'Keep-Alive':
      return KEEP_ALIVE;
    case 'close':
      return CLOSE;
    default:
      return value
        .toLowerCase()
        .split(',')
        .map((option) => option.trim());
  }
}

/**
 * What of a message's fields is forwarded: neither those of its connection, nor those that Connection names.
 *
 * @param kept what they are added to.
 * @param told the name of a field that `kept` tells in another way.
 */
export function endToEndFields(fields: HeaderList, kept: string[] = [], told?: string): string[] {
  const options = connectionOptions(fields);
  for (let index = 0; index < fields.length; index += 2) {
    const name = fields[index] ?? '';
    if (name === told || HOP_BY_HOP.has(name)) continue;
    if (options.length > 0 && options.includes(name) && !NEVER_REMOVED.has(name)) continue;
    kept.push(name, fields[index + 1] ?? '');
  }
  return kept;
}

/** Whether the sender of these fields reads trailers: `TE: trailers`. RFC 9110 section 10.1.4. */
export function acceptsTrailers(fields: HeaderList): boolean {
  for (let index = 0; index < fields.length; index += 2) {
    if (fields[index] !== 'te') continue;
    const codings = (fields[index + 1] ?? '').toLowerCase().split(',');
    if (codings.some((coding) => coding.trim() === 'trailers')) return true;
  }
  return false;
}

/**
 * Fields that were decided on before the body, or frame it: in trailers they would change what was decided (attack S7).
 * RFC 9110 section 6.5.1.
 */
const NOT_IN_TRAILERS: ReadonlySet<string> = new Set([
  ...HOP_BY_HOP,
  ...['host', 'content-length', 'content-type', 'content-encoding', 'content-range'],
  ...['authorization', 'proxy-authorization', 'www-authenticate', 'proxy-authenticate'],
  ...['cookie', 'set-cookie', 'expect', 'max-forwards', 'cache-control', 'range', 'date'],
  ...['forwarded', 'x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host', 'via'],
  ...['x-forwarded-client-cert', 'x-real-ip', 'location', 'vary', 'age', 'expires', 'pragma'],
]);

/** What of trailers may be handed on. */
export function allowedTrailers(trailers: HeaderList): string[] {
  const kept: string[] = [];
  for (let index = 0; index < trailers.length; index += 2) {
    const name = trailers[index] ?? '';
    if (!NOT_IN_TRAILERS.has(name)) kept.push(name, trailers[index + 1] ?? '');
  }
  return kept;
}
