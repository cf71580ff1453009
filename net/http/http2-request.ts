import type { Http2ConnectionHandler } from '../h2/connection-handler.ts';
import type { Http2ConnectionError } from '../h2/errors.ts';
import type { HeaderList } from '../h2/headers.ts';
import type { Http2Stream } from '../h2/stream.ts';
import { canonicalAuthority } from '../http1/authority.ts';
import { isAllOf, METHOD } from '../http1/characters.ts';
import type { Http1Parameters } from '../http1/options.ts';
import { askedProtocol } from './extended-connect.ts';
import type { HttpServerHandler } from './exchange.ts';

const COLON = 0x3a;

/**
 * What is true of every HTTP/1.1 request becomes true of those that come by HTTP/2: one authority in its canonical form and
 * no `host` beside it (attack S8), a method in upper case, no tunnel, no TRACE (S9), no names with `_` unless they are
 * allowed (M3).
 */
export class Http2RequestCheck implements Http2ConnectionHandler {
  readonly #parameters: Http1Parameters;
  readonly #handler: HttpServerHandler;

  constructor(parameters: Http1Parameters, handler: HttpServerHandler) {
    this.#parameters = parameters;
    this.#handler = handler;
  }

  onRequest(stream: Http2Stream, headers: HeaderList, endStream: boolean): void {
    const request = this.#read(headers);
    if (typeof request === 'number')
      stream.respond([':status', String(request)], { endStream: true });
    else this.#handler.onRequest(stream, request, endStream);
  }

  onClose(error?: Http2ConnectionError): void {
    this.#handler.onClose(error);
  }

  /** The request's list, or with which status it is refused. */
  #read(headers: HeaderList): HeaderList | number {
    let method = '';
    let scheme = '';
    let authority: string | undefined;
    let host: string | undefined;
    let hosts = 0;
    for (let index = 0; index < headers.length; index += 2) {
      const name = headers[index] ?? '';
      const value = headers[index + 1] ?? '';
      if (name === ':method') method = value;
      else if (name === ':scheme') scheme = value;
      else if (name === ':authority') authority = value;
      else if (name === 'host') {
        host = value;
        hosts++;
      } else if (name.includes('_') && !this.#parameters.limits.allowUnderscores) return 400;
    }
    if (method === 'TRACE') return 405;
    if (method === 'CONNECT' && askedProtocol(headers) === undefined) return 405;
    if (!isAllOf(METHOD, method) || (scheme !== 'http' && scheme !== 'https')) return 400;
    const canonical = canonicalAuthority(authority ?? host ?? '', scheme);
    if (canonical === '') return 400;
    return hosts === 0 && canonical === authority ? headers : withAuthority(headers, canonical);
  }
}

function withAuthority(headers: HeaderList, authority: string): string[] {
  const list: string[] = [];
  let placed = false;
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index] ?? '';
    if (!placed && name.charCodeAt(0) !== COLON) {
      list.push(':authority', authority);
      placed = true;
    }
    if (name !== ':authority' && name !== 'host') list.push(name, headers[index + 1] ?? '');
  }
  if (!placed) list.push(':authority', authority);
  return list;
}
