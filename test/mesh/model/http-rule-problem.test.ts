import test from 'ava';
import type { HttpFilter } from '../../../mesh/model/http-filter.ts';
import type { HttpMatch, HttpRule } from '../../../mesh/model/http-route.ts';
import { httpRuleProblem } from '../../../mesh/model/http-rule-problem.ts';
import { makeRule } from '../../support/route-cases.ts';

const match = (parts: Partial<HttpMatch>): HttpRule =>
  makeRule('rule', [{ headers: [], queryParams: [], ...parts }]);
const filter = (one: HttpFilter): HttpRule => ({ ...makeRule('rule', []), filters: [one] });
const bad = { kind: 'regex', value: '(a' } as const;
const framing = { set: [], add: [], remove: ['content-length'] };
const cors = {
  allowMethods: [],
  allowHeaders: [],
  exposeHeaders: [],
  allowCredentials: false,
  maxAgeSeconds: 5,
  forwardUnmatchedPreflights: false,
};

const REFUSED: readonly (readonly [what: string, rule: HttpRule, words: RegExp])[] = [
  ['a pattern of a path', match({ path: bad }), /"\(a" as a regular expression/],
  ['a pattern of a header', match({ headers: [{ name: 'a', ...bad }] }), /missing closing \)/],
  ['a pattern of a parameter', match({ queryParams: [{ name: 'a', ...bad }] }), /missing clos/],
  ['a pattern of an authority', match({ authority: bad }), /missing closing/],
  ['a pattern of a scheme', match({ scheme: bad }), /missing closing/],
  [
    'a header that no request has',
    match({ headers: [{ name: '@request.auth.audiences', kind: 'present', absent: true }] }),
    /not a header's name/,
  ],
  [
    'a pattern of an origin',
    filter({ kind: 'cors', cors: { ...cors, allowOrigins: [bad] } }),
    /missing closing/,
  ],
  ['framing', filter({ kind: 'request-headers', changes: framing }), /content-length belongs/],
  ['a host with a path', filter({ kind: 'rewrite', hostname: 'a/b' }), /"a\/b" is not a host/],
  [
    'a second request line in a path',
    filter({ kind: 'rewrite', path: { kind: 'full', path: '/a HTTP/1.1\r\n' } }),
    /cannot be part of a path/,
  ],
  [
    'a fragment in a replacement',
    filter({ kind: 'rewrite', path: { kind: 'prefix', replacement: '/a#' } }),
    /"\/a#" cannot be part of a path/,
  ],
  [
    'a substitution of a group that is not there',
    filter({
      ...{ kind: 'rewrite' as const },
      path: { kind: 'regex', pattern: '/(a)', substitution: '/\\2' },
    }),
    /has no group "\\\\2"/,
  ],
  [
    'a pattern of a path that is replaced',
    filter({ kind: 'rewrite', path: { kind: 'regex', pattern: '(a', substitution: 'b' } }),
    /missing closing/,
  ],
  [
    'a redirect to no host',
    filter({ kind: 'redirect', redirect: { statusCode: 302, hostname: '' } }),
    /"" is not a host/,
  ],
  [
    'framing of a response, at a backend',
    {
      ...makeRule('rule', []),
      backends: [{ weight: 1, filters: [{ kind: 'response-headers', changes: framing }] }],
    },
    /content-length belongs/,
  ],
  [
    'an attribute in the path of a cookie',
    {
      ...makeRule('a', []),
      sessionPersistence: { kind: 'cookie', name: 'a', path: '/; Domain=b' },
    },
    /not the path of a cookie/,
  ],
  [
    'a name of a cookie with a semicolon',
    { ...makeRule('a', []), sessionPersistence: { kind: 'cookie', name: 'a;b', path: '/' } },
    /"a;b" is not the name of a cookie/,
  ],
  [
    'a header for sessions in upper case',
    { ...makeRule('a', []), sessionPersistence: { kind: 'header', name: 'X-Session' } },
    /"X-Session" is not a field name/,
  ],
  [
    'a length for sessions',
    { ...makeRule('a', []), sessionPersistence: { kind: 'header', name: 'content-length' } },
    /content-length belongs to the connection/,
  ],
];
for (const [what, rule, words] of REFUSED)
  test(`a rule with ${what} has a problem, in words`, (t) => {
    t.regex(httpRuleProblem(rule) ?? '', words);
  });

test('a rule that a waypoint takes has no problem', (t) => {
  const good: HttpRule = {
    ...match({
      path: { kind: 'regex', value: '/a.*' },
      headers: [{ name: ':authority', kind: 'prefix', value: '(' }],
    }),
    filters: [
      { kind: 'cors', cors: { ...cors, allowOrigins: [{ kind: 'exact', value: '(' }] } },
      { kind: 'rewrite', hostname: 'a', path: { kind: 'prefix', replacement: '' } },
    ],
    sessionPersistence: { kind: 'cookie', name: 'sid', path: '/a' },
  };
  t.is(httpRuleProblem(good), undefined);
});
