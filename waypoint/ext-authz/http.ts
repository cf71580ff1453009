import { Agent, request as sendRequest, type IncomingMessage } from 'node:http';
import type { ExternalAuthorizer, HttpAuthorization } from '../../mesh/model/http-policy.ts';
import { findHeader, type HeaderList } from '../../net/h2/headers.ts';
import { isNamed, settableField, without } from './fields.ts';
import {
  MAX_DENIAL_BYTES,
  PARTIAL_BODY,
  type AskAuthorizer,
  type AuthorizationAnswer,
  type AuthorizationQuestion,
} from './question.ts';

/** What an authorizer gets of every request, beside host, method, path and length. */
const ALWAYS_SHOWN: readonly string[] = ['authorization'];
/** What a client needs to do something about a denial, whatever else is configured for it. */
const ALWAYS_IN_DENIALS: readonly string[] = ['www-authenticate', 'location'];
/** As many as requests to one authorizer may wait for answers at once. */
const MAX_CONNECTIONS = 1024;
const MAX_HEAD_BYTES = 64 * 1024;

/**
 * Asks by sending the request's head to the authorizer, as `envoyExtAuthzHttp` has it: 200 lets it go on, any other status is
 * the client's answer, and one from 500 on says that the authorizer cannot tell.
 */
export class HttpAuthorizer implements AskAuthorizer {
  readonly #authorizer: ExternalAuthorizer;
  readonly #http: HttpAuthorization;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: MAX_CONNECTIONS });

  constructor(authorizer: ExternalAuthorizer, http: HttpAuthorization) {
    this.#authorizer = authorizer;
    this.#http = http;
  }

  async ask(question: AuthorizationQuestion): Promise<AuthorizationAnswer> {
    const signal = AbortSignal.timeout(this.#authorizer.timeoutMs);
    let answer: HttpAnswer;
    try {
      answer = await this.#send(question, signal);
    } catch (error) {
      if (!(error instanceof StaleConnection)) throw error;
      answer = await this.#send(question, signal);
    }
    const { status } = answer;
    const { name } = this.#authorizer;
    if (status >= 500) throw new Error(`it answered ${status}`);
    return status === 200
      ? this.#allow(question.headers, answer)
      : this.#deny(answer, `${name} denied it, with status ${status}`);
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }

  #send(question: AuthorizationQuestion, signal: AbortSignal): Promise<HttpAnswer> {
    const { host, port } = this.#authorizer;
    const { headers, body } = question;
    const bytes = Buffer.from(body?.bytes ?? []).subarray(0, this.#authorizer.maxRequestBytes);
    const method = findHeader(headers, ':method') ?? '';
    return new Promise((resolve, reject) => {
      const outgoing = sendRequest({
        ...{ host, port, agent: this.#agent, signal, setHost: false },
        // A WebSocket that is opened by HTTP/2 comes as CONNECT, which has no path here.
        method: method === 'CONNECT' ? 'GET' : method,
        path: this.#http.pathPrefix + (findHeader(headers, ':path') ?? '/'),
        headers: this.#shown(question, bytes.length),
        maxHeaderSize: MAX_HEAD_BYTES,
      });
      outgoing.on('error', (error: NodeJS.ErrnoException) => {
        const isStale = outgoing.reusedSocket && error.code === 'ECONNRESET';
        reject(isStale ? new StaleConnection() : error);
      });
      outgoing.on('upgrade', (_response, socket) => {
        socket.destroy();
        reject(new Error('it changed the protocol, unasked'));
      });
      outgoing.on('response', (response) => {
        readAnswer(response).then(resolve, reject);
      });
      outgoing.end(bytes);
    });
  }

  /** Flat pairs: several values of a name stay several fields. */
  #shown({ headers, body }: AuthorizationQuestion, length: number): string[] {
    const { includeHeaders } = this.#authorizer;
    const { additionalHeaders } = this.#http;
    const fixed = new Set(additionalHeaders.map(({ name }) => name));
    const shown = ['host', findHeader(headers, ':authority') ?? ''];
    for (let index = 0; index < headers.length; index += 2) {
      const name = headers[index] ?? '';
      if (name.startsWith(':') || UNSHOWN.has(name) || fixed.has(name)) continue;
      if (isNamed(includeHeaders, name) || isNamed(ALWAYS_SHOWN, name))
        shown.push(name, headers[index + 1] ?? '');
    }
    for (const { name, value } of additionalHeaders) shown.push(name, value);
    if (body !== undefined) shown.push(PARTIAL_BODY, String(!body.isWhole));
    shown.push('content-length', String(length));
    return shown;
  }

  #allow(headers: HeaderList, { fields }: HttpAnswer): AuthorizationAnswer {
    const { headersToUpstreamOnAllow, headersToDownstreamOnAllow } = this.#http;
    const upstream = fields.filter(([name]) => isNamed(headersToUpstreamOnAllow, name));
    const replaced = new Set(upstream.map(([name]) => name));
    return {
      kind: 'allow',
      headers:
        upstream.length === 0
          ? headers
          : [...without(headers, (name) => replaced.has(name)), ...upstream.flat()],
      responseHeaders: fields.filter(([name]) => isNamed(headersToDownstreamOnAllow, name)).flat(),
    };
  }

  #deny({ status, fields, body }: HttpAnswer, reason: string): AuthorizationAnswer {
    const { headersToDownstreamOnDeny: named } = this.#http;
    const told = fields.filter(
      ([name]) =>
        !OWN_IN_ANSWERS.has(name) &&
        (named.length === 0 || isNamed(named, name) || isNamed(ALWAYS_IN_DENIALS, name)),
    );
    // 1xx are no answers, and other statuses of success would have the client think that it was served.
    const denied = status >= 300 && status <= 499 ? status : 403;
    const details = 'ext_authz_denied';
    return { kind: 'deny', status: denied, headers: told.flat(), body, details, reason };
  }
}

type HttpAnswer = Readonly<{
  status: number;
  /** Those that may be set. */
  fields: readonly (readonly [name: string, value: string])[];
  body: string;
}>;

/** An authorizer may close a kept connection while it is used again: then it has seen nothing. */
class StaleConnection extends Error {}

/** What is between two hops, or told anew. */
const UNSHOWN: ReadonlySet<string> = new Set([
  ...['host', 'content-length', 'transfer-encoding', 'connection', 'upgrade', 'te', 'trailer'],
  ...['expect', 'keep-alive', 'proxy-connection', PARTIAL_BODY],
]);
/** Answers of ours have these of their own. */
const OWN_IN_ANSWERS: ReadonlySet<string> = new Set(['date', 'server']);

async function readAnswer(response: IncomingMessage): Promise<HttpAnswer> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of response) {
    if (!(part instanceof Buffer)) continue;
    parts.push(part);
    length += part.length;
    if (length >= MAX_DENIAL_BYTES) break; // which ends the connection
  }
  const { rawHeaders, statusCode = 0 } = response;
  const fields: (readonly [string, string])[] = [];
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const field = settableField(rawHeaders[index] ?? '', rawHeaders[index + 1] ?? '');
    if (field !== undefined) fields.push(field);
  }
  const body = Buffer.concat(parts).subarray(0, MAX_DENIAL_BYTES).toString('utf8');
  return { status: statusCode, fields, body };
}
