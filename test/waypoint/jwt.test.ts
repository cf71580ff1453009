import { sign as signBytes } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import test from 'ava';
import type { JWTPayload } from 'jose';
import type { JwtRule } from '../../mesh/model/request-authentication.ts';
import { applyTokens, jwtRefusal } from '../../waypoint/jwt-request.ts';
import type { JwtFault } from '../../waypoint/jwt-fault.ts';
import { JwtAuthenticator, type JwtOutcome } from '../../waypoint/jwt.ts';
import {
  authenticationOf,
  forgeToken,
  JWT_ISSUER,
  makeJwtRule,
  makeJwtSigner,
} from '../support/jwt.ts';

const signer = await makeJwtSigner();
const rsa = await makeJwtSigner('r1', 'RS256');
const stranger = await makeJwtSigner();
const FORM: JwtFault =
  'Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections';
const FAILS: JwtFault = 'Jwt verification fails';

const request = (...fields: readonly string[]): string[] => [
  ...[':method', 'GET', ':scheme', 'http', ':authority', 'web', ':path', '/a', ...fields],
];
const bearer = (token: string): string[] => request('authorization', `Bearer ${token}`);

const rules = (...fields: readonly Partial<JwtRule>[]): JwtAuthenticator =>
  new JwtAuthenticator([
    authenticationOf(...fields.map((each) => makeJwtRule([signer, rsa], each))),
  ]);

async function faultOf(
  authenticator: JwtAuthenticator,
  headers: readonly string[],
): Promise<string> {
  const outcome = await authenticator.authenticate(headers, Date.now());
  return outcome.kind === 'refused' ? outcome.fault : outcome.kind;
}

async function identified(
  authenticator: JwtAuthenticator,
  headers: readonly string[],
): Promise<Extract<JwtOutcome, { kind: 'verified' }>> {
  const outcome = await authenticator.authenticate(headers, Date.now());
  if (outcome.kind !== 'verified') throw new Error(JSON.stringify(outcome));
  return outcome;
}

test('a token tells who asks, and for whom', async (t) => {
  const token = await signer.sign({
    aud: ['a', 'b'],
    azp: 'app',
    scope: 'read write',
    groups: ['x'],
  });
  const { identity } = await identified(rules({}), bearer(token));
  t.like(identity, { principal: `${JWT_ISSUER}/alice`, audiences: ['a', 'b'], presenter: 'app' });
  t.deepEqual(Reflect.get(identity.claims, 'scope'), ['read', 'write']);
  t.deepEqual(Reflect.get(identity.claims, 'groups'), ['x']);
  const one = await identified(rules({}), bearer(await rsa.sign({ aud: 'a' })));
  t.deepEqual(one.identity.audiences, ['a']);
});

test('a request without a token passes as nobody', async (t) => {
  t.is(await faultOf(rules({}), request()), 'none');
  t.is(await faultOf(rules({}), request('authorization', 'Basic dTpw')), 'none');
});

test('a CORS preflight is not asked for a token', async (t) => {
  const preflight = request(
    'origin',
    'http://x',
    'access-control-request-method',
    'GET',
    'authorization',
    'Bearer x',
  );
  t.is(await faultOf(rules({}), preflight), FORM);
  preflight[1] = 'OPTIONS';
  t.is(await faultOf(rules({}), preflight), 'none');
});

// J1: what is not signed by a key of the issuer.
test('a token that nobody signed is refused, however "none" is written (J1)', async (t) => {
  const payload = { iss: JWT_ISSUER, sub: 'admin', exp: 9_999_999_999 };
  for (const alg of ['none', 'None', 'NONE', 'nOnE', '', 7, null]) {
    t.is(await faultOf(rules({}), bearer(forgeToken({ alg }, payload))), FORM);
    const withText = `${forgeToken({ alg }, payload)}AAAA`;
    t.is(await faultOf(rules({}), bearer(withText)), 'Jwt header [alg] is not supported');
  }
  const signed = await signer.sign();
  t.is(await faultOf(rules({}), bearer(signed.slice(0, signed.lastIndexOf('.') + 1))), FORM);
  t.is(await faultOf(rules({}), bearer(signed.slice(0, signed.lastIndexOf('.')))), FORM);
});

