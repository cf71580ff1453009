import { randomBytes } from 'node:crypto';
import test from 'ava';
import type { SessionPersistence } from '../../../mesh/model/http-route.ts';
import { checkPersistence, requestToken, tokenField } from '../../../waypoint/filters/session.ts';
import { NONCE_BYTES, SessionTokens } from '../../../waypoint/filters/session-token.ts';

const tokens = new SessionTokens(randomBytes(32));
const session = { backend: 'shop/cart:80', endpoint: 'Kubernetes//Pod/shop/cart-1' };
const seal = (rule = 'rule', more: { expiresAtMs?: number } = {}): string =>
  tokens.seal(rule, { ...session, ...more }, randomBytes(NONCE_BYTES));

test('a session comes back as it was sealed, and tells a client nothing', (t) => {
  const token = seal();
  t.deepEqual(tokens.open('rule', token, 0), session);
  t.regex(token, /^[\w-]+$/);
  t.notRegex(Buffer.from(token, 'base64url').toString('latin1'), /cart|shop|Pod/);
  t.not(seal(), token);
});

test('a session is of one rule and of one secret', (t) => {
  t.is(tokens.open('other', seal(), 0), undefined);
  t.is(new SessionTokens(randomBytes(32)).open('rule', seal(), 0), undefined);
});

test('a session ends when it expires, whatever its cookie says', (t) => {
  const token = seal('rule', { expiresAtMs: 1000 });
  t.deepEqual(tokens.open('rule', token, 999), { ...session, expiresAtMs: 1000 });
  t.is(tokens.open('rule', token, 1000), undefined);
});

test('no changed bit, lost end or invented token opens', (t) => {
  const bytes = Buffer.from(seal(), 'base64url');
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const changed = Buffer.from(bytes);
    changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    t.is(tokens.open('rule', changed.toString('base64url'), 0), undefined);
  }
  for (let length = 0; length < bytes.length; length++)
    t.is(tokens.open('rule', bytes.subarray(0, length).toString('base64url'), 0), undefined);
  for (const token of ['', 'x', '=', 'é', 'a'.repeat(5000)])
    t.is(tokens.open('rule', token, 0), undefined);
});

test('a short secret is refused', (t) => {
  t.throws(() => new SessionTokens(randomBytes(31)), { instanceOf: RangeError });
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

test('what would make other attributes or fields of a cookie is refused', (t) => {
  const bad: readonly SessionPersistence[] = [
    { ...cookie, name: 'a;b' },
    { ...cookie, name: '' },
    { ...cookie, path: '/; Domain=evil' },
    { ...cookie, path: 'a' },
    { ...header, name: 'X-Session' },
    { ...header, name: ':path' },
    { ...header, name: 'a\r\nb' },
  ];
  for (const persistence of bad)
    t.throws(
      () => {
        checkPersistence(persistence);
      },
      { code: 'ERR_SESSION_PERSISTENCE' },
    );
  t.notThrows(() => {
    checkPersistence(cookie);
    checkPersistence(header);
  });
});
