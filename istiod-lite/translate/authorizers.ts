import { describeError, MeshError } from '../../base/errors.ts';
import { formatFieldPath, type FieldPath, type Report } from '../../mesh/kubernetes/problem.ts';
import {
  bool,
  dictionary,
  fields,
  integer,
  isJsonObject,
  list,
  optional,
  port,
  required,
  text,
  type Decoded,
  type JsonValue,
  type Schema,
} from '../../mesh/kubernetes/schema.ts';
import type { ExternalAuthorizer, HttpAuthorization } from '../../mesh/model/http-policy.ts';
import { parseDurationMs } from '../../mesh/runtime/duration.ts';

/** Whom CUSTOM policies may name, by name, or why one cannot be asked. */
export type Authorizers = ReadonlyMap<string, ExternalAuthorizer | Readonly<{ problem: string }>>;

/** 600 s and 403, as istio/api MeshConfig.ExtensionProvider has them. */
const DEFAULT_TIMEOUT = '600s';
const DEFAULT_STATUS = '403';
/** Field names (RFC 9110 section 5.1), with one `*` before or behind where several are meant. */
const FIELD_NAME = /^[!#$%&'+.^_`|~0-9A-Za-z-]+$/;
const FIELD_NAMES = /^(?:\*?[!#$%&'+.^_`|~0-9A-Za-z-]+|[!#$%&'+.^_`|~0-9A-Za-z-]+\*)$/;
const FIELD_VALUE = /^[\t\x20-\x7e]*$/;

const ofBoth = {
  service: required(text()),
  port: required(port()),
  timeout: text(),
  failOpen: bool(),
  statusOnError: text(),
  // A route is chosen after the authorizer has been asked, whatever this says.
  clearRouteCache: bool(),
  includeRequestBodyInCheck: optional(
    fields({
      maxRequestBytes: required(integer(1, 16 * 1024 * 1024)),
      allowPartialMessage: bool(),
      packAsBytes: bool(),
    }),
  ),
  includeRequestHeadersInCheck: list(text()),
};
const grpcProvider = fields(ofBoth);
const httpProvider = fields({
  ...ofBoth,
  pathPrefix: text(),
  includeAdditionalHeadersInCheck: dictionary(text()),
  headersToUpstreamOnAllow: list(text()),
  headersToDownstreamOnDeny: list(text()),
  headersToDownstreamOnAllow: list(text()),
});

/** The external authorizers among `extensionProviders`. A provider that is for something else is none. */
export function readAuthorizers(providers: readonly JsonValue[]): Authorizers {
  const authorizers = new Map<string, ExternalAuthorizer | Readonly<{ problem: string }>>();
  for (const provider of providers) {
    if (!isJsonObject(provider) || typeof provider['name'] !== 'string') continue;
    const { name, envoyExtAuthzGrpc: grpc, envoyExtAuthzHttp: http } = provider;
    if (grpc !== undefined)
      authorizers.set(
        name,
        readProvider(grpcProvider, grpc, ['envoyExtAuthzGrpc'], (asked) =>
          toAuthorizer(name, asked),
        ),
      );
    else if (http !== undefined)
      authorizers.set(
        name,
        readProvider(httpProvider, http, ['envoyExtAuthzHttp'], (asked) => ({
          ...toAuthorizer(name, asked),
          http: toHttp(asked),
        })),
      );
  }
  return authorizers;
}

function readProvider<T>(
  schema: Schema<T>,
  value: JsonValue,
  path: FieldPath,
  read: (provider: T) => ExternalAuthorizer,
): ExternalAuthorizer | { problem: string } {
  const problems: string[] = [];
  const report: Report = {
    error: (at, message) => problems.push(`${formatFieldPath(at)}: ${message}`),
    warn: () => undefined,
  };
  const decoded = schema.decode(value, path, report);
  try {
    const authorizer = read(decoded);
    const [problem] = problems;
    return problem === undefined ? authorizer : { problem };
  } catch (error) {
    return { problem: describeError(error) };
  }
}

/** @throws {MeshError} ERR_DURATION, ERR_AUTHORIZER */
function toAuthorizer(name: string, asked: Decoded<typeof grpcProvider>): ExternalAuthorizer {
  const { service, includeRequestBodyInCheck: body } = asked;
  const status = Number(asked.statusOnError === '' ? DEFAULT_STATUS : asked.statusOnError);
  return {
    name,
    // `<namespace>/<host>`: the namespace chooses among Services of one host, which names of a cluster do not need.
    host: service.slice(service.indexOf('/') + 1),
    port: asked.port,
    timeoutMs: parseDurationMs(asked.timeout === '' ? DEFAULT_TIMEOUT : asked.timeout),
    failOpen: asked.failOpen,
    // A status that says yes, or none, would be no refusal.
    statusOnError: status >= 400 && status <= 599 ? status : Number(DEFAULT_STATUS),
    maxRequestBytes: body?.maxRequestBytes ?? 0,
    allowPartialMessage: body?.allowPartialMessage ?? false,
    packAsBytes: body?.packAsBytes ?? false,
    includeHeaders: readNames(asked.includeRequestHeadersInCheck, 'includeRequestHeadersInCheck'),
  };
}

/** @throws {MeshError} ERR_AUTHORIZER */
function toHttp(asked: Decoded<typeof httpProvider>): HttpAuthorization {
  const { pathPrefix } = asked;
  if (!/^(?:\/[\x21-\x22\x24-\x3e\x40-\x7e]*)?$/.test(pathPrefix))
    throw authorizerError(`the pathPrefix ${JSON.stringify(pathPrefix)}`);
  const additional = [...asked.includeAdditionalHeadersInCheck].map(([name, value]) => {
    if (!FIELD_NAME.test(name) || !FIELD_VALUE.test(value))
      throw authorizerError(`the header ${JSON.stringify(name)}`);
    return { name: name.toLowerCase(), value };
  });
  return {
    pathPrefix,
    additionalHeaders: additional,
    headersToUpstreamOnAllow: readNames(asked.headersToUpstreamOnAllow, 'headersToUpstreamOnAllow'),
    headersToDownstreamOnDeny: readNames(
      asked.headersToDownstreamOnDeny,
      'headersToDownstreamOnDeny',
    ),
    headersToDownstreamOnAllow: readNames(
      asked.headersToDownstreamOnAllow,
      'headersToDownstreamOnAllow',
    ),
  };
}

/** @throws {MeshError} ERR_AUTHORIZER */
function readNames(names: readonly string[], where: string): readonly string[] {
  const odd = names.find((name) => !FIELD_NAMES.test(name));
  if (odd !== undefined) throw authorizerError(`${JSON.stringify(odd)} in ${where}`);
  return names.map((name) => name.toLowerCase());
}

function authorizerError(found: string): MeshError {
  return new MeshError('ERR_AUTHORIZER', 'local', `Cannot ask the authorizer: found ${found}`);
}