test('a public key is no secret for HMAC (J1)', async (t) => {
  const payload = { iss: JWT_ISSUER, sub: 'admin', exp: 9_999_999_999 };
  for (const { publicKey, jwk } of [signer, rsa])
    for (const secret of [
      publicKey.export({ type: 'spki', format: 'pem' }),
      publicKey.export({ type: 'spki', format: 'der' }),
      JSON.stringify(jwk),
    ])
      for (const kid of [jwk.kid, undefined]) {
        const token = forgeToken({ alg: 'HS256', ...(kid && { kid }) }, payload, secret);
        t.is(
          await faultOf(rules({}), bearer(token)),
          "Jwks doesn't have key to match kid or alg from Jwt",
        );
      }
});

test('a shared secret verifies HMAC alone', async (t) => {
  const secret = Buffer.alloc(32, 7);
  const jwks = JSON.stringify({
    keys: [{ kty: 'oct', k: secret.toString('base64url'), kid: 'h' }],
  });
  const payload = { iss: JWT_ISSUER, sub: 'alice', exp: 9_999_999_999 };
  const authenticator = rules({ jwks });
  t.is(
    await faultOf(authenticator, bearer(forgeToken({ alg: 'HS256', kid: 'h' }, payload, secret))),
    'verified',
  );
  t.is(
    await faultOf(authenticator, bearer(forgeToken({ alg: 'HS256', kid: 'x' }, payload, secret))),
    "Jwks doesn't have key to match kid or alg from Jwt",
  );
  t.is(
    await faultOf(authenticator, bearer(forgeToken({ alg: 'HS256', kid: 'h' }, payload, 'other'))),
    FAILS,
  );
  t.is(
    await faultOf(authenticator, bearer(await signer.sign())),
    "Jwks doesn't have key to match kid or alg from Jwt",
  );
});

test('a signature of zeros, of another length or of another key is refused (J1)', async (t) => {
  const token = await signer.sign();
  const signed = token.slice(0, token.lastIndexOf('.') + 1);
  for (const bytes of [
    Buffer.alloc(64),
    Buffer.alloc(63, 1),
    Buffer.alloc(65, 1),
    Buffer.alloc(8192, 1),
    Buffer.alloc(1),
  ])
    t.is(
      await faultOf(rules({}), bearer(signed + bytes.toString('base64url'))),
      FAILS,
      `${bytes.length}`,
    );
  const der = signBytes('sha256', Buffer.from(signed.slice(0, -1)), signer.privateKey);
  t.is(await faultOf(rules({}), bearer(signed + der.toString('base64url'))), FAILS);
  t.is(await faultOf(rules({}), bearer(await stranger.sign())), FAILS);
  const changed = token.split('.');
  changed[1] = Buffer.from(JSON.stringify({ iss: JWT_ISSUER, sub: 'admin' })).toString('base64url');
  t.is(await faultOf(rules({}), bearer(changed.join('.'))), FAILS);
});

test('keys that a token brings are not looked at (J2)', async (t) => {
  const header = {
    ...{ jwk: stranger.jwk, jku: 'http://127.0.0.1:1/keys', x5u: 'http://127.0.0.1:1/cert' },
  };
  t.is(await faultOf(rules({}), bearer(await stranger.sign({}, header))), FAILS);
  for (const kid of ['../../dev/null', "' OR 1=1 --", '__proto__', 'constructor', 'k2'])
    t.is(
      await faultOf(rules({}), bearer(await signer.sign({}, { kid }))),
      "Jwks doesn't have key to match kid or alg from Jwt",
    );
});

test('of several keys with one id, or with a token that names none, the right one is found (J2)', async (t) => {
  const authenticator = new JwtAuthenticator([authenticationOf(makeJwtRule([stranger, signer]))]);
  t.is(await faultOf(authenticator, bearer(await signer.sign())), 'verified');
  t.is(await faultOf(authenticator, bearer(await signer.sign({}, { kid: undefined }))), 'verified');
  const third = await makeJwtSigner();
  t.is(await faultOf(authenticator, bearer(await third.sign())), FAILS);
});

