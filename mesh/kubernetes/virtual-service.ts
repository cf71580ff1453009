import { isUtf8 } from 'node:buffer';
import { RETRY_CONDITIONS } from '../model/http-route.ts';
import { regexProblem } from '../model/regex.ts';
import { substitutionProblem } from '../model/regex-substitution.ts';
import { checked, quote, TOKEN_NAME } from './gateway-values.ts';
import { checkOneOf, exportTo, goDuration, number, subsetName } from './istio-values.ts';
import { isHost } from './networking.ts';
import type { ObjectBase } from './object.ts';
import type { FieldPath, Report } from './problem.ts';
import {
  bool,
  dictionary,
  fields,
  integer,
  list,
  oneOf,
  optional,
  port,
  required,
  text,
  withDefault,
  type Decoded,
  type Schema,
} from './schema.ts';

const STRING_MATCH = ['exact', 'prefix', 'regex'] as const;

/** Nothing in it: presence counts. */
const stringMatch = checked(
  fields({ exact: optional(text()), prefix: optional(text()), regex: optional(text()) }),
  (match, path, report) => {
    checkOneOf(match, STRING_MATCH, 0, path, report);
    const problem = match.regex === undefined ? undefined : regexProblem(match.regex);
    if (problem !== undefined) report.error([...path, 'regex'], problem);
  },
);

export type StringMatch = Decoded<typeof stringMatch>;

const destination = fields({
  host: required(text()),
  subset: optional(subsetName()),
  port: optional(fields({ number: required(port()) })),
});

export type Destination = Decoded<typeof destination>;

const headerOperations = fields({
  set: dictionary(text()),
  add: dictionary(text()),
  remove: list(text()),
});

export type HeaderOperations = Decoded<typeof headerOperations>;

const headers = optional(
  fields({ request: optional(headerOperations), response: optional(headerOperations) }),
);

const weight = integer(0, 0x7fff_ffff);
const routeDestination = fields({ destination: required(destination), weight, headers });

export type RouteDestination = Decoded<typeof routeDestination>;

/** What Istio matches a header by: a name, or a claim of a token. */
function headerMatches(): Schema<ReadonlyMap<string, StringMatch>> {
  return checked(dictionary(stringMatch), (matches, path, report) => {
    for (const name of matches.keys())
      if (!name.startsWith('@') && !TOKEN_NAME.test(name.replace(/^:/, '')))
        report.error([...path, name], `is no header name: found ${quote(name)}`);
  });
}

const httpMatch = fields({
  name: text(),
  uri: optional(stringMatch),
  scheme: optional(stringMatch),
  method: optional(stringMatch),
  authority: optional(stringMatch),
  headers: headerMatches(),
  withoutHeaders: headerMatches(),
  queryParams: dictionary(stringMatch),
  ignoreUriCase: bool(),
  port: optional(port()),
  sourceLabels: dictionary(text()),
  sourceNamespace: text(),
  gateways: list(text()),
  statPrefix: text(),
});

export type HttpMatchRequest = Decoded<typeof httpMatch>;

const redirect = checked(
  fields({
    uri: text(),
    authority: text(),
    port: optional(port()),
    derivePort: optional(
      oneOf(['FROM_PROTOCOL_DEFAULT', 'FROM_REQUEST_PORT'], 'FROM_PROTOCOL_DEFAULT'),
    ),
    scheme: optional(oneOf(['http', 'https'], 'http')),
    redirectCode: withDefault(
      checked(integer(301, 308), (code, path, report) => {
        if (![301, 302, 303, 307, 308].includes(code))
          report.error(path, `expected one of 301, 302, 303, 307, 308; found ${code}`);
      }),
      301,
    ),
  }),
  (value, path, report) => {
    checkOneOf(value, ['port', 'derivePort'], 0, path, report);
  },
);

export type HttpRedirect = Decoded<typeof redirect>;

const directResponse = checked(
  fields({
    status: required(integer(200, 599)),
    body: optional(
      checked(
        fields({ string: optional(text()), bytes: optional(text()) }),
        (body, path, report) => {
          checkOneOf(body, ['string', 'bytes'], 0, path, report);
        },
      ),
    ),
  }),
  ({ body }, path, report) => {
    if (body?.bytes !== undefined && !isUtf8(Buffer.from(body.bytes, 'base64')))
      report.error([...path, 'body', 'bytes'], 'must be text in UTF-8, in base64');
  },
);

