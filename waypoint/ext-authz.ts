import { describeError } from '../base/errors.ts';
import type { ExternalAuthorizer } from '../mesh/model/http-policy.ts';
import type { HeaderList } from '../net/h2/headers.ts';
import { GrpcAuthorizer } from './ext-authz/grpc.ts';
import { HttpAuthorizer } from './ext-authz/http.ts';
import type {
  AskAuthorizer,
  AuthorizationAnswer,
  AuthorizationQuestion,
} from './ext-authz/question.ts';

const NO_HEADERS: HeaderList = [];

/** One authorizer, asked in its own way; what becomes of requests that it cannot be asked about. */
export class ExternalAuthorizerClient implements Disposable {
  readonly #authorizer: ExternalAuthorizer;
  readonly #way: AskAuthorizer;
  #asking = 0;
  #disposed = false;

  constructor(authorizer: ExternalAuthorizer) {
    this.#authorizer = authorizer;
    const { http } = authorizer;
    this.#way =
      http === undefined ? new GrpcAuthorizer(authorizer) : new HttpAuthorizer(authorizer, http);
  }

  /** How much of a body must be held before the question can be asked; 0: none of it. */
  get bodyBytesWanted(): number {
    return this.#authorizer.maxRequestBytes;
  }

  /** Never rejects: an authorizer that cannot be asked gives the answer that is configured for it. */
  async check(question: AuthorizationQuestion): Promise<AuthorizationAnswer> {
    const { allowPartialMessage, failOpen, maxRequestBytes, name, statusOnError } =
      this.#authorizer;
    if (question.body?.isWhole === false && !allowPartialMessage)
      return {
        ...{ kind: 'deny', status: 413, headers: NO_HEADERS, body: 'Payload Too Large' },
        details: 'request_payload_too_large',
        reason: `the body is longer than the ${maxRequestBytes} bytes that ${name} may see`,
      };
    this.#asking++;
    try {
      return await this.#way.ask(question);
    } catch (error) {
      const reason = `cannot ask ${name}: ${describeError(error)}`;
      if (failOpen)
        return {
          ...{ kind: 'allow', headers: question.headers, responseHeaders: NO_HEADERS },
          failedOpen: reason,
        };
      return {
        ...{ kind: 'deny', status: statusOnError, headers: NO_HEADERS, body: '' },
        ...{ details: 'ext_authz_error', reason },
      };
    } finally {
      this.#asking--;
      this.#closeWhenDone();
    }
  }

  /** Nothing more will be asked; what was asked is still answered. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#closeWhenDone();
  }

  #closeWhenDone(): void {
    if (this.#disposed && this.#asking === 0) this.#way[Symbol.dispose]();
  }
}
