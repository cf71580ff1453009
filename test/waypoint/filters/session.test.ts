import test from 'ava';
import type { SessionPersistence } from '../../../mesh/model/http-route.ts';
import { requestToken, tokenField } from '../../../waypoint/filters/session.ts';
import {
  endpointMark,
  formatToken,
  parseToken,
  ruleMark,
} from '../../../waypoint/filters/session-token.ts';

const [rule, other] = [ruleMark('HTTPRoute/shop/web/0'), ruleMark('HTTPRoute/shop/web/1')];
const endpoint = endpointMark('shop/web.shop.svc 80 ', 'Kubernetes//Pod/shop/cart-1:8080');

test('every replica makes the same token of an endpoint, and it tells a client nothing', (t) => {
  const token = formatToken(rule, endpoint, 1000);
  t.is(token, 'vSf_gxAM9nXo-LQI_5wrTDTFX1N5Cirs');
  t.notRegex(Buffer.from(token, 'base64url').toString('latin1'), /cart|shop|Pod|web/);
  t.deepEqual(parseToken(rule, token, 60_000, 1_000_000), { mark: endpoint, beganSeconds: 1000 });
  const forGood = formatToken(rule, endpoint);
  t.is(parseToken(rule, forGood, undefined, 0)?.mark, endpoint);
});

test('a session is of one rule, and of one target', (t) => {
  t.is(parseToken(other, formatToken(rule, endpoint), undefined, 0), undefined);
  t.not(endpointMark('shop/web.shop.svc 80 ', 'a'), endpointMark('shop/web.shop.svc 81 ', 'a'));
  t.not(endpointMark('x', 'y\nz'), endpointMark('x', 'y'));
});

test('a session ends when its time is over, whatever its cookie says', (t) => {
  const token = formatToken(rule, endpoint, 1000);
  t.truthy(parseToken(rule, token, 60_000, 1_059_999));
  t.is(parseToken(rule, token, 60_000, 1_060_000), undefined);
  // Of a replica whose clock goes a little fast; not one from the far future, which would never end.
  t.truthy(parseToken(rule, token, 60_000, 950_000));
  t.is(parseToken(rule, token, 60_000, 900_000), undefined);
  t.is(parseToken(rule, formatToken(rule, endpoint), 60_000, 0), undefined, 'no time');
});

test('what is no token is none', (t) => {
  const token = formatToken(rule, endpoint, 1000);
  for (const odd of ['', 'x', rule, token.slice(0, 29), `${token}000000000`, token.toUpperCase()])
    t.is(parseToken(rule, odd, 60_000, 1_000_000), undefined, odd);
  for (const time of ['-1', 'é', ' ', '1e3', '.'])
    t.is(parseToken(rule, `${rule}${endpoint}${time}`, 60_000, 1_000_000), undefined, time);
});

const cookie: SessionPersistence = { kind: 'cookie', name: 'sid', path: '/' };
const header: SessionPersistence = { kind: 'header', name: 'x-session' };

test('a token is found among cookies by its whole name', (t) => {
  const found = (...cookies: readonly string[]): string | undefined =>
    requestToken(
      cookie,
      cookies.flatMap((value) => ['cookie', value]),
    );
  t.is(found('a=1; sid=x; sid=y'), 'x');
  t.is(found('a=1', 'sid=x'), 'x');
  t.is(found('xsid=1;sid=x'), 'x');
  t.is(found('sid='), '');
  for (const none of ['sids=1', 'a=sid=1', 'sid', '', ';', 'SID=x'])
    t.is(found(none), undefined, none);
  t.is(requestToken(header, ['x-session', 'x']), 'x');
  t.is(requestToken(header, ['cookie', 'x-session=x']), undefined);
});

test('a cookie is kept from scripts, other sites, and plain text where there is a choice', (t) => {
  t.deepEqual(tokenField(cookie, 'x', true), {
    name: 'set-cookie',
    value: 'sid=x; Path=/; HttpOnly; Secure; SameSite=Strict',
  });
  t.is(
    tokenField({ ...cookie, path: '/a', lifetimeMs: 90_500 }, 'x', false).value,
    'sid=x; Path=/a; Max-Age=90; HttpOnly; SameSite=Strict',
  );
  t.deepEqual(tokenField(header, 'x', true), { name: 'x-session', value: 'x' });
});
