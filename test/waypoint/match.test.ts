import test from 'ava';
import type { HttpMatch, HttpRoutes, ValueMatch } from '../../mesh/model/http-route.ts';
import type { HeaderList } from '../../net/h2/headers.ts';
import { RouteTable } from '../../waypoint/match.ts';
import { makeRule } from '../support/route-cases.ts';

function tableOf(choice: HttpRoutes['choice'], ...matches: Partial<HttpMatch>[]): RouteTable {
  const rules = matches.map((match, index) =>
    makeRule(`rule-${index}`, [{ headers: [], queryParams: [], ...match }]),
  );
  return new RouteTable({ choice, grpc: false, rules });
}

function requestFor(path: string, ...fields: readonly string[]): HeaderList {
  return [':method', 'GET', ':scheme', 'http', ':authority', 'shop', ':path', path, ...fields];
}

const prefix = (value: string): Partial<HttpMatch> => ({ path: { kind: 'prefix', value } });
const exact = (value: string): Partial<HttpMatch> => ({ path: { kind: 'exact', value } });
const regex = (value: string): Partial<HttpMatch> => ({ path: { kind: 'regex', value } });

test('a prefix is of whole segments, and a slash at its end means nothing', (t) => {
  for (const value of ['/abc', '/abc/']) {
    const table = tableOf('precedence', prefix(value));
    for (const path of ['/abc', '/abc/', '/abc/d', '/abc?x', '/abc/?x'])
      t.is(table.find(requestFor(path))?.prefix, value, path);
    for (const path of ['/abcd', '/ab', '/', '/ABC', '/x/abc'])
      t.is(table.find(requestFor(path)), undefined, path);
  }
});

test('exact comes before the longer prefix, that before the shorter, and those before patterns', (t) => {
  const table = tableOf(
    'precedence',
    ...[regex('/a/.*'), prefix('/'), prefix('/a'), prefix('/a/b/'), exact('/a/b/c')],
  );
  const ruleOf = (path: string): number | undefined => table.find(requestFor(path))?.ruleIndex;
  t.deepEqual(['/a/b/c', '/a/b/d', '/a/x', '/x'].map(ruleOf), [4, 3, 2, 1]);
});

test('where the most exact path asks for more than the request has, the next one counts', (t) => {
  const table = tableOf('precedence', prefix('/a'), { ...exact('/a'), method: 'POST' });
  t.is(table.find(requestFor('/a'))?.ruleIndex, 0);
});

test('in order, the first that matches wins, however vague', (t) => {
  const table = tableOf('order', regex('/a.*'), exact('/a'), {}, prefix('/b'));
  t.deepEqual(
    ['/a', '/ab', '/b', '/c'].map((path) => table.find(requestFor(path))?.ruleIndex),
    [0, 0, 2, 2],
  );
});

test('a request without a path, or for the whole server, matches only what asks for no path', (t) => {
  const options = [':method', 'OPTIONS', ':path', '*', ':authority', 'shop'];
  const connect = [':method', 'CONNECT', ':authority', 'shop'];
  for (const request of [options, connect]) {
    t.is(tableOf('precedence', prefix('/')).find(request), undefined);
    t.is(tableOf('precedence', {}).find(request)?.ruleIndex, 0);
  }
});

test('a rule without matches takes every request', (t) => {
  const table = new RouteTable({ choice: 'precedence', grpc: false, rules: [makeRule('a', [])] });
  t.like(table.find(requestFor('/x')), { ruleIndex: 0, matchIndex: 0, prefix: '' });
});

test('without rules nothing matches', (t) => {
  const table = new RouteTable({ choice: 'order', grpc: false, rules: [] });
  t.is(table.find(requestFor('/')), undefined);
});

test('a WebSocket matches as GET, whichever version opens it', (t) => {
  const table = tableOf('precedence', { method: 'GET' }, { method: 'CONNECT' });
  const opened = [':method', 'CONNECT', ':protocol', 'websocket', ':scheme', 'http', ':path', '/'];
  t.is(table.find(opened)?.ruleIndex, 0);
  t.is(table.find([':method', 'CONNECT', ':authority', 'a:1'])?.ruleIndex, 1);
});

