import test from 'ava';
import type { CorsOrigin, CorsPolicy } from '../../../mesh/model/http-filter.ts';
import { findHeader, type HeaderList } from '../../../net/h2/headers.ts';
import { Cors } from '../../../waypoint/filters/cors.ts';
import { compileOrigin } from '../../../waypoint/filters/cors-origin.ts';

const exact = (value: string): CorsOrigin => ({ kind: 'exact', value });
const wildcard = (value: string): CorsOrigin => ({ kind: 'wildcard', value });

function corsOf(policy: Partial<CorsPolicy>): Cors {
  return new Cors({
    allowOrigins: [exact('https://shop.example')],
    allowMethods: ['GET', 'PUT'],
    allowHeaders: ['x-a', 'x-b'],
    exposeHeaders: [],
    allowCredentials: false,
    maxAgeSeconds: 5,
    forwardUnmatchedPreflights: false,
    ...policy,
  });
}

const SHOP = ['origin', 'https://shop.example'];
const EVIL = ['origin', 'https://evil.example'];

function requestOf(method: string, ...fields: readonly string[]): HeaderList {
  return [':method', method, ':path', '/', ...fields];
}

function preflightOf(...fields: readonly string[]): HeaderList {
  return requestOf('OPTIONS', ...fields, 'access-control-request-method', 'PUT');
}

function answerOf(policy: Partial<CorsPolicy>, request: HeaderList): HeaderList | undefined {
  const decision = corsOf(policy).decide(request);
  return decision.kind === 'answer' ? decision.answer.headers : undefined;
}

function responseOf(
  policy: Partial<CorsPolicy>,
  request: HeaderList,
  response: HeaderList = [':status', '200'],
): HeaderList {
  const cors = corsOf(policy);
  return cors.changeResponse(Object.freeze(response), cors.decide(request));
}

test('a preflight of an allowed origin is answered with what is allowed', (t) => {
  const request = preflightOf(...SHOP, 'access-control-request-headers', 'x-a');
  t.deepEqual(answerOf({}, request), [
    ...[':status', '200', 'access-control-allow-origin', 'https://shop.example'],
    ...['access-control-allow-methods', 'GET, PUT', 'access-control-allow-headers', 'x-a, x-b'],
    ...['access-control-max-age', '5', 'vary', 'Origin', 'content-length', '0'],
  ]);
});

test('a preflight that asks for no headers is told of none', (t) => {
  const headers = answerOf({ allowHeaders: ['*'] }, preflightOf(...SHOP)) ?? [];
  t.is(findHeader(headers, 'access-control-allow-headers'), undefined);
});

test('with credentials no star is sent: origin, method and headers are those that were asked for', (t) => {
  const stars = { allowOrigins: [wildcard('*')], allowMethods: ['*'], allowHeaders: ['*'] };
  const request = preflightOf(...SHOP, 'access-control-request-headers', 'x-q, x-r');
  t.deepEqual(answerOf({ ...stars, allowCredentials: true }, request), [
    ...[':status', '200', 'access-control-allow-origin', 'https://shop.example'],
    ...['access-control-allow-credentials', 'true', 'access-control-allow-methods', 'PUT'],
    ...['access-control-allow-headers', 'x-q, x-r', 'access-control-max-age', '5'],
    ...['vary', 'Origin', 'content-length', '0'],
  ]);
});

test('without credentials stars are sent, nothing says credentials, and caches need no origin', (t) => {
  const stars = { allowOrigins: [wildcard('*')], allowMethods: ['*'], allowHeaders: ['*'] };
  const request = preflightOf(...SHOP, 'access-control-request-headers', 'x-q');
  t.deepEqual(answerOf(stars, request), [
    ...[':status', '200', 'access-control-allow-origin', '*', 'access-control-allow-methods', '*'],
    ...['access-control-allow-headers', '*', 'access-control-max-age', '5', 'content-length', '0'],
  ]);
});

test('a preflight of another origin is answered without a word of CORS', (t) => {
  t.deepEqual(answerOf({}, preflightOf(...EVIL)), [
    ...[':status', '200', 'vary', 'Origin', 'content-length', '0'],
  ]);
});

test('a VirtualService lets a preflight of another origin go on, and leaves the backend its answer', (t) => {
  const policy = { forwardUnmatchedPreflights: true };
  t.is(answerOf(policy, preflightOf(...EVIL)), undefined);
  const response = [':status', '200', 'access-control-allow-origin', 'https://evil.example'];
  t.deepEqual(responseOf(policy, preflightOf(...EVIL), response), [...response, 'vary', 'Origin']);
});

