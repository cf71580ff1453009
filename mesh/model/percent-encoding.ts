/** RFC 3986 section 2.3: what means the same whether or not it is encoded. */
const UNRESERVED = new Uint8Array(128);
for (const character of 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~')
  UNRESERVED[character.charCodeAt(0)] = 1;

/** The byte that stands encoded at `at`, -1 for what is no encoding. */
export function encodedByte(text: string, at: number): number {
  const high = hexDigit(text.charCodeAt(at + 1));
  const low = hexDigit(text.charCodeAt(at + 2));
  return high < 0 || low < 0 ? -1 : (high << 4) | low;
}

function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

/**
 * The one way to write a text of a path: unreserved characters as themselves, other encodings in lower case. What is no
 * encoding stays. Decodes once only, so that its result decodes to itself.
 */
export function canonicalPercentEncoding(text: string): string {
  let at = text.indexOf('%');
  if (at === -1) return text;
  let result = '';
  let copied = 0;
  for (; at !== -1; at = text.indexOf('%', at)) {
    const byte = encodedByte(text, at);
    if (byte < 0) {
      at++;
      continue;
    }
    result += text.slice(copied, at);
    // "%25" is not unreserved and stays, or "%2541" would become "%41" and then "A".
    result +=
      UNRESERVED[byte] === 1 ? String.fromCharCode(byte) : text.slice(at, at + 3).toLowerCase();
    at += 3;
    copied = at;
  }
  return result + text.slice(copied);
}
