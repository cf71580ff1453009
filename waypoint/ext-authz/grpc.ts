import { credentials, Metadata } from '@grpc/grpc-js';
import type { ExternalAuthorizer } from '../../mesh/model/http-policy.ts';
import {
  AuthorizationClient,
  HeaderValueOption_HeaderAppendAction as AppendAction,
  type AttributeContext_Peer as PeerMessage,
  type CheckRequest,
  type CheckResponse,
  type DeniedHttpResponse,
  type HeaderValueOption,
  type OkHttpResponse,
} from '../../mesh/proto/gen/ext-authz.ts';
import { findHeader, type HeaderList } from '../../net/h2/headers.ts';
import { isNamed, isProtected, settableField, without } from './fields.ts';
import {
  MAX_DENIAL_BYTES,
  PARTIAL_BODY,
  type AskAuthorizer,
  type AuthorizationAnswer,
  type AuthorizationQuestion,
} from './question.ts';

const NO_HEADERS: HeaderList = [];
/** An answer of more than this is none. */
const MAX_ANSWER_BYTES = 1024 * 1024;

/** Asks by envoy.service.auth.v3, over one channel, which reconnects by itself. */
export class GrpcAuthorizer implements AskAuthorizer {
  readonly #authorizer: ExternalAuthorizer;
  readonly #client: AuthorizationClient;

  constructor(authorizer: ExternalAuthorizer) {
    this.#authorizer = authorizer;
    const { host, port } = authorizer;
    const address = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
    this.#client = new AuthorizationClient(address, credentials.createInsecure(), {
      'grpc.max_receive_message_length': MAX_ANSWER_BYTES,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 5000,
    });
  }

  async ask(question: AuthorizationQuestion): Promise<AuthorizationAnswer> {
    const deadline = Date.now() + this.#authorizer.timeoutMs;
    const message = questionMessage(question, this.#authorizer);
    const response = await new Promise<CheckResponse>((resolve, reject) => {
      this.#client.check(message, new Metadata(), { deadline }, (error, answer) => {
        if (error === null) resolve(answer);
        else reject(error);
      });
    });
    return readAnswer(response, question.headers, this.#authorizer.name);
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}

function questionMessage(
  question: AuthorizationQuestion,
  authorizer: ExternalAuthorizer,
): CheckRequest {
  const { headers, body } = question;
  const pseudo = (name: string): string => findHeader(headers, name) ?? '';
  const shown = shownHeaders(headers, authorizer);
  if (body !== undefined) shown.set(PARTIAL_BODY, String(!body.isWhole));
  const bytes = Buffer.from(body?.bytes ?? []).subarray(0, authorizer.maxRequestBytes);
  return {
    attributes: {
      source: peerMessage(question.source),
      destination: peerMessage(question.destination),
      request: {
        time: new Date(),
        http: {
          ...{ id: question.id, method: pseudo(':method'), headers: shown },
          ...{ path: pseudo(':path'), host: pseudo(':authority'), scheme: pseudo(':scheme') },
          ...{ query: '', fragment: '', protocol: question.protocol },
          size: contentLength(headers),
          body: authorizer.packAsBytes ? '' : bytes.toString('utf8'),
          rawBody: authorizer.packAsBytes ? bytes : Buffer.alloc(0),
        },
      },
      contextExtensions: new Map(),
      tlsSession: { sni: question.sni },
    },
  };
}

function peerMessage({ address, identity }: AuthorizationQuestion['source']): PeerMessage {
  return {
    address: {
      address: {
        $case: 'socketAddress',
        value: { address: address.ip, portSpecifier: { $case: 'portValue', value: address.port } },
      },
    },
    ...{ service: '', labels: new Map(), principal: identity ?? '', certificate: '' },
  };
}

/** Pseudo-header fields are among them, as Envoy shows them; the values of a repeated field are joined. */
function shownHeaders(
  headers: HeaderList,
  { includeHeaders }: ExternalAuthorizer,
): Map<string, string> {
  const shown = new Map<string, string>();
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index] ?? '';
    if (includeHeaders.length > 0 && !name.startsWith(':') && !isNamed(includeHeaders, name))
      continue;
    const text = Buffer.from(headers[index + 1] ?? '', 'latin1').toString('utf8');
    const before = shown.get(name);
    const separator = name === 'cookie' ? '; ' : ',';
    shown.set(name, before === undefined ? text : `${before}${separator}${text}`);
  }
  return shown;
}

function contentLength(headers: HeaderList): bigint {
  const text = findHeader(headers, 'content-length') ?? '';
  return /^\d{1,18}$/.test(text) ? BigInt(text) : -1n;
}

function readAnswer(
  { status, httpResponse }: CheckResponse,
  headers: HeaderList,
  name: string,
): AuthorizationAnswer {
  const code = status?.code ?? 0;
  // Two words for one answer: only where both say yes is it one.
  if (code !== 0 || httpResponse?.$case === 'deniedResponse') {
    const denied = httpResponse?.$case === 'deniedResponse' ? httpResponse.value : undefined;
    return denial(denied, `${name} denied it, with status ${code}`);
  }
  const ok = httpResponse?.$case === 'okResponse' ? httpResponse.value : undefined;
  if (ok === undefined) return { kind: 'allow', headers, responseHeaders: NO_HEADERS };
  return {
    kind: 'allow',
    headers: changedHeaders(headers, ok),
    responseHeaders: ok.responseHeadersToAdd.flatMap((option) => readField(option) ?? []),
  };
}

function denial(denied: DeniedHttpResponse | undefined, reason: string): AuthorizationAnswer {
  const status = denied?.status?.code ?? 403;
  return {
    kind: 'deny',
    // An answer that is none, or that lets a client think it was served by the application's wish.
    status: status >= 200 && status <= 599 ? status : 403,
    headers: denied?.headers.flatMap((option) => readField(option) ?? []) ?? NO_HEADERS,
    body: denied?.body.slice(0, MAX_DENIAL_BYTES) ?? '',
    ...{ details: 'ext_authz_denied', reason },
  };
}

/** A field as it may be set; `undefined` for one that may not. */
function readField({ header }: HeaderValueOption): readonly [string, string] | undefined {
  if (header === undefined) return undefined;
  const text =
    header.value === '' ? Buffer.from(header.rawValue) : Buffer.from(header.value, 'utf8');
  return settableField(header.key, text.toString('latin1'));
}

function changedHeaders(headers: HeaderList, ok: OkHttpResponse): HeaderList {
  const removed = new Set(
    ok.headersToRemove.map((name) => name.toLowerCase()).filter((name) => !isProtected(name)),
  );
  let changed = without(headers, (name) => removed.has(name));
  for (const option of ok.headers) {
    const field = readField(option);
    if (field === undefined) continue;
    const [name] = field;
    const isThere = changed.some((each, index) => index % 2 === 0 && each === name);
    if (option.append === true) changed.push(...field);
    else if (option.appendAction === AppendAction.ADD_IF_ABSENT) {
      if (!isThere) changed.push(...field);
    } else if (isThere || option.appendAction !== AppendAction.OVERWRITE_IF_EXISTS)
      changed = [...without(changed, (each) => each === name), ...field];
  }
  return changed;
}