test('A9: OPTIONS without a method or an origin to ask for is no preflight', (t) => {
  t.is(answerOf({}, requestOf('OPTIONS', ...SHOP)), undefined);
  t.is(answerOf({}, requestOf('OPTIONS', 'access-control-request-method', 'PUT')), undefined);
  t.is(answerOf({}, requestOf('GET', ...SHOP, 'access-control-request-method', 'PUT')), undefined);
});

test('the response to an allowed origin names it', (t) => {
  t.deepEqual(responseOf({ exposeHeaders: ['x-e', 'x-f'] }, requestOf('GET', ...SHOP)), [
    ...[':status', '200', 'access-control-allow-origin', 'https://shop.example'],
    ...['access-control-expose-headers', 'x-e, x-f', 'vary', 'Origin'],
  ]);
});

test('what the backend says of CORS gives way to the policy', (t) => {
  const response = [
    ...[':status', '200', 'access-control-allow-origin', '*'],
    ...['access-control-allow-credentials', 'true', 'vary', 'accept'],
  ];
  t.deepEqual(responseOf({}, requestOf('GET', ...SHOP), response), [
    ...[':status', '200', 'vary', 'accept,Origin'],
    ...['access-control-allow-origin', 'https://shop.example'],
  ]);
  t.deepEqual(responseOf({}, requestOf('GET', ...EVIL), response), [
    ...[':status', '200', 'vary', 'accept,Origin'],
  ]);
});

test('a response to no other origin says that it could have been another', (t) => {
  t.deepEqual(responseOf({}, requestOf('GET')), [':status', '200', 'vary', 'Origin']);
  for (const vary of ['Accept, origin', '*']) {
    const response = [':status', '200', 'vary', vary];
    t.is(responseOf({}, requestOf('GET'), response), response, vary);
  }
  const response = [':status', '200'];
  t.is(responseOf({ allowOrigins: [wildcard('*')] }, requestOf('GET'), response), response);
});

test('with credentials the names of the response stand for a star of what is exposed', (t) => {
  const policy = { exposeHeaders: ['*'], allowCredentials: true };
  const response = [':status', '200', 'x-e', '1', 'set-cookie', 'a=1', 'x-e', '2', 'x-f', '3'];
  const exposed = (headers: HeaderList): string | undefined =>
    findHeader(headers, 'access-control-expose-headers');
  t.is(exposed(responseOf(policy, requestOf('GET', ...SHOP), response)), 'x-e, x-f');
  const open = { ...policy, allowCredentials: false };
  t.is(exposed(responseOf(open, requestOf('GET', ...SHOP), response)), '*');
});

const origins = test.macro({
  exec(t, allowed: CorsOrigin, holding: readonly string[], others: readonly string[]) {
    const isAllowed = compileOrigin(allowed);
    for (const origin of holding) t.true(isAllowed(origin), origin);
    for (const origin of others) t.false(isAllowed(origin), origin);
  },
  title: (_, { kind, value }: CorsOrigin) => `an origin is told by ${kind} ${value}`,
});

test(
  origins,
  wildcard('https://*.shop.example'),
  ['https://a.shop.example', 'https://a.b-c.shop.example'],
  [
    ...['https://shop.example', 'https://.shop.example', 'http://a.shop.example'],
    ...['https://a.shop.example:8443', 'https://evil.example/.shop.example', 'null'],
    ...[
      'https://evil.example:1.shop.example',
      'https://u@a.shop.example',
      'https://a..shop.example',
    ],
    ...['https://a.shop.example.evil', 'https://ashop.example', 'https://a.shop.example,https://b'],
  ],
);
test(
  origins,
  wildcard('http://*:8080'),
  ['http://a:8080', 'http://a.b:8080'],
  ['http://a', 'http://a:80:8080'],
);
test(origins, wildcard('*'), ['https://a', 'null'], []);
test(
  origins,
  exact('https://Shop.example'),
  ['https://shop.example'],
  ['https://shop.example:443', ''],
);
test(origins, { kind: 'prefix', value: 'https://shop' }, ['https://shop.a'], ['http://shop']);
test(
  origins,
  { kind: 'regex', value: 'https://[a-z]+' },
  ['https://a'],
  ['https://a.b', 'xhttps://a'],
);

test('a request with two origins has none that is allowed', (t) => {
  t.is(corsOf({}).decide(requestOf('GET', ...SHOP, ...SHOP)).kind, 'foreign');
});
