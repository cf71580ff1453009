import type { JwtFault } from './jwt-fault.ts';

/** What a token says of itself, believed by nobody yet. */
export type TokenParts = Readonly<{
  algorithm: string;
  issuer: string;
  /** In base64url. */
  payloadText: string;
}>;

/** A token has 1 to 2 KiB; what is longer costs more to read than it can be worth (attack J5). */
const MAX_TOKEN_BYTES = 16 * 1024;

/** Reads header and payload, or says in Envoy's words why they are none. */
export function readToken(text: string): TokenParts | JwtFault {
  const sections = text.length <= MAX_TOKEN_BYTES ? text.split('.', 4) : [];
  const [header = '', payload = '', signature = ''] = sections;
  if (sections.length !== 3 || !sections.every(isBase64Url) || signature === '')
    return 'Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections';
  const head = readObject(header);
  if (head === undefined) return 'Jwt header is an invalid JSON';
  const claims = readObject(payload);
  if (claims === undefined) return 'Jwt payload is an invalid JSON';
  const algorithm = ownText(head, 'alg');
  return { algorithm, issuer: ownText(claims, 'iss'), payloadText: payload };
}

function isBase64Url(text: string): boolean {
  return /^[A-Za-z0-9_-]*$/.test(text);
}

function ownText(object: object, name: string): string {
  const value: unknown = Object.hasOwn(object, name) ? Reflect.get(object, name) : undefined;
  return typeof value === 'string' ? value : '';
}

/** An object that names nothing twice: of two claims of a name, we and a backend might read different ones. */
function readObject(base64url: string): object | undefined {
  const text = Buffer.from(base64url, 'base64url').toString('utf8');
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
    return countNames(text) === Object.keys(value).length ? value : undefined;
  } catch {
    return undefined;
  }
}

/** How many names an object has as it is written, those in other objects not counted. The text is valid JSON. */
function countNames(text: string): number {
  let depth = 0;
  let names = 0;
  for (let at = 0; at < text.length; at++) {
    switch (text.charAt(at)) {
      case '"':
        at = endOfString(text, at);
        break;
      case '{':
      case '[':
        depth++;
        break;
      case '}':
      case ']':
        depth--;
        break;
      case ':':
        if (depth === 1) names++;
        break;
    }
  }
  return names;
}

/** @param from its opening quote. */
function endOfString(text: string, from: number): number {
  let at = from + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
  return at;
}
