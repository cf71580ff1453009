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

const SLOTS = 1024;
/** By hash; of two names with one hash the first is found by it, and the other is made anew each time. */
const slots: (string | undefined)[] = new Array<string | undefined>(SLOTS).fill(undefined);
for (const name of COMMON_NAMES) slots[hashOf(name, 0, name.length)] ??= name;

function hashOf(text: string, from: number, to: number): number {
  const first = text.charCodeAt(from) | 0x20;
  const middle = text.charCodeAt((from + to) >> 1) | 0x20;
  const last = text.charCodeAt(to - 1) | 0x20;
  return ((to - from) * 97 + first * 31 + middle * 7 + last) & (SLOTS - 1);
}

/** The lower-case form of the token `text[from .. to)`. */
export function lowerCaseName(text: string, from: number, to: number): string {
  const known = slots[hashOf(text, from, to)];
  if (known?.length === to - from && isSameName(known, text, from)) return known;
  return text.slice(from, to).toLowerCase();
}

function isSameName(known: string, text: string, from: number): boolean {
  for (let index = 0; index < known.length; index++) {
    const code = text.charCodeAt(from + index);
    const lower = code >= 0x41 && code <= 0x5a ? code + 0x20 : code;
    if (lower !== known.charCodeAt(index)) return false;
  }
  return true;
}
