import test from 'ava';
import type { JsonObject } from '../../../mesh/kubernetes/schema.ts';
import { readAuthorizers } from '../../../istiod-lite/translate/authorizers.ts';

const refused = test.macro({
  exec(t, fields: JsonObject, found: RegExp) {
    const http = { service: 'auth/asker.auth.svc.cluster.local', port: 80, ...fields };
    const provider = { name: 'asker', envoyExtAuthzHttp: http };
    const authorizer = readAuthorizers([provider]).get('asker');
    if (authorizer === undefined || !('problem' in authorizer)) {
      t.fail(JSON.stringify(authorizer));
      return;
    }
    t.regex(authorizer.problem, found);
  },
  title: (given = '') => `an authorizer with ${given} cannot be asked, and the reason is told`,
});

test('a pathPrefix that is no path', refused, { pathPrefix: 'check' }, /pathPrefix "check"/);
test('a query in its pathPrefix', refused, { pathPrefix: '/a?b=' }, /pathPrefix/);
test('a space in its pathPrefix', refused, { pathPrefix: '/a b' }, /pathPrefix/);
test(
  'a line break in a header',
  refused,
  { includeAdditionalHeadersInCheck: { 'x-a': 'b\r\nhost: c' } },
  /the header "x-a"/,
);
test(
  'a header without a name',
  refused,
  { includeAdditionalHeadersInCheck: { '': 'b' } },
  /the header ""/,
);
test(
  'every header by "*"',
  refused,
  { headersToUpstreamOnAllow: ['*'] },
  /"\*" in headersToUpstreamOnAllow/,
);
test('an unknown field', refused, { pathprefix: '/' }, /pathprefix: unknown field/);
test('a body of no bytes', refused, { includeRequestBodyInCheck: {} }, /maxRequestBytes/);
