import test from 'ava';
import { readObjects } from '../../../mesh/kubernetes/read.ts';

function document(spec: string): string {
  return `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: shop}
spec:
${spec}`;
}

/** What is wrong with a VirtualService, as `line field: message`. */
function problemsOf(spec: string): string[] {
  return readObjects(document(spec), 'a.yaml').problems.map(
    ({ line, field, message }) => `${line} ${field}: ${message}`,
  );
}

const http = (rule: string): string => `  hosts: [web]\n  http:\n  - ${rule}\n`;
const matched = (match: string): string =>
  http(`{match: [${match}], route: [{destination: {host: web}}]}`);
const routed = (fields: string): string => http(`{route: [{destination: {host: web}}], ${fields}}`);

test('readObjects() reads every field of a VirtualService', (t) => {
  const { objects, problems } = readObjects(
    document(`  hosts: [web, "*.example.com"]
  gateways: [mesh, istio-system/ingress]
  exportTo: [".", other]
  http:
  - name: first
    match:
    - {name: m, uri: {exact: /a}, scheme: {exact: http}, method: {regex: GET|PUT}, authority: {prefix: web}, headers: {x-a: {}, "@request.auth.claims.sub": {exact: a}}, withoutHeaders: {x-b: {exact: b}}, queryParams: {q: {regex: "a+"}}, ignoreUriCase: true, port: 80, sourceLabels: {app: a}, sourceNamespace: other, gateways: [mesh], statPrefix: p}
    route:
    - {destination: {host: web, subset: v1, port: {number: 80}}, weight: 90, headers: {request: {set: {a: b}, add: {c: d}, remove: [e]}, response: {set: {f: g}}}}
    - {destination: {host: v2}, weight: 10}
    rewrite: {uri: /b, authority: c.example}
    timeout: 1.5s
    retries: {attempts: 3, perTryTimeout: 500ms, retryOn: "5xx,429", retryRemoteLocalities: true, retryIgnorePreviousHosts: false, backoff: 10ms}
    fault: {delay: {fixedDelay: 5s, percentage: {value: 0.1}}, abort: {httpStatus: 503, percent: 5}}
    mirrors: [{destination: {host: v2}, percentage: {value: 50}}]
    corsPolicy: {allowOrigins: [{exact: "*"}], allowMethods: [GET], allowHeaders: [a], exposeHeaders: [b], maxAge: 24h, allowCredentials: true, unmatchedPreflights: IGNORE}
    headers: {response: {remove: [server]}}
  - {redirect: {uri: /x, authority: y, derivePort: FROM_REQUEST_PORT, scheme: https, redirectCode: 308}}
  - {directResponse: {status: 403, body: {bytes: bm8=}}}
  - {delegate: {name: leaf, namespace: team}}
  - {route: [{destination: {host: web}}], rewrite: {uriRegexRewrite: {match: "/(.*)", rewrite: '/\\1'}}, mirror: {host: v2}, mirrorPercentage: {value: 1}}
  tcp: [{match: [{port: 5432, destinationSubnets: [10.0.0.0/8]}], route: [{destination: {host: db}}]}]
  tls: [{match: [{port: 443, sniHosts: [a.example]}], route: [{destination: {host: db}}]}]
`),
    'a.yaml',
  );
  t.deepEqual(problems, []);
  const virtual = objects[0]?.object;
  if (virtual?.kind !== 'VirtualService') return t.fail();
  const [first, redirect] = virtual.spec.http;
  t.is(first?.timeout, 1500);
  t.is(first?.retries?.perTryTimeout, 500);
  t.is(first?.fault?.delay?.percentage?.value, 0.1);
  t.is(first?.corsPolicy?.maxAge, 86_400_000);
  t.is(first?.match[0]?.method?.regex, 'GET|PUT');
  t.is(first?.route[0]?.headers?.request?.set.get('a'), 'b');
  t.is(redirect?.redirect?.redirectCode, 308);
});

const refused = test.macro({
  exec(t, spec: string, ...expected: readonly string[]) {
    t.deepEqual(problemsOf(spec), expected);
  },
  title: (given = '') => `a VirtualService is refused with ${given}`,
});

test('nothing in it', refused, '  hosts: [web]\n', '4 spec: must have one of http, tls, tcp');
test(
  'a field that is not known, with its place',
  ...([refused, routed('timeouts: 1s')] as const),
  '7 spec.http[0].timeouts: unknown field',
);
test(
  'a rule that does nothing',
  ...([refused, http('{timeout: 1s}')] as const),
  '7 spec.http[0]: must have one of route, redirect, directResponse, delegate',
);
test(
  'a rule that does two things',
  ...([refused, routed('directResponse: {status: 200}')] as const),
  '7 spec.http[0]: must have only one of route, directResponse',
);
test(
  'two kinds of match of one text',
  ...([refused, matched('{uri: {exact: a, prefix: b}}')] as const),
  '7 spec.http[0].match[0].uri: must have only one of exact, prefix',
);
test(
  'a pattern that is none',
  ...([refused, matched('{uri: {regex: "(a"}}')] as const),
  '7 spec.http[0].match[0].uri.regex: Cannot use "(a" as a regular expression: error parsing regexp: missing closing ): `(a`',
);
test(
  'a header name with a blank',
  ...([refused, matched('{headers: {"a b": {}}}')] as const),
  '7 spec.http[0].match[0].headers["a b"]: is no header name: found "a b"',
);
test(
  'a substitution of a group that is not there',
  ...([refused, routed("rewrite: {uriRegexRewrite: {match: a, rewrite: '\\1'}}")] as const),
  '7 spec.http[0].rewrite.uriRegexRewrite: Cannot put "\\\\1" in the place of "a": it has no group "\\\\1"',
);
test(
  'a condition of retries that nobody knows',
  ...([refused, routed('retries: {attempts: 1, retryOn: "5xx,often,99"}')] as const),
  '7 spec.http[0].retries.retryOn: is no condition and no status: found "often"',
  '7 spec.http[0].retries.retryOn: is no condition and no status: found "99"',
);
test(
  'a fault of HTTP/2, which upstream refuses too',
  ...([refused, routed('fault: {abort: {http2Error: X}}')] as const),
  '7 spec.http[0].fault.abort.http2Error: unknown field',
);
test(
  'a body that is no text',
  ...([refused, http('{directResponse: {status: 200, body: {bytes: /w==}}}')] as const),
  '7 spec.http[0].directResponse.body.bytes: must be text in UTF-8, in base64',
);
test(
  'a second level of delegation',
  ...([refused, '  http: [{delegate: {name: a}}]\n'] as const),
  '5 spec.http[0].delegate: must not stand in a VirtualService without hosts: delegation has one level',
);
test(
  'a host that is none, and one that is there twice',
  ...([refused, '  hosts: ["a b", c, c]\n  http: [{directResponse: {status: 200}}]\n'] as const),
  '5 spec.hosts[0]: is no host name: found "a b"',
  '5 spec.hosts[2]: is there twice: found "c"',
);
test(
  'weights that are all 0',
  refused,
  http('{route: [{destination: {host: a}}, {destination: {host: b}}]}'),
  '7 spec.http[0].route: must have a weight above 0',
);
