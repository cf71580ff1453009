import test from 'ava';
import { readObjects } from '../../../mesh/kubernetes/read.ts';
import type { KubernetesObject } from '../../../mesh/kubernetes/resources.ts';

/** The errors of one object, as `line field: message`. */
function errorsOf(text: string): string[] {
  return readObjects(text, 'a.yaml')
    .problems.filter(({ severity }) => severity === 'error')
    .map(({ line, field, message }) => `${line} ${field}: ${message}`);
}

function read(text: string): KubernetesObject | undefined {
  return readObjects(text, 'a.yaml').objects[0]?.object;
}

function document(kind: string, spec: string): string {
  return `apiVersion: gateway.networking.k8s.io/v1
kind: ${kind}
metadata: {name: r, namespace: shop}
spec:
${spec}`;
}

const rule = (fields: string): string => document('HTTPRoute', `  rules:\n  - ${fields}\n`);
const filter = (fields: string): string => rule(`filters:\n    - ${fields}`);
const grpc = (fields: string): string => document('GRPCRoute', `  rules:\n  - ${fields}\n`);
const bytes = (kind: string, backends: string, rules = 1, hostnames = ''): string =>
  document(
    kind,
    `${hostnames === '' ? '' : `  hostnames: ${hostnames}\n`}  rules:\n${`  - backendRefs: ${backends}\n`.repeat(rules)}`,
  );
const repeated = (count: number, item: string): string => `[${Array(count).fill(item).join(', ')}]`;

test('readObjects() reads every field of an HTTPRoute', (t) => {
  const route = read(
    document(
      'HTTPRoute',
      `  parentRefs: [{group: "", kind: Service, name: echo, namespace: other, port: 80, sectionName: http}]
  hostnames: ["*.example.com"]
  useDefaultGateways: All
  rules:
  - name: all
    matches:
    - path: {type: Exact, value: /a}
      headers: [{name: Version, value: one}]
      queryParams: [{name: q, value: ".*", type: RegularExpression}]
      method: GET
    filters:
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}], add: [{name: c, value: d}], remove: [e]}}
    - {type: ResponseHeaderModifier, responseHeaderModifier: {remove: [e]}}
    - {type: RequestMirror, requestMirror: {backendRef: {name: m, port: 1}, fraction: {numerator: 1}}}
    - {type: URLRewrite, urlRewrite: {hostname: a.b, path: {type: ReplaceFullPath, replaceFullPath: /x}}}
    - {type: CORS, cors: {allowOrigins: ["https://*.a.b:8443"], allowMethods: ["*"], allowCredentials: true}}
    - {type: ExternalAuth, externalAuth: {protocol: GRPC, backendRef: {name: a, port: 1}, grpc: {}}}
    - {type: ExtensionRef, extensionRef: {group: x.y, kind: Z, name: z}}
    backendRefs: [{name: echo, port: 80, weight: 0}]
    timeouts: {request: 1h2m3s4ms, backendRequest: 500ms}
    retry: {codes: [500, 503], attempts: 3, backoff: 25ms}
    sessionPersistence: {cookie: {lifetimeType: Permanent, name: c}, absoluteTimeout: 1h}
  - filters: [{type: RequestRedirect, requestRedirect: {scheme: https, port: 8443, statusCode: 308}}]
`,
    ),
  );
  if (route?.kind !== 'HTTPRoute') return t.fail();
  const [first, second] = route.spec.rules;
  t.deepEqual(first?.timeouts, { request: 3_723_004, backendRequest: 500 });
  t.deepEqual(first?.retry, { codes: [500, 503], attempts: 3, backoff: 25 });
  t.is(first?.sessionPersistence?.absoluteTimeout, 3_600_000);
  t.is(first?.sessionPersistence?.cookie?.path, '/');
  t.is(first?.filters.length, 7);
  t.is(first?.filters[2]?.requestMirror?.fraction?.denominator, 100);
  t.is(first?.filters[4]?.cors?.maxAge, 5);
  t.is(first?.backendRefs[0]?.weight, 0);
  t.is(first?.matches[0]?.headers[0]?.type, 'Exact');
  t.is(route.spec.parentRefs[0]?.port, 80);
  t.deepEqual(second?.matches, [
    { path: { type: 'PathPrefix', value: '/' }, headers: [], queryParams: [], method: undefined },
  ]);
  t.is(second?.filters[0]?.requestRedirect?.statusCode, 308);
});

test('an HTTPRoute without rules has one that matches everything and goes nowhere', (t) => {
  const route = read(document('HTTPRoute', '  parentRefs: [{name: gw}]\n'));
  if (route?.kind !== 'HTTPRoute') return t.fail();
  t.is(route.spec.rules.length, 1);
  t.is(route.spec.rules[0]?.matches[0]?.path.value, '/');
  t.deepEqual(route.spec.parentRefs[0]?.kind, 'Gateway');
});