test('without keys, or with a set that is none, every token is refused (J3)', async (t) => {
  for (const jwks of ['{"keys":[]}', '', '{}', 'nonsense', '{"keys":[7]}'])
    t.is(
      await faultOf(rules({ jwks }), bearer(await signer.sign())),
      "Jwks doesn't have key to match kid or alg from Jwt",
    );
});

test('other keys forget what the old ones verified (J3)', async (t) => {
  const headers = bearer(await signer.sign());
  t.is(await faultOf(rules({}), headers), 'verified');
  const rotated = new JwtAuthenticator([authenticationOf(makeJwtRule([stranger]))]);
  t.is(await faultOf(rotated, headers), FAILS);
});

const nowS = Math.floor(Date.now() / 1000);
const claims = test.macro({
  async exec(t, payload: JWTPayload | Record<string, unknown>, expected: string) {
    t.is(
      await faultOf(
        rules({ audiences: ['web'] }),
        bearer(await signer.sign({ aud: 'web', ...payload })),
      ),
      expected,
    );
  },
  title: (given = '') => `a token with ${given} (J5)`,
});
test('nothing odd is verified', claims, {}, 'verified');
test('an end within the skew is verified', claims, { exp: nowS - 30 }, 'verified');
test('an end before the skew is refused', claims, { exp: nowS - 90 }, 'Jwt is expired');
test('a beginning within the skew is verified', claims, { nbf: nowS + 30 }, 'verified');
test('a beginning behind the skew is refused', claims, { nbf: nowS + 120 }, 'Jwt not yet valid');
test('a negative end is refused', claims, { exp: -1 }, 'Jwt is expired');
test(
  'an end with a fraction is a number like any other',
  claims,
  { exp: nowS - 90.5 },
  'Jwt is expired',
);
test('an end that is text is refused', claims, { exp: '9999999999' as unknown as number }, FAILS);
test('an end that is a list is refused', claims, { exp: [nowS + 60] as unknown as number }, FAILS);
test('a beginning that is text is refused', claims, { nbf: '0' as unknown as number }, FAILS);
test('several audiences is verified', claims, { aud: ['x', 'web'] }, 'verified');
test('another audience is refused', claims, { aud: 'x' }, 'Audiences in Jwt are not allowed');
test('no audience is refused', claims, { aud: undefined }, 'Audiences in Jwt are not allowed');
test(
  'an audience that is an object is refused',
  claims,
  { aud: { web: 1 } as unknown as string },
  'Audiences in Jwt are not allowed',
);
test('another issuer is refused', claims, { iss: 'https://other' }, 'Jwt issuer is not configured');
test(
  'an issuer that is a list is refused',
  claims,
  { iss: [JWT_ISSUER] as unknown as string },
  'Jwt issuer is not configured',
);

test('claims that are named twice, or that are none, are refused (J5)', async (t) => {
  const twice = `{"iss":"${JWT_ISSUER}","sub":"alice","sub":"admin"}`;
  t.is(
    await faultOf(rules({}), bearer(forgeToken({ alg: 'ES256' }, twice, 'x'))),
    'Jwt payload is an invalid JSON',
  );
  const header = '{"alg":"ES256","alg":"none"}';
  t.is(
    await faultOf(rules({}), bearer(forgeToken(header, {}, 'x'))),
    'Jwt header is an invalid JSON',
  );
  for (const payload of ['[]', '7', 'null', '"x"', '{', ''])
    t.is(
      await faultOf(rules({}), bearer(forgeToken({ alg: 'ES256' }, payload, 'x'))),
      'Jwt payload is an invalid JSON',
    );
  // A colon within a text, or a name within another object, is no second name.
  const odd = await signer.sign({ 'a:"b': 'c:"d', o: { sub: 1, iss: 2 } });
  t.is(await faultOf(rules({}), bearer(odd)), 'verified');
});

