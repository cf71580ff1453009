import {
  boundedList,
  boundedText,
  checked,
  checkUnion,
  group,
  headerName,
  headerValue,
  kind,
  objectName,
  preciseHostname,
  type UnionMember,
  URL_PATH,
} from './gateway-values.ts';
import { backendObject } from './route-references.ts';
import {
  bool,
  fields,
  integer,
  oneOf,
  optional,
  port,
  required,
  text,
  withDefault,
  type Decoded,
  type Schema,
} from './schema.ts';

export const HTTP_METHODS = [
  ...(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH'] as const),
] as const;

const INT32 = 0x7fff_ffff;
const ORIGIN =
  /^(?:\*|https?:\/\/(?:(?:\*\.)?(?:[a-zA-Z0-9-]+\.)*[a-zA-Z0-9-]+|\*)(?::[0-9]{1,5})?)$/;

const self = (value: string): string => value;

const headers = boundedList(
  fields({ name: required(headerName()), value: required(headerValue()) }),
  16,
  { keyOf: ({ name }) => name },
);

const headerModifier = fields({
  set: headers,
  add: headers,
  remove: boundedList(text(), 16, { keyOf: self }),
});

export type HeaderModifierSpec = Decoded<typeof headerModifier>;

const mirror = checked(
  fields({
    backendRef: required(backendObject),
    percent: optional(integer(0, 100)),
    fraction: optional(
      fields({
        numerator: required(integer(0, INT32)),
        denominator: withDefault(integer(1, INT32), 100),
      }),
    ),
  }),
  ({ percent, fraction }, path, report) => {
    if (percent !== undefined && fraction !== undefined)
      report.error([...path, 'fraction'], 'must not stand beside percent');
    if (fraction !== undefined && fraction.numerator > fraction.denominator)
      report.error([...path, 'fraction', 'numerator'], 'must not be more than denominator');
  },
);

const pathModifier = checked(
  fields({
    type: required(oneOf(['ReplaceFullPath', 'ReplacePrefixMatch'], 'ReplaceFullPath')),
    replaceFullPath: optional(boundedText(0, 1024)),
    replacePrefixMatch: optional(boundedText(0, 1024)),
  }),
  ({ type, replaceFullPath, replacePrefixMatch }, path, report) => {
    checkUnion(
      type,
      [
        ['ReplaceFullPath', 'replaceFullPath', replaceFullPath],
        ['ReplacePrefixMatch', 'replacePrefixMatch', replacePrefixMatch],
      ],
      path,
      report,
    );
  },
);

export type PathModifierSpec = Decoded<typeof pathModifier>;

const redirect = fields({
  scheme: optional(oneOf(['http', 'https'], 'http')),
  hostname: optional(preciseHostname()),
  path: optional(pathModifier),
  port: optional(port()),
  statusCode: withDefault(oneOfNumbers([301, 302, 303, 307, 308]), 302),
});

export type RedirectSpec = Decoded<typeof redirect>;

const rewrite = fields({ hostname: optional(preciseHostname()), path: optional(pathModifier) });

/** `*` means all, so that it stands alone. */
function aloneIfStar<T extends string>(item: Schema<T>, maximum: number): Schema<readonly T[]> {
  return checked(boundedList(item, maximum, { keyOf: self }), (values, path, report) => {
    const star = values.findIndex((value) => value === '*');
    if (star >= 0 && values.length > 1)
      report.error([...path, star], '"*" must not stand beside others');
  });
}

const cors = fields({
  allowOrigins: aloneIfStar(boundedText(1, 253, ORIGIN, 'origin'), 64),
  allowCredentials: bool(),
  allowMethods: aloneIfStar(oneOf([...HTTP_METHODS, '*'], 'GET'), 9),
  allowHeaders: aloneIfStar(headerName(), 64),
  exposeHeaders: boundedList(headerName(), 64, { keyOf: self }),
  maxAge: withDefault(integer(1, INT32), 5),
});

export type CorsSpec = Decoded<typeof cors>;

const texts = boundedList(text(), 64, { keyOf: self });

const externalAuth = checked(
  fields({
    protocol: required(oneOf(['HTTP', 'GRPC'], 'GRPC')),
    backendRef: required(backendObject),
    grpc: optional(fields({ allowedHeaders: texts })),
    http: optional(
      fields({
        path: optional(boundedText(1, 1024, URL_PATH, 'path')),
        allowedHeaders: texts,
        allowedResponseHeaders: texts,
      }),
    ),
    forwardBody: optional(fields({ maxSize: integer(0, INT32) })),
  }),
  ({ protocol, grpc, http }, path, report) => {
    checkUnion(
      protocol,
      [
        ['GRPC', 'grpc', grpc],
        ['HTTP', 'http', http],
      ],
      path,
      report,
    );
  },
);

const extensionRef = fields({
  group: required(group()),
  kind: required(kind()),
  name: required(objectName()),
});

function oneOfNumbers(values: readonly number[]): Schema<number> {
  const [first = 0] = values;
  return checked(
    integer(Math.min(...values), Math.max(...values), first),
    (value, path, report) => {
      if (!values.includes(value))
        report.error(path, `expected one of ${values.join(', ')}; found ${value}`);
    },
  );
}

/** The filters that an HTTPRoute and a GRPCRoute both have. */
const COMMON = [
  ...(['RequestHeaderModifier', 'ResponseHeaderModifier'] as const),
  ...(['RequestMirror', 'ExtensionRef'] as const),
] as const;
const commonFields = {
  requestHeaderModifier: optional(headerModifier),
  responseHeaderModifier: optional(headerModifier),
  requestMirror: optional(mirror),
  extensionRef: optional(extensionRef),
};

function commonMembers(
  filter: Readonly<Record<keyof typeof commonFields, unknown>>,
): readonly UnionMember[] {
  return [
    ['RequestHeaderModifier', 'requestHeaderModifier', filter.requestHeaderModifier],
    ['ResponseHeaderModifier', 'responseHeaderModifier', filter.responseHeaderModifier],
    ['RequestMirror', 'requestMirror', filter.requestMirror],
    ['ExtensionRef', 'extensionRef', filter.extensionRef],
  ];
}

const httpFilter = checked(
  fields({
    type: required(
      oneOf(
        [
          ...(['RequestHeaderModifier', 'ResponseHeaderModifier', 'RequestMirror'] as const),
          ...(['RequestRedirect', 'URLRewrite', 'ExtensionRef', 'CORS', 'ExternalAuth'] as const),
        ],
        'ExtensionRef',
      ),
    ),
    ...commonFields,
    requestRedirect: optional(redirect),
    urlRewrite: optional(rewrite),
    cors: optional(cors),
    externalAuth: optional(externalAuth),
  }),
  (filter, path, report) => {
    checkUnion(
      filter.type,
      [
        ...commonMembers(filter),
        ['RequestRedirect', 'requestRedirect', filter.requestRedirect],
        ['URLRewrite', 'urlRewrite', filter.urlRewrite],
        ['CORS', 'cors', filter.cors],
        ['ExternalAuth', 'externalAuth', filter.externalAuth],
      ],
      path,
      report,
    );
  },
);

export type HttpFilterSpec = Decoded<typeof httpFilter>;

const grpcFilter = checked(
  fields({
    type: required(oneOf(COMMON, 'ExtensionRef')),
    ...commonFields,
  }),
  (filter, path, report) => {
    checkUnion(filter.type, commonMembers(filter), path, report);
  },
);

export type GrpcFilterSpec = Decoded<typeof grpcFilter>;

const ONCE = new Set([
  ...['RequestHeaderModifier', 'ResponseHeaderModifier', 'RequestRedirect', 'URLRewrite', 'CORS'],
]);

/** At most 16 filters; those that would contradict each other are there once. */
function filterList<T extends Readonly<{ type: string }>>(filter: Schema<T>): Schema<readonly T[]> {
  return checked(boundedList(filter, 16), (filters, path, report) => {
    const seen = new Set<string>();
    filters.forEach(({ type }, index) => {
      if (ONCE.has(type) && seen.has(type))
        report.error([...path, index, 'type'], `${type} must not be repeated`);
      const other =
        type === 'URLRewrite' ? 'RequestRedirect' : type === 'RequestRedirect' ? 'URLRewrite' : '';
      if (seen.has(other))
        report.error([...path, index, 'type'], `${type} must not stand beside ${other}`);
      seen.add(type);
    });
  });
}

export const httpFilters = filterList(httpFilter);
export const grpcFilters = filterList(grpcFilter);
