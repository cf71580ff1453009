/** Names that most messages hold: their strings exist once, and comparing them compares pointers. */
export const COMMON_NAMES: readonly string[] = [
  ...['accept', 'accept-encoding', 'accept-language', 'accept-ranges', 'age', 'authorization'],
  ...['baggage', 'cache-control', 'connection', 'content-encoding', 'content-language'],
  ...['content-length', 'content-type', 'cookie', 'date', 'etag', 'expect', 'forwarded', 'host'],
  ...['if-modified-since', 'if-none-match', 'keep-alive', 'last-modified', 'location', 'origin'],
  ...['pragma', 'referer', 'server', 'set-cookie', 'te', 'traceparent', 'tracestate', 'trailer'],
  ...['transfer-encoding', 'upgrade', 'upgrade-insecure-requests', 'user-agent', 'vary', 'via'],
  ...['x-b3-sampled', 'x-b3-spanid', 'x-b3-traceid', 'x-forwarded-for', 'x-forwarded-host'],
  ...['x-forwarded-proto', 'x-request-id'],
];

/** With this bit an upper-case letter is its lower-case one, and no other byte of a token becomes a letter, a digit or `-`. */
const LOWER_CASE = 0x20;

type KnownName = Readonly<{ name: string; bytes: Buffer }>;

const SLOTS = 1024;
/** By hash; of two names with one hash the first is found by it, and the other is made anew each time. */
const slots = new Array<KnownName | undefined>(SLOTS).fill(undefined);
for (const name of COMMON_NAMES) {
  const bytes = Buffer.from(name);
  slots[hashOf(bytes, 0, bytes.length)] ??= { name, bytes };
}

function hashOf(bytes: Buffer, from: number, to: number): number {
  const first = (bytes[from] ?? 0) | LOWER_CASE;
  const middle = (bytes[(from + to) >> 1] ?? 0) | LOWER_CASE;
  const last = (bytes[to - 1] ?? 0) | LOWER_CASE;
  return ((to - from) * 97 + first * 31 + middle * 7 + last) & (SLOTS - 1);
}

/** The one string for a common name, whatever its case; `undefined` for others. @param from where in `bytes` a token is. */
export function commonName(bytes: Buffer, from: number, to: number): string | undefined {
  const known = slots[hashOf(bytes, from, to)];
  return known?.bytes.length === to - from && isSame(known.bytes, bytes, from)
    ? known.name
    : undefined;
}

function isSame(known: Buffer, bytes: Buffer, from: number): boolean {
  for (let index = 0; index < known.length; index++)
    if (((bytes[from + index] ?? 0) | LOWER_CASE) !== known[index]) return false;
  return true;
}