type Refusal = readonly [name: string, text: string, expected: readonly string[]];
const refusals: readonly Refusal[] = [
  ['a field that it does not know', rule('matchs: []'), ['6 spec.rules[0].matchs: unknown field']],
  [
    'the same parent twice',
    document('HTTPRoute', '  parentRefs:\n  - {name: a, port: 1}\n  - {name: a, port: 1}\n'),
    ['7 spec.parentRefs[1]: names a parent, with sectionName and port, that is named before'],
  ],
  [
    'a parent once with and once without port',
    document('HTTPRoute', '  parentRefs:\n  - {name: a, port: 1}\n  - {name: a}\n'),
    [
      '7 spec.parentRefs[1]: names a parent again: each time sectionName or port must tell them apart',
    ],
  ],
  [
    'too many parents',
    document(
      'HTTPRoute',
      `  parentRefs: [${[...Array(33).keys()].map((n) => `{name: p${n}}`).join()}]\n`,
    ),
    ['5 spec.parentRefs: has too many items: found 33, at most 32'],
  ],
  [
    'an address for a host',
    document('HTTPRoute', '  hostnames: [10.0.0.1]\n'),
    ['5 spec.hostnames[0]: must be a name, not an address: found 10.0.0.1'],
  ],
  [
    'a wildcard inside a host',
    document('HTTPRoute', '  hostnames: ["a.*.b"]\n'),
    ['5 spec.hostnames[0]: is no host name: found "a.*.b"'],
  ],
  [
    'an unknown kind of match',
    rule('matches: [{path: {type: Suffix, value: /a}}]'),
    [
      '6 spec.rules[0].matches[0].path.type: expected one of Exact, PathPrefix, RegularExpression; found string "Suffix"',
    ],
  ],
  ...(
    [
      ['a', 'must begin with "/": found "a"'],
      ['/a//b', 'must not have "//": found "/a//b"'],
      ['/a/./b', 'must not have "/./": found "/a/./b"'],
      ['/a/../b', 'must not have "/../": found "/a/../b"'],
      ['/a%2fb', 'must not have "%2f": found "/a%2fb"'],
      ['/a%2Fb', 'must not have "%2F": found "/a%2Fb"'],
      ['/a/..', 'must not have "/..": found "/a/.."'],
      ['/a/.', 'must not have "/.": found "/a/."'],
      ['/a b', 'has a character that no path has: found "/a b"'],
      ['/a%2', 'has a character that no path has: found "/a%2"'],
      [`/${'a'.repeat(1024)}`, 'is too long: found 1025 characters, at most 1024'],
    ] as const
  ).map(
    ([value, message]) =>
      [
        `the path ${value.slice(0, 12)}`,
        rule(`matches: [{path: {value: "${value}"}}]`),
        [`6 spec.rules[0].matches[0].path.value: ${message}`],
      ] as const,
  ),
  [
    'a header name with a blank',
    rule('matches: [{headers: [{name: "a b", value: c}]}]'),
    ['6 spec.rules[0].matches[0].headers[0].name: is no header name: found "a b"'],
  ],
  [
    'a header twice',
    rule('matches: [{headers: [{name: a, value: c}, {name: a, value: d}]}]'),
    ['6 spec.rules[0].matches[0].headers[1]: is there twice: found "a"'],
  ],
  [
    'an unknown method',
    rule('matches: [{method: get}]'),
    [
      '6 spec.rules[0].matches[0].method: expected one of GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE, PATCH; found string "get"',
    ],
  ],
  [
    'a filter without its field, and with that of another',
    filter('{type: CORS, urlRewrite: {}}'),
    [
      '7 spec.rules[0].filters[0].urlRewrite: must not be set with CORS',
      '7 spec.rules[0].filters[0].cors: is required with CORS',
    ],
  ],
  [
    'an unknown filter',
    filter('{type: Teleport}'),
    [
      '7 spec.rules[0].filters[0].type: expected one of RequestHeaderModifier, ResponseHeaderModifier, RequestMirror, RequestRedirect, URLRewrite, ExtensionRef, CORS, ExternalAuth; found string "Teleport"',
    ],
  ],
  [
    'a filter twice',
    rule('filters: [{type: URLRewrite, urlRewrite: {}}, {type: URLRewrite, urlRewrite: {}}]'),
    ['6 spec.rules[0].filters[1].type: URLRewrite must not be repeated'],
  ],
  [
    'a redirect beside a rewrite',
    rule(
      'filters: [{type: RequestRedirect, requestRedirect: {}}, {type: URLRewrite, urlRewrite: {}}]',
    ),
    ['6 spec.rules[0].filters[1].type: URLRewrite must not stand beside RequestRedirect'],
  ],
  [
    'a redirect beside backends',
    rule(
      '{filters: [{type: RequestRedirect, requestRedirect: {}}], backendRefs: [{name: a, port: 1}]}',
    ),
    ['6 spec.rules[0].filters[0]: RequestRedirect must not stand beside backendRefs'],
  ],
  [
    'a status that is no redirect',
    filter('{type: RequestRedirect, requestRedirect: {statusCode: 304}}'),
    [
      '7 spec.rules[0].filters[0].requestRedirect.statusCode: expected one of 301, 302, 303, 307, 308; found 304',
    ],
  ],
  [
    'a prefix replaced where two prefixes match',
    rule(
      '{matches: [{path: {value: /a}}, {path: {value: /b}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]}',
    ),
    [
      '6 spec.rules[0].filters[0].urlRewrite.path.type: ReplacePrefixMatch needs a rule with exactly one match, by PathPrefix',
    ],
  ],
  [
    'a path replacement of the other kind',
    filter(
      '{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replacePrefixMatch: /}}}',
    ),
    [
      '7 spec.rules[0].filters[0].urlRewrite.path.replaceFullPath: is required with ReplaceFullPath',
      '7 spec.rules[0].filters[0].urlRewrite.path.replacePrefixMatch: must not be set with ReplaceFullPath',
    ],
  ],
  [
    'a share beside another share',
    filter(
      '{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 1}, percent: 1, fraction: {numerator: 3, denominator: 2}}}',
    ),
    [
      '7 spec.rules[0].filters[0].requestMirror.fraction: must not stand beside percent',
      '7 spec.rules[0].filters[0].requestMirror.fraction.numerator: must not be more than denominator',
    ],
  ],
  [
    'an origin without scheme, and "*" beside others',
    filter('{type: CORS, cors: {allowOrigins: [a.b], allowMethods: ["*", GET]}}'),
    [
      '7 spec.rules[0].filters[0].cors.allowOrigins[0]: is no origin: found "a.b"',
      '7 spec.rules[0].filters[0].cors.allowMethods[0]: "*" must not stand beside others',
    ],
  ],
  [
    'an authorizer of the other protocol',
    filter(
      '{type: ExternalAuth, externalAuth: {protocol: HTTP, backendRef: {name: a, port: 1}, grpc: {}}}',
    ),
    [
      '7 spec.rules[0].filters[0].externalAuth.grpc: must not be set with HTTP',
      '7 spec.rules[0].filters[0].externalAuth.http: is required with HTTP',
    ],
  ],
  [
    'a Service without port, and a share that is too large',
    rule('backendRefs: [{name: a}, {name: b, port: 1, weight: 1000001}]'),
    [
      '6 spec.rules[0].backendRefs[0].port: is required for a Service',
      '6 spec.rules[0].backendRefs[1].weight: expected a whole number from 0 to 1000000, found number 1000001',
    ],
  ],
  [
    'a duration with a fraction',
    rule('timeouts: {request: 1.5s}'),
    ['6 spec.rules[0].timeouts.request: is no duration: found "1.5s"'],
  ],
  [
    'a try that is longer than all of them',
    rule('timeouts: {request: 1s, backendRequest: 2s}'),
    ['6 spec.rules[0].timeouts.backendRequest: must not be longer than request'],
  ],
  [
    'a retry of success, and no attempts',
    rule('retry: {codes: [200], attempts: 0}'),
    [
      '6 spec.rules[0].retry.codes[0]: expected a whole number from 400 to 599, found number 200',
      '6 spec.rules[0].retry.attempts: expected a whole number from 1 to 9007199254740991, found number 0',
    ],
  ],
  [
    'a permanent cookie without end',
    rule('sessionPersistence: {cookie: {lifetimeType: Permanent}}'),
    ['6 spec.rules[0].sessionPersistence.absoluteTimeout: is required with a Permanent cookie'],
  ],
  [
    'a session by header that names none',
    rule('sessionPersistence: {type: Header, cookie: {}}'),
    [
      '6 spec.rules[0].sessionPersistence.cookie: must not be set with Header',
      '6 spec.rules[0].sessionPersistence.header: is required with Header',
    ],
  ],
  [
    'two rules of one name',
    document('HTTPRoute', '  rules:\n  - name: a\n  - name: a\n'),
    ['7 spec.rules[1].name: is used twice: found a'],
  ],
  [
    'too many rules and matches',
    document('HTTPRoute', `  rules:\n${`  - matches: ${repeated(64, '{}')}\n`.repeat(2)}  - {}\n`),
    ['5 spec.rules: have too many matches together: found 129, at most 128'],
  ],
  [
    'too many rules',
    document('HTTPRoute', `  rules: ${repeated(17, '{}')}\n`),
    ['5 spec.rules: has too many items: found 17, at most 16'],
  ],
  [
    'a gRPC method that is none',
    grpc('matches: [{method: {service: a/b, method: "1"}}, {method: {}}]'),
    [
      '6 spec.rules[0].matches[0].method.service: is no gRPC service: found "a/b"',
      '6 spec.rules[0].matches[0].method.method: is no gRPC method: found "1"',
      '6 spec.rules[0].matches[1].method: must name a service, a method or both',
    ],
  ],
  [
    'a filter that gRPC has not',
    grpc('filters: [{type: CORS, cors: {}}]'),
    [
      '6 spec.rules[0].filters[0].cors: unknown field',
      '6 spec.rules[0].filters[0].type: expected one of RequestHeaderModifier, ResponseHeaderModifier, RequestMirror, ExtensionRef; found string "CORS"',
    ],
  ],
  [
    'a grant from nobody to nothing',
    document('ReferenceGrant', '  from: []\n'),
    ['5 spec.from: must have at least 1 item', '4 spec.to: is required'],
  ],
  [
    'a grant without namespace',
    document('ReferenceGrant', '  from: [{group: "", kind: A}]\n  to: [{group: "", kind: B}]\n'),
    ['5 spec.from[0].namespace: is required'],
  ],
];
const bytesRefusals: readonly Refusal[] = [
  [
    'a TCPRoute of two rules',
    bytes('TCPRoute', '[{name: a, port: 1}]', 2),
    ['5 spec.rules: has too many items: found 2, at most 1'],
  ],
  [
    'a TCPRoute without rules',
    document('TCPRoute', '  rules: []\n'),
    ['5 spec.rules: must have at least 1 item'],
  ],
  [
    'a TCPRoute to nowhere',
    bytes('TCPRoute', '[]'),
    ['6 spec.rules[0].backendRefs: must have at least 1 item'],
  ],
  [
    'a TCPRoute with host names',
    bytes('TCPRoute', '[{name: a, port: 1}]', 1, '[a.b]'),
    ['5 spec.hostnames: unknown field'],
  ],
  [
    'a TLSRoute without host names',
    bytes('TLSRoute', '[{name: a, port: 1}]'),
    ['4 spec.hostnames: is required'],
  ],
  [
    'a TLSRoute for an address',
    bytes('TLSRoute', '[{name: a, port: 1}]', 1, '[10.0.0.1]'),
    ['5 spec.hostnames[0]: must be a name, not an address: found 10.0.0.1'],
  ],
  [
    'a TLSRoute to a Service without a port',
    bytes('TLSRoute', '[{name: a}]', 1, '[a.b]'),
    ['7 spec.rules[0].backendRefs[0].port: is required for a Service'],
  ],
];
for (const [name, text, expected] of [...refusals, ...bytesRefusals])
  test(`readObjects() refuses a route or grant with ${name}`, (t) => {
    t.deepEqual(errorsOf(text), expected);
    t.is(read(text), undefined);
  });