test('A9: a method is compared as it is written: HEAD is no GET, and get none', (t) => {
  const table = tableOf('precedence', { method: 'GET' });
  for (const method of ['HEAD', 'get', 'Get', ''])
    t.is(table.find([':method', method, ':path', '/']), undefined, method);
});

const header = (match: ValueMatch): Partial<HttpMatch> => ({ headers: [match] });

test('a repeated header is one value, joined by commas; crumbs of a cookie by semicolons', (t) => {
  const joined = tableOf('precedence', header({ name: 'a', kind: 'exact', value: '1,2' }));
  t.not(joined.find(requestFor('/', 'a', '1', 'b', '', 'a', '2')), undefined);
  t.is(joined.find(requestFor('/', 'a', '2', 'a', '1')), undefined);
  t.is(joined.find(requestFor('/', 'a', '1')), undefined);
  const crumbs = tableOf(
    'precedence',
    header({ name: 'cookie', kind: 'exact', value: 'a=1; b=2' }),
  );
  t.not(crumbs.find(requestFor('/', 'cookie', 'a=1', 'cookie', 'b=2')), undefined);
});

test('a condition that is turned around holds where the header is not there', (t) => {
  const table = tableOf('order', header({ name: 'a', kind: 'exact', value: '1', absent: true }));
  t.not(table.find(requestFor('/')), undefined);
  t.not(table.find(requestFor('/', 'a', '2')), undefined);
  t.is(table.find(requestFor('/', 'a', '1')), undefined);
});

test('host is the authority, by whichever name', (t) => {
  const table = tableOf('order', header({ name: 'host', kind: 'exact', value: 'shop' }));
  t.not(table.find(requestFor('/')), undefined);
  t.not(table.find([':path', '/', 'host', 'shop']), undefined);
  t.is(table.find([':path', '/', ':authority', 'cart', 'host', 'shop']), undefined);
});

const parameter = (name: string, value: string): Partial<HttpMatch> => ({
  queryParams: [{ name, kind: 'exact', value }],
});

test('of a repeated parameter the first counts, and escapes are undone', (t) => {
  const table = tableOf('precedence', parameter('a b', 'é&='));
  for (const query of [
    'a%20b=%c3%A9%26%3D',
    'x&&a%20b=\xc3\xa9%26=',
    'a%20%62=%C3%A9%26=&a%20b=no',
  ])
    t.not(table.find(requestFor(`/?${query}`)), undefined, query);
  for (const query of ['a%20b=no&a%20b=%c3%A9%26%3D', 'a+b=%c3%A9%26%3D', 'a%2', '', '=', '%'])
    t.is(table.find(requestFor(`/?${query}`)), undefined, query);
  t.is(table.find(requestFor('/')), undefined);
});

test('a parameter without a value is there, and empty', (t) => {
  const present = tableOf('order', { queryParams: [{ name: 'a', kind: 'present' }] });
  for (const path of ['/?a', '/?a=', '/?b&a']) t.not(present.find(requestFor(path)), undefined);
  for (const path of ['/?b', '/', '/?', '/?&', '/a?aa'])
    t.is(present.find(requestFor(path)), undefined);
  t.not(tableOf('order', parameter('a', '')).find(requestFor('/?a&b')), undefined);
});

test('what is configured in UTF-8 matches the bytes of a request', (t) => {
  const table = tableOf(
    'order',
    ...[exact('/café'), header({ name: 'a', kind: 'prefix', value: 'é' }), regex('/th.')],
  );
  t.is(table.find(requestFor('/caf\xc3\xa9'))?.ruleIndex, 0);
  t.is(table.find(requestFor('/', 'a', '\xc3\xa9tude'))?.ruleIndex, 1);
  t.is(table.find(requestFor('/th\xc3\xa9'))?.ruleIndex, 2);
});

test('case is ignored for letters of ASCII alone', (t) => {
  const table = tableOf('order', { path: { kind: 'exact', value: '/É/b', ignoreCase: true } });
  t.not(table.find(requestFor('/\xc3\x89/B')), undefined);
  t.is(table.find(requestFor('/\xe3\x89/b')), undefined);
});

