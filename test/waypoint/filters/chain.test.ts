import test from 'ava';
import type { HttpFilter } from '../../../mesh/model/http-filter.ts';
import type { HeaderList } from '../../../net/h2/headers.ts';
import {
  compileFilters,
  filterRequest,
  filterResponse,
  type FilterOutcome,
} from '../../../waypoint/filters/chain.ts';
import { findHeader } from '../../../net/h2/headers.ts';

const PORT = 8080;

function requestFor(path: string, authority = 'shop:8080', method = 'GET'): HeaderList {
  const headers = [':method', method, ':scheme', 'http', ':authority', authority, ':path', path];
  return Object.freeze(headers);
}

function run(filters: readonly HttpFilter[], request: HeaderList, prefix = ''): FilterOutcome {
  return filterRequest(compileFilters(filters), request, PORT, prefix);
}

function forwarded(filters: readonly HttpFilter[], request: HeaderList, prefix = ''): HeaderList {
  const outcome = run(filters, request, prefix);
  return outcome.kind === 'forward' ? outcome.headers : outcome.answer.headers;
}

const rewritten = test.macro({
  exec(t, path: string, prefix: string, replacement: string, expected: string) {
    const filter: HttpFilter = { kind: 'rewrite', path: { kind: 'prefix', replacement } };
    t.is(findHeader(forwarded([filter], requestFor(path), prefix), ':path'), expected);
  },
  title: (_, path: string, prefix: string, replacement: string) =>
    `${path} by ${prefix} with ${replacement || 'nothing'} is rewritten, its query kept`,
});

test(rewritten, '/foo/bar?a=1&b', '/foo', '/xyz', '/xyz/bar?a=1&b');
test(rewritten, '/foo/bar?', '/foo/', '', '/bar?');
test(rewritten, '/foo?/foo?x', '/foo', '/', '/?/foo?x');
test(rewritten, '/foobar', '/foo', '/', '/bar');

test('a full path replaces the path and keeps the query', (t) => {
  const filter: HttpFilter = { kind: 'rewrite', path: { kind: 'full', path: '/one' } };
  t.is(findHeader(forwarded([filter], requestFor('/a/b?c=%2F')), ':path'), '/one?c=%2F');
});

const substituted = test.macro({
  exec(t, path: string, pattern: string, substitution: string, expected: string) {
    const rewrite = { kind: 'regex', pattern, substitution } as const;
    const filter: HttpFilter = { kind: 'rewrite', path: rewrite };
    t.is(findHeader(forwarded([filter], requestFor(path)), ':path'), expected);
  },
  title: (_, path: string, pattern: string, substitution: string) =>
    `what ${pattern} matches in ${path} becomes ${substitution || 'nothing'}`,
});

test(
  substituted,
  '/item/7/of/9?q=/item/1',
  '^/item/([0-9]+)/of/([0-9]+)$',
  '/\\2-\\1',
  '/9-7?q=/item/1',
);
test(substituted, '/a/a/b', 'a', 'cc', '/cc/cc/b');
test(substituted, '/a', '/a(b)?', '/x\\1\\0', '/x/a');
test(substituted, '/a', '^/', '', '/a');
test(substituted, '/a', 'a', '\\\\', '/\\');
test(substituted, '/x', 'a', 'b', '/x');
test(substituted, '/caf\xc3\xa9', 'f\u00e9', '\u00fc', '/ca\xc3\xbc');
test(substituted, '/\xff', '.', 'b', '/\xff');

test('a substitution that would leave dot segments, or take too long, is answered with 400', (t) => {
  const rewrite = (pattern: string, substitution: string): HttpFilter => ({
    ...{ kind: 'rewrite', path: { kind: 'regex', pattern, substitution } },
  });
  const isRefused = (filter: HttpFilter, path: string): boolean => {
    const outcome = run([filter], requestFor(path));
    return outcome.kind === 'answer' && outcome.answer.headers[1] === '400';
  };
  t.true(isRefused(rewrite('x', ''), '/.x./admin'));
  t.true(isRefused(rewrite('a.*b|a', 'c'), `/${'a'.repeat(20_000)}`));
  t.true(isRefused(rewrite('a', 'b'.repeat(1000)), `/${'a'.repeat(100)}`));
  t.false(isRefused(rewrite('a', 'b'.repeat(10)), `/${'a'.repeat(100)}`));
});