const uriRegexRewrite = checked(
  fields({ match: required(text()), rewrite: required(text()) }),
  ({ match, rewrite }, path, report) => {
    const problem = substitutionProblem(match, rewrite);
    if (problem !== undefined) report.error(path, problem);
  },
);

const rewrite = checked(
  fields({ uri: text(), authority: text(), uriRegexRewrite: optional(uriRegexRewrite) }),
  ({ uri, uriRegexRewrite: regex }, path, report) => {
    if (uri !== '' && regex !== undefined)
      report.error(path, 'must have only one of uri, uriRegexRewrite');
  },
);

/** Conditions of Envoy's `retry_on` and `retry_grpc_on` that Istio's admission knows. */
const ADMITTED_CONDITIONS: ReadonlySet<string> = new Set([
  ...[...RETRY_CONDITIONS, 'envoy-ratelimited', 'retriable-headers', 'http3-post-connect-failure'],
]);

const retries = fields({
  attempts: integer(-0x8000_0000, 0x7fff_ffff),
  perTryTimeout: optional(goDuration()),
  retryOn: checked(text(), (value, path, report) => {
    for (const part of retryOnParts(value)) {
      const code = Number(part);
      const isCode = Number.isInteger(code) && code >= 100 && code <= 599;
      if (!isCode && !ADMITTED_CONDITIONS.has(part))
        report.error(path, `is no condition and no status: found ${quote(part)}`);
    }
  }),
  retryRemoteLocalities: optional(bool()),
  retryIgnorePreviousHosts: optional(bool()),
  backoff: optional(goDuration()),
});

/** The conditions and statuses of a `retryOn`. */
export function retryOnParts(retryOn: string): string[] {
  return retryOn
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}

const percentage = optional(fields({ value: number(0, 100) }));
const percent = integer(0, 100);

/** Names of gRPC's statuses by their numbers. */
export const GRPC_STATUSES = [
  ...(['OK', 'CANCELLED', 'UNKNOWN', 'INVALID_ARGUMENT', 'DEADLINE_EXCEEDED'] as const),
  ...(['NOT_FOUND', 'ALREADY_EXISTS', 'PERMISSION_DENIED', 'RESOURCE_EXHAUSTED'] as const),
  ...(['FAILED_PRECONDITION', 'ABORTED', 'OUT_OF_RANGE', 'UNIMPLEMENTED', 'INTERNAL'] as const),
  ...(['UNAVAILABLE', 'DATA_LOSS', 'UNAUTHENTICATED'] as const),
] as const;

/** `http2Error` and `exponentialDelay` are in the API, and refused upstream too. */
const fault = fields({
  delay: optional(fields({ fixedDelay: required(goDuration()), percentage, percent })),
  abort: optional(
    checked(
      fields({
        httpStatus: optional(integer(200, 599)),
        grpcStatus: optional(oneOf(GRPC_STATUSES, 'UNKNOWN')),
        percentage,
        percent,
      }),
      (abort, path, report) => {
        checkOneOf(abort, ['httpStatus', 'grpcStatus'], 1, path, report);
      },
    ),
  ),
});

export type HttpFault = Decoded<typeof fault>;

const corsPolicy = fields({
  allowOrigin: list(text()),
  allowOrigins: list(stringMatch),
  allowMethods: list(text()),
  allowHeaders: list(text()),
  exposeHeaders: list(text()),
  maxAge: optional(goDuration(0)),
  allowCredentials: bool(),
  unmatchedPreflights: withDefault(
    oneOf(['UNSPECIFIED', 'FORWARD', 'IGNORE'], 'FORWARD'),
    'FORWARD',
  ),
});

export type IstioCorsPolicy = Decoded<typeof corsPolicy>;