test('long and deep tokens are refused at once (J5)', async (t) => {
  const deep = `{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`;
  const tokens = [
    forgeToken({ alg: 'ES256' }, deep, 'x'),
    `a.${'b'.repeat(65_536)}.c`,
    '.'.repeat(65_536),
    forgeToken({ alg: 'ES256' }, `{"a":${'['.repeat(5000)}${']'.repeat(5000)}}`, 'x'),
  ];
  for (const token of tokens) {
    let fastestMs = Infinity;
    for (let round = 0; round < 5; round++) {
      const startMs = performance.now();
      t.not(await faultOf(rules({}), bearer(token)), 'verified');
      fastestMs = Math.min(fastestMs, performance.now() - startMs);
    }
    t.true(fastestMs < 20, `${fastestMs.toFixed(2)} ms for ${token.length} characters`);
  }
});

test('claims named as what all objects have are claims like others (J5)', async (t) => {
  const payload = JSON.parse('{"__proto__":{"admin":"yes"},"constructor":"c"}') as JWTPayload;
  const { identity } = await identified(
    rules({ spaceDelimitedClaims: ['__proto__'] }),
    bearer(await signer.sign(payload)),
  );
  t.false(Reflect.has(identity.claims, 'admin'));
  t.false(Object.hasOwn(Object.prototype, 'admin'));
  t.is(Object.getOwnPropertyDescriptor(identity.claims, 'constructor')?.value, 'c');
});

test('tokens are looked for where a rule says, and elsewhere only without one', async (t) => {
  const token = await signer.sign();
  const placed = rules({
    fromHeaders: [{ name: 'x-token', prefix: 'jwt ' }],
    ...{ fromParams: ['t'], fromCookies: ['session'] },
  });
  for (const headers of [
    request('x-token', `jwt ${token}`),
    request('cookie', `a=b; session=${token}; c=d`),
    request('cookie', 'a=b', 'cookie', `session="${token}"`),
    request().with(7, `/a?x=1&t=${token}`),
    request().with(7, `/a?%74=${token}`),
  ])
    t.is(await faultOf(placed, headers), 'verified');
  t.is(await faultOf(placed, bearer(token)), 'none');
  t.is(await faultOf(rules({}), request().with(7, `/a?access_token=${token}`)), 'verified');
  t.is(await faultOf(rules({}), request('authorization', `bearer ${token}`)), 'verified');
  t.is(await faultOf(rules({}), request('x-token', `jwt ${token}`)), 'none');
});

test('every token that is there must be right, and all of one subject', async (t) => {
  const alice = await signer.sign();
  const bob = await signer.sign({ sub: 'bob' });
  const two = (one: string, other: string): string[] =>
    request('authorization', `Bearer ${one}`).with(7, `/?access_token=${other}`);
  t.is(await faultOf(rules({}), two(alice, await signer.sign({ jti: '2' }))), 'verified');
  t.is(await faultOf(rules({}), two(alice, bob)), FAILS);
  t.is(await faultOf(rules({}), two(alice, await stranger.sign())), FAILS);
  t.is(await faultOf(rules({}), [...bearer(alice), 'authorization', 'Bearer forged']), FORM);
  const many = Array.from({ length: 20 }, (_, at) => ['authorization', `Bearer ${at}`]).flat();
  t.is(await faultOf(rules({}), [...many, ...bearer(alice).slice(8)]), FORM);
});

test('of several rules any may verify', async (t) => {
  const authenticator = rules(
    { issuer: 'https://first' },
    { audiences: ['x'] },
    { audiences: ['y'] },
  );
  t.is(await faultOf(authenticator, bearer(await signer.sign({ aud: 'y' }))), 'verified');
  t.is(
    await faultOf(authenticator, bearer(await signer.sign({ iss: 'https://first' }))),
    'verified',
  );
  t.is(
    await faultOf(authenticator, bearer(await signer.sign({ aud: 'z' }))),
    'Audiences in Jwt are not allowed',
  );
});

