import { createHash, randomBytes } from 'node:crypto';
import { findHeader, type HeaderList } from '../net/h2/headers.ts';
import type { HttpVersion } from './downstream.ts';

/** RFC 6455 section 1.3: what a server appends to the key. */
const WEBSOCKET_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** What the two ends of an upgrade need of each other, whose versions of HTTP may differ. */
export type UpgradeTerms = Readonly<{
  downstream: HttpVersion;
  upstream: HttpVersion;
  /** The client's, or one that was made for an HTTP/1.1 upstream. */
  websocketKey: string | undefined;
}>;

/**
 * Brings a request for another protocol into the form of the upstream's version: CONNECT in HTTP/2, GET with a key in
 * HTTP/1.1. RFC 8441 section 5.
 */
export function upgradeRequest(
  list: HeaderList,
  downstream: HttpVersion,
  upstream: HttpVersion,
): Readonly<{ list: HeaderList; terms: UpgradeTerms }> {
  const from2 = downstream === 'HTTP/2';
  const to2 = upstream === 'HTTP/2';
  let websocketKey = findHeader(list, 'sec-websocket-key');
  if (from2 === to2) return { list, terms: { downstream, upstream, websocketKey } };
  const out: string[] = [];
  for (let index = 0; index < list.length; index += 2) {
    const name = list[index] ?? '';
    if (name === ':method') out.push(name, to2 ? 'CONNECT' : 'GET');
    else if (name !== 'sec-websocket-key') out.push(name, list[index + 1] ?? '');
  }
  if (!to2) {
    websocketKey = randomBytes(16).toString('base64');
    out.push('sec-websocket-key', websocketKey);
  }
  return { list: out, terms: { downstream, upstream, websocketKey } };
}

/** Whether the upstream has gone over to the other protocol. */
export function isUpgradeGranted(terms: UpgradeTerms, response: HeaderList): boolean {
  const status = findHeader(response, ':status') ?? '';
  return terms.upstream === 'HTTP/2' ? status.startsWith('2') : status === '101';
}

/**
 * Brings the granting response into the form of the client's version.
 *
 * @returns `undefined` when an HTTP/1.1 upstream has not proved that it read the key that was made for it.
 */
export function upgradeResponse(terms: UpgradeTerms, list: HeaderList): HeaderList | undefined {
  const { downstream, upstream, websocketKey } = terms;
  const from2 = upstream === 'HTTP/2';
  const to2 = downstream === 'HTTP/2';
  if (from2 === to2) return list;
  const proof = websocketKey === undefined ? undefined : websocketAccept(websocketKey);
  if (!from2 && findHeader(list, 'sec-websocket-accept') !== proof) return undefined;
  const out = [':status', to2 ? '200' : '101'];
  for (let index = 2; index < list.length; index += 2) {
    const name = list[index] ?? '';
    if (name !== 'sec-websocket-accept') out.push(name, list[index + 1] ?? '');
  }
  if (!to2 && proof !== undefined) out.push('sec-websocket-accept', proof);
  return out;
}

function websocketAccept(key: string): string {
  return createHash('sha1')
    .update(key + WEBSOCKET_GUID)
    .digest('base64');
}
