import { describeError } from '../../base/errors.ts';
import type { ConfigMap } from '../../mesh/kubernetes/core.ts';
import { formatFieldPath, type Report } from '../../mesh/kubernetes/problem.ts';
import {
  anything,
  bool,
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
} from '../../mesh/kubernetes/schema.ts';
import { parseYaml } from '../../mesh/kubernetes/yaml.ts';
import type { ExternalAuthorizer } from '../../mesh/model/http-policy.ts';
import { parseDurationMs } from '../../mesh/runtime/duration.ts';
import type { Picture } from '../snapshot.ts';
import type { MeshSettings } from './settings.ts';

/** Where Istio keeps what holds for the mesh: the key `mesh` of this ConfigMap in the root namespace. */
const CONFIG_MAP = 'istio';
const KEY = 'mesh';

/** Whom CUSTOM policies may name, by name, or why one cannot be asked. */
export type Authorizers = ReadonlyMap<string, ExternalAuthorizer | Readonly<{ problem: string }>>;

/** 600 s and 403, as istio/api MeshConfig.ExtensionProvider has them. */
const DEFAULT_TIMEOUT = '600s';
const DEFAULT_STATUS = '403';

const grpcProvider = fields({
  service: required(text()),
  port: required(port()),
  timeout: text(),
  failOpen: bool(),
  statusOnError: text(),
  includeRequestBodyInCheck: optional(
    fields({
      maxRequestBytes: required(integer(1, 16 * 1024 * 1024)),
      allowPartialMessage: bool(),
      packAsBytes: bool(),
    }),
  ),
  includeRequestHeadersInCheck: list(text()),
});

const meshConfig = fields({ extensionProviders: list(anything()) }, 'ignore');

const NO_AUTHORIZERS: Authorizers = new Map();
const known = new WeakMap<ConfigMap, Authorizers>();

/** The external authorizers of the mesh. A provider that is for something else is none. */
export function authorizersOf(picture: Picture, settings: MeshSettings): Authorizers {
  const map = picture.get('ConfigMap', settings.rootNamespace, CONFIG_MAP);
  if (map === undefined) return NO_AUTHORIZERS;
  let authorizers = known.get(map);
  if (authorizers === undefined) {
    authorizers = readAuthorizers(map);
    known.set(map, authorizers);
  }
  return authorizers;
}

function readAuthorizers({ data }: ConfigMap): Authorizers {
  const mesh = data.get(KEY);
  if (mesh === undefined) return NO_AUTHORIZERS;
  const [document] = parseYaml(mesh, KEY).documents;
  if (document === undefined) return NO_AUTHORIZERS;
  const ignored: Report = { error: () => undefined, warn: () => undefined };
  const { extensionProviders } = meshConfig.decode(document.value, [], ignored);
  const authorizers = new Map<string, ExternalAuthorizer | Readonly<{ problem: string }>>();
  for (const provider of extensionProviders) {
    if (!isJsonObject(provider) || typeof provider['name'] !== 'string') continue;
    const { name, envoyExtAuthzGrpc, envoyExtAuthzHttp } = provider;
    if (envoyExtAuthzGrpc !== undefined) authorizers.set(name, readGrpc(name, envoyExtAuthzGrpc));
    else if (envoyExtAuthzHttp !== undefined)
      authorizers.set(name, {
        problem: 'envoyExtAuthzHttp is not supported, use envoyExtAuthzGrpc',
      });
  }
  return authorizers;
}

function readGrpc(name: string, value: JsonValue): ExternalAuthorizer | { problem: string } {
  const problems: string[] = [];
  const report: Report = {
    error: (path, message) => problems.push(`${formatFieldPath(path)}: ${message}`),
    warn: () => undefined,
  };
  const decoded = grpcProvider.decode(value, ['envoyExtAuthzGrpc'], report);
  try {
    const authorizer = toAuthorizer(name, decoded);
    const [problem] = problems;
    return problem === undefined ? authorizer : { problem };
  } catch (error) {
    return { problem: describeError(error) };
  }
}

/** @throws {MeshError} ERR_DURATION */
function toAuthorizer(name: string, grpc: Decoded<typeof grpcProvider>): ExternalAuthorizer {
  const { service, includeRequestBodyInCheck: body } = grpc;
  const status = Number(grpc.statusOnError === '' ? DEFAULT_STATUS : grpc.statusOnError);
  return {
    name,
    // `<namespace>/<host>`: the namespace chooses among Services of one host, which names of a cluster do not need.
    host: service.slice(service.indexOf('/') + 1),
    port: grpc.port,
    timeoutMs: parseDurationMs(grpc.timeout === '' ? DEFAULT_TIMEOUT : grpc.timeout),
    failOpen: grpc.failOpen,
    // A status that says yes, or none, would be no refusal.
    statusOnError: status >= 400 && status <= 599 ? status : Number(DEFAULT_STATUS),
    maxRequestBytes: body?.maxRequestBytes ?? 0,
    allowPartialMessage: body?.allowPartialMessage ?? false,
    packAsBytes: body?.packAsBytes ?? false,
    includeHeaders: grpc.includeRequestHeadersInCheck.map((header) => header.toLowerCase()),
  };
}