test('a rewrite that would leave dot segments is answered with 400', (t) => {
  const filter: HttpFilter = { kind: 'rewrite', path: { kind: 'prefix', replacement: '/' } };
  for (const path of ['/api../admin', '/api./x', '/api%2e%2E/admin', '/api..', '/api.%2e?x=1']) {
    const outcome = run([filter], requestFor(path), '/api');
    t.is(outcome.kind === 'answer' && outcome.answer.headers[1], '400', path);
  }
  t.is(findHeader(forwarded([filter], requestFor('/api...?/../'), '/api'), ':path'), '/...?/../');
});

test('a hostname replaces the authority, whatever names it', (t) => {
  const request = [...requestFor('/'), 'host', 'shop:8080'];
  t.deepEqual(forwarded([{ kind: 'rewrite', hostname: 'cart' }], request), requestFor('/', 'cart'));
});

test('a request that no filter changes keeps its list', (t) => {
  const request = requestFor('/a');
  const filters: readonly HttpFilter[] = [
    { kind: 'rewrite', path: { kind: 'full', path: '/a' } },
    { kind: 'request-headers', changes: { set: [], add: [], remove: ['x'] } },
  ];
  t.is(forwarded(filters, request), request);
  t.is(forwarded([], request), request);
});

test('filters have their turn in the order of the rule', (t) => {
  const set = (value: string): HttpFilter => ({
    kind: 'request-headers',
    changes: { set: [{ name: 'host', value }], add: [], remove: [] },
  });
  const headers = forwarded([set('one'), { kind: 'rewrite', hostname: 'two' }], requestFor('/'));
  t.is(findHeader(headers, ':authority'), 'two');
  const other = forwarded([{ kind: 'rewrite', hostname: 'two' }, set('one')], requestFor('/'));
  t.is(findHeader(other, ':authority'), 'one');
});

test('a redirect is a whole response, with the port of the Service and no body', (t) => {
  const filters: readonly HttpFilter[] = [
    {
      kind: 'request-headers',
      changes: { set: [{ name: 'host', value: 'x' }], add: [], remove: [] },
    },
    {
      kind: 'redirect',
      redirect: { statusCode: 302, path: { kind: 'prefix', replacement: '/n' } },
    },
  ];
  const outcome = run(filters, requestFor('/old/a?b=1', 'shop:80'), '/old');
  t.deepEqual(outcome.kind === 'answer' && outcome.answer, {
    headers: [':status', '302', 'location', 'http://shop:8080/n/a?b=1', 'content-length', '0'],
    body: Buffer.alloc(0),
    reason: 'redirect',
  });
});

test('a redirect takes the host without its port, also of IPv6', (t) => {
  const filter: HttpFilter = { kind: 'redirect', redirect: { statusCode: 301, scheme: 'https' } };
  for (const [authority, location] of [
    ['[::1]:80', 'https://[::1]/'],
    ['[::1]', 'https://[::1]/'],
    ['shop', 'https://shop/'],
    ['shop:9', 'https://shop/'],
  ] as const)
    t.is(findHeader(forwarded([filter], requestFor('/', authority)), 'location'), location);
});

test('a direct response has its length and type, and no body for HEAD', (t) => {
  const filter: HttpFilter = { kind: 'respond', status: 503, body: 'é', reason: 'filter' };
  const get = run([filter], requestFor('/'));
  const head = run([filter], requestFor('/', 'shop', 'HEAD'));
  if (get.kind !== 'answer' || head.kind !== 'answer') return t.fail();
  t.deepEqual(get.answer.headers, [
    ...[':status', '503', 'content-length', '2', 'content-type', 'text/plain; charset=utf-8'],
  ]);
  t.is(get.answer.body.toString(), 'é');
  t.deepEqual(head.answer.headers, get.answer.headers);
  t.is(head.answer.body.length, 0);
});

test('a status that has no body gets neither one nor a length', (t) => {
  for (const status of [204, 304]) {
    const outcome = run([{ kind: 'respond', status, body: 'x', reason: '' }], requestFor('/'));
    if (outcome.kind !== 'answer') return t.fail();
    t.deepEqual(outcome.answer.headers, [':status', String(status)]);
    t.is(outcome.answer.body.length, 0);
  }
});

test('response headers are changed by all filters that do, in order', (t) => {
  const change = (value: string): HttpFilter => ({
    kind: 'response-headers',
    changes: { set: [], add: [{ name: 'a', value }], remove: [] },
  });
  const chain = compileFilters([change('1'), change('2')]);
  t.deepEqual(filterResponse(chain, [':status', '200']), [':status', '200', 'a', '1,2']);
});

test('filters that cannot be done are refused when they come', (t) => {
  const changes = { set: [], add: [], remove: ['content-length'] };
  t.throws(() => compileFilters([{ kind: 'response-headers', changes }]), {
    code: 'ERR_HEADER_CHANGE',
  });
});
