import type { SocketAddress } from '../../base/address.ts';
import type { SpiffeId } from '../../mesh/model/identity.ts';
import type { HeaderList } from '../../net/h2/headers.ts';

/** What an authorizer is told of a request. */
export type AuthorizationQuestion = Readonly<{
  id: string;
  /** In the common form, pseudo-header fields first. */
  headers: HeaderList;
  protocol: 'HTTP/1.1' | 'HTTP/2';
  source: Readonly<{ address: SocketAddress; identity?: SpiffeId }>;
  destination: Readonly<{ address: SocketAddress; identity?: SpiffeId }>;
  sni: string;
  /** The beginning of the body, where the authorizer wants to see one; see bodyBytesWanted(). */
  body?: Readonly<{ bytes: Uint8Array; isWhole: boolean }>;
}>;

/** What becomes of the request. */
export type AuthorizationAnswer = Readonly<
  | {
      kind: 'allow';
      /** What goes on, in place of the headers that were shown. */
      headers: HeaderList;
      /** For the response, whoever gives it. */
      responseHeaders: HeaderList;
      /** The authorizer could not be asked, and is configured to be done without. */
      failedOpen?: string;
    }
  | {
      kind: 'deny';
      status: number;
      headers: HeaderList;
      body: string;
      details: 'ext_authz_denied' | 'ext_authz_error' | 'request_payload_too_large';
      /** For the log alone. */
      reason: string;
    }
>;

/** So much of a denial's body goes to the client. */
export const MAX_DENIAL_BYTES = 64 * 1024;

/** One way of asking an authorizer. */
export interface AskAuthorizer extends Disposable {
  /** @throws {Error} when there is no answer in time, or none that can be understood. */
  ask(question: AuthorizationQuestion): Promise<AuthorizationAnswer>;
}

/** Whether the body is shown in part: told in a field by Envoy's name. */
export const PARTIAL_BODY = 'x-envoy-auth-partial-body';
