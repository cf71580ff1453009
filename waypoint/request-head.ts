import { randomUUID } from 'node:crypto';
import type { HeaderList } from '../net/h2/headers.ts';
import { isGrpcContentType } from './grpc.ts';
import { CLIENT_CERTIFICATE } from './client-certificate.ts';
import type { Downstream } from './downstream.ts';

/** Where the values of the pseudo-header fields stand in a RequestHead's list. */
const METHOD = 1;
const SCHEME = 3;
const AUTHORITY = 5;
const PATH = 7;

/**
 * The head of a request, as it is decided on and sent on: one list, pseudo-header fields first and at fixed places. What
 * only proxies may say (`x-envoy-*`, `x-forwarded-client-cert`) is taken out (attack M1), and what a client need not
 * know is added. Of a client at a gateway not even the scheme is believed.
 */
export class RequestHead {
  /** Whoever changes a field changes it here, or puts another list in the place; `:method` to `:path` keep their places. */
  list: string[];
  /** As the client sent it. */
  readonly originalPath: string;
  /** `:protocol`: what the client wants to go on with; '' for none. */
  protocol: string;
  readonly isGrpc: boolean;
  readonly requestId: string;
  readonly forwardedFor: string;
  userAgent: string | undefined;
  grpcTimeout: string | undefined;
  /** The client waits for 100 before it sends its body. */
  expectsContinue = false;
  /** Names and values of all fields that came. */
  bytes = 0;

  /** @param received a valid head, `:authority` or `host` in it. */
  constructor(received: HeaderList, downstream: Downstream) {
    const list = [':method', '', ':scheme', 'http', ':authority', '', ':path', ''];
    let protocol = '';
    let contentType: string | undefined;
    let requestId = '';
    let forwardedFor = '';
    let hasForwardedProto = false;
    for (let index = 0; index < received.length; index += 2) {
      const name = received[index] ?? '';
      const value = received[index + 1] ?? '';
      this.bytes += name.length + value.length;
      switch (name) {
        case ':method':
          list[METHOD] = value;
          continue;
        case ':scheme':
          list[SCHEME] = value;
          continue;
        case ':authority':
          list[AUTHORITY] = value;
          continue;
        case ':path':
          list[PATH] = value;
          continue;
        case ':protocol':
          protocol = value;
          list.push(name, value);
          continue;
        case 'host':
          // The same as :authority where both are there.
          if (list[AUTHORITY] === '') list[AUTHORITY] = value;
          continue;
        case 'content-type':
          contentType ??= value;
          break;
        case 'x-request-id':
          requestId ||= value;
          continue;
        case 'x-forwarded-for':
          forwardedFor = forwardedFor === '' ? value : `${forwardedFor},${value}`;
          continue;
        case 'x-forwarded-proto':
          if (downstream.edge !== undefined) continue;
          hasForwardedProto = true;
          break;
        case 'user-agent':
          this.userAgent ??= value;
          break;
        case 'grpc-timeout':
          this.grpcTimeout ??= value;
          break;
        case 'expect':
          // Answered here, when the body is wanted.
          if (value.toLowerCase() !== '100-continue') break;
          this.expectsContinue = true;
          continue;
        default:
          if (name.charCodeAt(0) === X && isProxysOwn(name)) continue;
      }
      list.push(name, value);
    }
    if (downstream.edge !== undefined) list[SCHEME] = downstream.edge.scheme;
    requestId ||= randomUUID();
    const { ip } = downstream.remote;
    forwardedFor = forwardedFor === '' ? ip : `${forwardedFor},${ip}`;
    list.push('x-forwarded-for', forwardedFor, 'x-request-id', requestId);
    if (!hasForwardedProto) list.push('x-forwarded-proto', list[SCHEME] ?? '');
    this.list = list;
    this.protocol = protocol;
    this.originalPath = list[PATH] ?? '';
    this.isGrpc = isGrpcContentType(contentType);
    this.requestId = requestId;
    this.forwardedFor = forwardedFor;
  }

  get method(): string {
    return this.list[METHOD] ?? '';
  }

  get authority(): string {
    return this.list[AUTHORITY] ?? '';
  }

  set authority(authority: string) {
    this.list[AUTHORITY] = authority;
  }

  /** With the query. */
  get path(): string {
    return this.list[PATH] ?? '';
  }

  set path(path: string) {
    this.list[PATH] = path;
  }

  /** Takes away that the client wants another protocol: it is served as if it had not asked. */
  dropProtocol(): void {
    this.protocol = '';
    const at = this.list.indexOf(':protocol');
    if (at >= 0) this.list.splice(at, 2);
  }
}

const X = 0x78;

function isProxysOwn(name: string): boolean {
  return name.startsWith('x-envoy-') || name === CLIENT_CERTIFICATE;
}