test('a token that was seen is known at once, until it ends', async (t) => {
  const headers = bearer(await signer.sign({ exp: nowS + 600 }));
  const authenticator = rules({});
  t.true(authenticator.authenticate(headers, Date.now()) instanceof Promise);
  await authenticator.authenticate(headers, Date.now());
  const known = authenticator.authenticate(headers, Date.now());
  t.false(known instanceof Promise);
  t.like(known, { kind: 'verified' });
  const later = await authenticator.authenticate(headers, (nowS + 661) * 1000);
  t.deepEqual(later, { kind: 'refused', fault: 'Jwt is expired' });
  const startMs = performance.now();
  for (let round = 0; round < 1000; round++) void authenticator.authenticate(headers, Date.now());
  t.log(`${(performance.now() - startMs).toFixed(1)} us for a token that was seen`);
});

const outputs: Partial<JwtRule> = {
  outputPayloadToHeader: 'x-payload',
  outputClaimToHeaders: [
    { header: 'x-sub', claim: ['sub'] },
    { header: 'x-level', claim: ['n', 'level'] },
    { header: 'x-admin', claim: ['admin'] },
    { header: 'x-list', claim: ['list'] },
    { header: 'x-scope', claim: ['scope'] },
    { header: 'x-bad', claim: ['bad'] },
  ],
};

test('what a client says in our name is taken away, with a token and without (M1)', async (t) => {
  const forged = ['x-payload', 'forged', 'x-sub', 'admin', 'x-level', '9', 'x-kept', 'y'];
  const authenticator = rules(outputs);
  const outcome = await authenticator.authenticate(request(...forged), Date.now());
  if (outcome.kind === 'refused') return t.fail();
  t.deepEqual(applyTokens(authenticator, outcome, request(...forged)), request('x-kept', 'y'));
});

test('claims go on in headers, and the token does not', async (t) => {
  const authenticator = rules(outputs);
  const token = await signer.sign({
    ...{
      n: { level: 3 },
      admin: true,
      list: ['a'],
      scope: 'r w',
      bad: 'a\r\nx: y',
      sub: 'zo\u00eb',
    },
  });
  const headers = [...bearer(token), 'x-sub', 'forged'];
  const outcome = await identified(authenticator, headers);
  t.deepEqual(applyTokens(authenticator, outcome, headers), [
    ...request(),
    ...[
      'x-payload',
      token.split('.')[1] ?? '',
      'x-sub',
      Buffer.from('zo\u00eb').toString('latin1'),
    ],
    ...['x-level', '3', 'x-admin', 'true', 'x-scope', 'r w'],
  ]);
});

test('a token is taken from where it stood, unless it is to be forwarded', async (t) => {
  const token = await signer.sign();
  const places: Partial<JwtRule> = { fromParams: ['t'], fromCookies: ['s'] };
  const param = request().with(7, `/a?x=%41&t=${token}&y`);
  const cookie = request('cookie', `a=b; s=${token}; c=d`);
  const only = request('cookie', `s=${token}`);
  const apply = async (fields: Partial<JwtRule>, headers: string[]): Promise<readonly string[]> => {
    const authenticator = rules(fields);
    return applyTokens(authenticator, await identified(authenticator, headers), headers);
  };
  t.deepEqual(await apply(places, param), request().with(7, '/a?x=%41&y'));
  t.deepEqual(await apply(places, request().with(7, `/a?t=${token}`)), request());
  t.deepEqual(await apply(places, cookie), request('cookie', 'a=b; c=d'));
  t.deepEqual(await apply(places, only), request());
  t.deepEqual(await apply({ ...places, forwardOriginalToken: true }, cookie), cookie);
});

test('a refusal says why, as Envoy does', (t) => {
  const refusal = jwtRefusal('Jwt is expired', {
    scheme: 'http',
    authority: 'web:81',
    target: '/a"b?token=secret',
  });
  t.deepEqual(refusal, {
    ...{ status: 401, body: 'Jwt is expired' },
    headers: ['www-authenticate', 'Bearer realm="http://web:81/a%22b", error="invalid_token"'],
    details: 'jwt_authn_access_denied{Jwt_is_expired}',
  });
});