test('readObjects() reads a GRPCRoute and a ReferenceGrant', (t) => {
  const route = read(
    grpc(
      '{name: a, matches: [{method: {service: a.B, method: C}, headers: [{name: x, value: "a b  c"}]}], backendRefs: [{name: s, port: 1}]}',
    ),
  );
  if (route?.kind !== 'GRPCRoute') return t.fail();
  t.deepEqual(route.spec.rules[0]?.matches[0]?.method, {
    ...{ type: 'Exact', service: 'a.B', method: 'C' },
  });
  const grant = read(
    document(
      'ReferenceGrant',
      '  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: a}]\n  to: [{group: "", kind: Service, name: b}]\n',
    ),
  );
  t.is(grant?.kind === 'ReferenceGrant' ? grant.spec.to[0]?.name : undefined, 'b');
});

test('readObjects() reads a TCPRoute and a TLSRoute, also of the experimental versions', (t) => {
  const backends = '[{name: s, port: 1, weight: 3}]';
  const tcp = read(bytes('TCPRoute', backends).replace('/v1\n', '/v1alpha2\n'));
  t.is(tcp?.kind === 'TCPRoute' ? tcp.spec.rules[0]?.backendRefs[0]?.weight : undefined, 3);
  const tls = read(bytes('TLSRoute', backends, 1, '["*.a.b"]').replace('/v1\n', '/v1alpha3\n'));
  t.deepEqual(tls?.kind === 'TLSRoute' ? tls.spec.hostnames : undefined, ['*.a.b']);
  const { problems } = readObjects(bytes('TCPRoute', backends).replace('/v1\n', '/v2\n'), 'a.yaml');
  t.regex(problems[0]?.message ?? '', /version v2 of TCPRoute is not known/);
});