const httpRoute = checked(
  fields({
    name: text(),
    match: list(httpMatch),
    route: list(routeDestination),
    redirect: optional(redirect),
    directResponse: optional(directResponse),
    delegate: optional(fields({ name: required(text()), namespace: text() })),
    rewrite: optional(rewrite),
    timeout: optional(goDuration(0)),
    retries: optional(retries),
    fault: optional(fault),
    mirror: optional(destination),
    mirrors: list(fields({ destination: required(destination), percentage })),
    mirrorPercentage: percentage,
    mirrorPercent: optional(percent),
    corsPolicy: optional(corsPolicy),
    headers,
  }),
  (route, path, report) => {
    const { route: destinations, redirect: redirected, directResponse: answer } = route;
    const ways = [
      ...(destinations.length > 0 ? ['route'] : []),
      ...(redirected === undefined ? [] : ['redirect']),
      ...(answer === undefined ? [] : ['directResponse']),
      ...(route.delegate === undefined ? [] : ['delegate']),
    ];
    if (ways.length > 1) report.error(path, `must have only one of ${ways.join(', ')}`);
    if (ways.length === 0)
      report.error(path, 'must have one of route, redirect, directResponse, delegate');
    if (redirected !== undefined && route.rewrite !== undefined)
      report.error([...path, 'rewrite'], 'must not stand beside redirect');
    if (route.mirror !== undefined && route.mirrors.length > 0)
      report.error([...path, 'mirrors'], 'must not stand beside mirror');
    if (destinations.length > 1 && destinations.every((each) => each.weight === 0))
      report.error([...path, 'route'], 'must have a weight above 0');
  },
);

export type VirtualHttpRoute = Decoded<typeof httpRoute>;

const l4Match = {
  destinationSubnets: list(text()),
  port: optional(port()),
  sourceLabels: dictionary(text()),
  gateways: list(text()),
  sourceNamespace: text(),
};

const l4Route = list(fields({ destination: required(destination), weight }));

const tcpRoute = fields({
  match: list(fields({ ...l4Match, sourceSubnet: text() })),
  route: l4Route,
});

const tlsRoute = fields({
  match: list(fields({ ...l4Match, sniHosts: required(list(text())), sourceSubnet: text() })),
  route: l4Route,
});

export const virtualServiceSchema = fields(
  {
    spec: required(
      fields({
        hosts: list(text()),
        gateways: list(text()),
        http: list(httpRoute),
        tls: list(tlsRoute),
        tcp: list(tcpRoute),
        exportTo,
      }),
    ),
  },
  'error',
  ['apiVersion', 'kind', 'metadata', 'status'],
);

/** networking.istio.io/VirtualService. */
export type VirtualService = ObjectBase &
  Readonly<{ kind: 'VirtualService' }> &
  Decoded<typeof virtualServiceSchema>;

/** What Istio's admission refuses in a VirtualService. One without hosts is there to be delegated to. */
export function validateVirtualService(
  { spec }: Decoded<typeof virtualServiceSchema>,
  report: Report,
): void {
  const { hosts, http, tls, tcp } = spec;
  const seen = new Set<string>();
  hosts.forEach((host, index) => {
    const path: FieldPath = ['spec', 'hosts', index];
    if (host !== '*' && !isHost(host)) report.error(path, `is no host name: found ${quote(host)}`);
    if (seen.has(host)) report.error(path, `is there twice: found ${quote(host)}`);
    seen.add(host);
  });
  if (http.length + tls.length + tcp.length === 0)
    report.error(['spec'], 'must have one of http, tls, tcp');
  if (hosts.length === 0) {
    if (tls.length + tcp.length > 0) report.error(['spec', 'hosts'], 'is required with tls or tcp');
    http.forEach(({ delegate }, index) => {
      if (delegate !== undefined)
        report.error(
          ['spec', 'http', index, 'delegate'],
          'must not stand in a VirtualService without hosts: delegation has one level',
        );
    });
  }
}

/** Everything that a VirtualService may send requests or connections to, mirrors too. */
export function destinationsOf({ spec }: VirtualService): readonly Destination[] {
  return [
    ...spec.http.flatMap(({ route, mirror, mirrors }) => [
      ...[...route, ...mirrors].map((each) => each.destination),
      ...(mirror === undefined ? [] : [mirror]),
    ]),
    ...spec.tcp.flatMap(({ route }) => route.map((each) => each.destination)),
  ];
}