test('a thousand canaries of one path are told apart by header, and the rest goes on', (t) => {
  const canaries = Array.from(
    { length: 1000 },
    (_, index): Partial<HttpMatch> => ({
      ...prefix('/'),
      ...header({ name: 'x-user', kind: 'exact', value: `user-${index}` }),
    }),
  );
  const table = tableOf('precedence', prefix('/'), ...canaries);
  t.is(table.find(requestFor('/', 'x-user', 'user-999'))?.ruleIndex, 1000);
  t.is(table.find(requestFor('/', 'x-user', 'user-1000'))?.ruleIndex, 0);
  t.is(table.find(requestFor('/'))?.ruleIndex, 0);
});

test('a pattern that cannot be used is refused with the table', (t) => {
  const patterns: readonly Partial<HttpMatch>[] = [
    regex('(a'),
    header({ name: 'a', kind: 'regex', value: '(?=a)' }),
    { queryParams: [{ name: 'a', kind: 'regex', value: '*' }] },
    { authority: { kind: 'regex', value: '[' } },
  ];
  for (const match of patterns) t.throws(() => tableOf('order', match), { code: 'ERR_REGEX' });
});

test('a match on a header that no request has is refused with the table', (t) => {
  for (const name of ['@request.auth.principal', 'X-User', '', ':protocol', 'a b'])
    t.throws(() => tableOf('order', header({ name, kind: 'present', absent: true })), {
      code: 'ERR_HEADER_MATCH',
    });
});

test('a value that is too long for a pattern is no answer of either kind, and the next request has its own', (t) => {
  const table = tableOf(
    'order',
    header({ name: 'a', kind: 'regex', value: '(a+)+$', absent: true }),
  );
  t.throws(() => table.find(requestFor('/', 'a', `${'a'.repeat(100 << 10)}!`)), {
    code: 'ERR_REGEX_INPUT',
  });
  t.is(table.find(requestFor('/', 'a', 'aa')), undefined);
  t.not(table.find(requestFor('/', 'a', 'ab')), undefined);
});

test('a pattern is not asked where an earlier match already holds', (t) => {
  const path = `/${'a'.repeat(100 << 10)}`;
  t.is(tableOf('order', prefix('/'), regex('/a*')).find(requestFor(path))?.ruleIndex, 0);
  t.is(tableOf('precedence', regex('/a*'), prefix('/')).find(requestFor(path))?.ruleIndex, 1);
  t.throws(() => tableOf('order', regex('/a*'), prefix('/')).find(requestFor(path)), {
    code: 'ERR_REGEX_INPUT',
  });
});

test('C2: patterns together cost a bounded time, however many there are', (t) => {
  const patterns = Array.from({ length: 500 }, (_, index) => regex(`/.*[a-f]x{${index % 9}}y`));
  const table = tableOf('order', ...patterns, {});
  t.is(table.find(requestFor(`/${'a'.repeat(500)}`))?.ruleIndex, 500);
  t.throws(() => table.find(requestFor(`/${'a'.repeat(50_000)}`)), { code: 'ERR_REGEX_INPUT' });
  t.is(table.find(requestFor(`/${'a'.repeat(500)}`))?.ruleIndex, 500);
});

test('a query is no part of the path that a pattern is asked about', (t) => {
  const table = tableOf('order', regex('/a*'));
  t.not(table.find(requestFor(`/aa?${'b'.repeat(100 << 10)}`)), undefined);
});

