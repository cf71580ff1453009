/**
 * Asking for another protocol (WebSocket above all) is GET with Upgrade in HTTP/1.1, and CONNECT with `:protocol` in HTTP/2
 * (RFC 8441). A request that came in one form goes out in the other here, and the answer comes back in the form of the
 * request, so that whoever forwards it sees one form only.
 */
import { createHash, randomBytes } from 'node:crypto';
import { findHeader, type HeaderList } from '../h2/headers.ts';

const WEBSOCKET = 'websocket';
const KEY = 'sec-websocket-key';
const ACCEPT = 'sec-websocket-accept';
/** RFC 6455 section 1.3. */
const ACCEPT_SUFFIX = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const KEY_BYTES = 16;

/** A request in the other form, and what becomes of its response. */
export type Translation = Readonly<{
  request: HeaderList;
  /** @returns undefined for a response that grants what was not asked for. */
  response(list: HeaderList): HeaderList | undefined;
}>;

/** The protocol that a request asks for. */
export function askedProtocol(list: HeaderList): string | undefined {
  // Pseudo-header fields come first, and there are five of them at the most.
  for (let index = 0; index < 10; index += 2)
    if (list[index] === ':protocol') return list[index + 1];
  return undefined;
}

/** For an HTTP/1.1 server, a request as HTTP/2 has it; undefined when it can go as it is. */
export function toUpgrade(list: HeaderList): Translation | undefined {
  const protocol = askedProtocol(list);
  if (protocol === undefined || findHeader(list, ':method') !== 'CONNECT') return undefined;
  const request = [...list];
  request[request.indexOf(':method') + 1] = 'GET';
  let accept: string | undefined;
  if (protocol.toLowerCase() === WEBSOCKET && findHeader(list, KEY) === undefined) {
    const key = randomBytes(KEY_BYTES).toString('base64');
    request.push(KEY, key);
    accept = acceptFor(key);
  }
  return {
    request,
    response(answer) {
      if (answer[1] !== '101') return answer;
      if (accept !== undefined && findHeader(answer, ACCEPT) !== accept) return undefined;
      return [':status', '200', ...without(answer.slice(2), ACCEPT)];
    },
  };
}

/** For an HTTP/2 server, a request as HTTP/1.1 has it; undefined when it can go as it is. */
export function toExtendedConnect(list: HeaderList): Translation | undefined {
  const protocol = askedProtocol(list);
  if (protocol === undefined || findHeader(list, ':method') === 'CONNECT') return undefined;
  const key = findHeader(list, KEY);
  const request = without(list, KEY);
  request[request.indexOf(':method') + 1] = 'CONNECT';
  return {
    request,
    response(answer) {
      if (answer[1]?.startsWith('2') !== true) return answer;
      const switching = [':status', '101', ...answer.slice(2)];
      if (key !== undefined) switching.push(ACCEPT, acceptFor(key));
      return switching;
    },
  };
}

function acceptFor(key: string): string {
  return createHash('sha1')
    .update(key + ACCEPT_SUFFIX)
    .digest('base64');
}

function without(list: HeaderList, name: string): string[] {
  const kept: string[] = [];
  for (let index = 0; index < list.length; index += 2)
    if (list[index] !== name) kept.push(list[index] ?? '', list[index + 1] ?? '');
  return kept;
}