test('explain() says of every match that was tried what did not hold, and what did', (t) => {
  const table = tableOf(
    'precedence',
    { ...exact('/cart'), method: 'POST' },
    {
      ...prefix('/'),
      headers: [{ name: 'x-user', kind: 'prefix', value: 'a' }],
      queryParams: [{ name: 'v', kind: 'exact', value: '2' }],
      sourceNamespace: 'shop',
    },
    prefix('/cart'),
    exact('/other'),
  );
  t.deepEqual(table.explain(requestFor('/cart', 'x-user', 'bob')), [
    { step: 'rule rule-0, match 1', found: 'method GET is not POST' },
    { step: 'rule rule-3, match 1', found: 'path "/cart" is not exactly "/other"' },
    { step: 'rule rule-2, match 1', found: 'holds: path is below "/cart"' },
  ]);
  t.deepEqual(table.explain(requestFor('/a?v=1', 'x-user', 'bob'), 'web').at(-2), {
    step: 'rule rule-1, match 1',
    found:
      'the client is of web, not of shop; header x-user is "bob", must begin with "a"; ' +
      'query parameter v is "1", must be "2"',
  });
  t.deepEqual(table.explain(requestFor('/a')).at(-1), {
    step: 'rules',
    found: 'none of 4 matches holds',
  });
});

test('A9: paths are compared as they are written, also those of gRPC', (t) => {
  const table = tableOf('precedence', exact('/shop.Cart/Get'), prefix('/shop.Cart'));
  t.is(table.find(requestFor('/shop.Cart/get'))?.ruleIndex, 1);
  t.is(table.find(requestFor('/shop.cart/Get')), undefined);
});

test('a gRPC method is a path: service and method before service, that before any service', (t) => {
  const table = tableOf(
    'precedence',
    regex('/[^/]+/Get'),
    prefix('/shop.Cart'),
    exact('/shop.Cart/Get'),
  );
  const ruleOf = (path: string): number | undefined => table.find(requestFor(path))?.ruleIndex;
  t.deepEqual(
    ['/shop.Cart/Get', '/shop.Cart/Put', '/shop.Carts/Get', '/shop.Carts/Put'].map(ruleOf),
    [2, 1, 0, undefined],
  );
});

test('a pattern of the method sees a WebSocket that comes by HTTP/2 as the GET that it is', (t) => {
  const table = tableOf('order', {
    headers: [{ name: ':method', kind: 'regex', value: 'GET|HEAD' }],
  });
  const rest = [':scheme', 'http', ':authority', 'shop', ':path', '/'];
  const ruleOf = (...method: readonly string[]): number | undefined =>
    table.find([...method, ...rest])?.ruleIndex;
  t.is(ruleOf(':method', 'CONNECT', ':protocol', 'websocket'), 0);
  t.is(ruleOf(':method', 'HEAD'), 0);
  t.is(ruleOf(':method', 'CONNECT'), undefined);
});

test('a claim is matched in a verified token alone, whatever headers say', (t) => {
  const rule = (headers: readonly ValueMatch[]): ((claims?: object) => boolean) => {
    const table = tableOf('order', { headers });
    const forged = ['@request.auth.claims.group', 'admin', 'group', 'admin'];
    return (claims) => table.find(requestFor('/', ...forged), undefined, claims) !== undefined;
  };
  const exactly = { kind: 'exact', value: 'admin' } as const;
  const admin = rule([{ name: '@request.auth.claims.group', ...exactly }]);
  t.false(admin());
  t.false(admin({}));
  t.true(admin({ group: 'admin' }));
  t.false(admin({ group: 'administrator' }));
  t.true(admin({ group: ['user', 'admin'] }));
  for (const group of [{ admin: true }, true, 1, null, [['admin']]]) t.false(admin({ group }));
  t.false(admin(Object.create({ group: 'admin' }) as object), 'only what the token says itself');

  const nested = rule([{ name: '@request.auth.claims.realm.role', ...exactly }]);
  t.true(nested({ realm: { role: 'admin' } }));
  t.false(nested({ 'realm.role': 'admin' }));
  t.true(rule([{ name: '@request.auth.claims[a.b][c]', ...exactly }])({ 'a.b': { c: 'admin' } }));

  const nobody = rule([{ name: '@request.auth.claims.group', kind: 'present', absent: true }]);
  t.true(nobody());
  t.false(nobody({ group: ['x'] }));
  const café = rule([{ name: '@request.auth.claims.place', kind: 'prefix', value: 'café' }]);
  t.true(café({ place: 'café noir' }));
  // The table is used again: nobody's claims are another's.
  t.false(admin());
});
