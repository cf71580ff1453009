import { createHmac, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, renameSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { SignJWT } from 'jose';
import { MeshError } from '../../../base/errors.ts';
import { TokenAuthenticator } from '../../../istiod-lite/ca/authenticate.ts';
import {
  TOKEN_AUDIENCE,
  TOKEN_ISSUER,
  makeTokenIssuer,
  tokenClaims,
  unsignedToken,
  type TokenIssuer,
} from '../../support/tokens.ts';

const ZTUNNEL = {
  namespace: 'istio-system',
  serviceAccount: 'ztunnel',
  podName: 'ztunnel-a',
  podUid: 'uid-1',
  node: 'node-a',
};
const issuer = makeTokenIssuer();

async function start(t: ExecutionContext): Promise<{
  authenticator: TokenAuthenticator;
  keySetFile: string;
  clock: { now: number };
  problems: string[];
}> {
  const folder = mkdtempSync(join(tmpdir(), 'halo-tokens-'));
  t.teardown(() => {
    rmSync(folder, { recursive: true });
  });
  const keySetFile = join(folder, 'keys.json');
  await issuer.writeKeySet(keySetFile);
  const clock = { now: Date.now() };
  const problems: string[] = [];
  const authenticator = new TokenAuthenticator({
    keySetFile,
    issuer: TOKEN_ISSUER,
    audiences: [TOKEN_AUDIENCE, 'other'],
    now: () => clock.now,
    onProblem: ({ message }) => problems.push(message),
  });
  return { authenticator, keySetFile, clock, problems };
}

test('a token proves namespace, account, pod and node', async (t) => {
  const { authenticator } = await start(t);
  const token = await issuer.token(ZTUNNEL);
  t.deepEqual(await authenticator.authenticate([`Bearer ${token}`]), ZTUNNEL);
  t.deepEqual(await authenticator.authenticate([`bearer ${token}`]), ZTUNNEL);
});

test('a token without pod and node proves the account alone', async (t) => {
  const { authenticator } = await start(t);
  const token = await issuer.token(ZTUNNEL, { claims: { 'kubernetes.io': undefined } });
  const { namespace, serviceAccount } = ZTUNNEL;
  t.deepEqual(await authenticator.authenticate([`Bearer ${token}`]), {
    ...{ namespace, serviceAccount },
    ...{ podName: '', podUid: '', node: '' },
  });
});

const refused = test.macro({
  async exec(t, makeHeaders: (signer: TokenIssuer) => Promise<readonly string[]>) {
    const { authenticator } = await start(t);
    const headers = await makeHeaders(issuer);
    const error = await t.throwsAsync(authenticator.authenticate(headers), {
      code: 'ERR_UNAUTHENTICATED',
    });
    for (const header of headers) {
      const token = header.split(' ')[1] ?? '';
      if (token.length > 20) t.false(error.message.includes(token), 'the token is in no message');
    }
  },
  title: (given = '') => `a caller is refused with ${given} (T11)`,
});

const now = Math.floor(Date.now() / 1000);
const bearer = async (token: Promise<string> | string): Promise<readonly string[]> => [
  `Bearer ${await token}`,
];
test('no token', refused, () => Promise.resolve([]));
test('another scheme', refused, () => Promise.resolve(['Basic dXNlcjpwYXNz']));
test('two tokens', refused, async (signer) => [
  ...(await bearer(signer.token(ZTUNNEL))),
  ...(await bearer(signer.token(ZTUNNEL))),
]);
test('what is no token', refused, () => bearer('a.b.c'));
test('a token of 64 KiB', refused, (signer) =>
  bearer(signer.token(ZTUNNEL, { claims: { filler: 'x'.repeat(48 * 1024) } })),
);
test('an expired token', refused, (signer) =>
  bearer(signer.token(ZTUNNEL, { expiresAt: now - 1 })),
);
test('a token that is not valid yet', refused, (signer) =>
  bearer(signer.token(ZTUNNEL, { claims: { nbf: now + 60 } })),
);
test('a token for another audience', refused, (signer) =>
  bearer(signer.token(ZTUNNEL, { audience: 'api' })),
);
test("another cluster's token", refused, (signer) =>
  bearer(signer.token(ZTUNNEL, { issuer: 'https://elsewhere' })),
);
test('a token signed by somebody else', refused, () => bearer(makeTokenIssuer().token(ZTUNNEL)));
test('a token signed by somebody else with another key name', refused, () =>
  bearer(makeTokenIssuer('key-2').token(ZTUNNEL)),
);
test('an unsigned token', refused, () => bearer(unsignedToken(ZTUNNEL)));
for (const alg of ['none', 'None', 'NONE'])
  test(`a signature of the algorithm ${alg}`, refused, async (signer) => {
    const [, payload = '', signature = ''] = (await signer.token(ZTUNNEL)).split('.');
    const header = Buffer.from(JSON.stringify({ alg })).toString('base64url');
    return bearer(`${header}.${payload}.${signature}`);
  });
test('a shared-secret signature made with the public key', refused, (signer) => {
  const pem = createPublicKey(signer.privateKey).export({ type: 'spki', format: 'pem' });
  const encode = (value: object): string =>
    Buffer.from(JSON.stringify(value)).toString('base64url');
  const claims = { ...tokenClaims(ZTUNNEL), iss: TOKEN_ISSUER, aud: TOKEN_AUDIENCE };
  const body = `${encode({ alg: 'HS256', kid: 'key-1' })}.${encode({ ...claims, iat: now, exp: now + 60 })}`;
  return bearer(`${body}.${createHmac('sha256', pem).update(body).digest('base64url')}`);
});
test('a signature of zeros', refused, async (signer) => {
  const [header = '', payload = ''] = (await signer.token(ZTUNNEL)).split('.');
  return bearer(`${header}.${payload}.${Buffer.alloc(64).toString('base64url')}`);
});
test('a key of its own in the header', refused, async (signer) => {
  const stranger = makeTokenIssuer();
  const jwk = createPublicKey(stranger.privateKey).export({ format: 'jwk' });
  const { x = '', y = '' } = jwk;
  return bearer(
    new SignJWT(tokenClaims(ZTUNNEL))
      .setProtectedHeader({ alg: 'ES256', kid: 'key-1', jwk: { kty: 'EC', crv: 'P-256', x, y } })
      .setIssuer(TOKEN_ISSUER)
      .setAudience(TOKEN_AUDIENCE)
      .setIssuedAt(now)
      .setExpirationTime(now + 60)
      .sign(signer === issuer ? stranger.privateKey : signer.privateKey),
  );
});
test('a token without an end', refused, (signer) =>
  bearer(
    new SignJWT({ ...tokenClaims(ZTUNNEL), iss: TOKEN_ISSUER, aud: TOKEN_AUDIENCE })
      .setProtectedHeader({ alg: 'ES256', kid: 'key-1' })
      .setIssuedAt(now)
      .sign(signer.privateKey),
  ),
);

const claims = (odd: Record<string, unknown>) => (signer: TokenIssuer) =>
  bearer(signer.token(ZTUNNEL, { claims: odd }));
test('a subject that is a user', refused, claims({ sub: 'admin' }));
test(
  'a subject of four parts',
  refused,
  claims({ sub: 'system:serviceaccount:istio-system:ztunnel:x' }),
);
test('a subject with a slash', refused, claims({ sub: 'system:serviceaccount:a/sa/b:c' }));
test('an empty account', refused, claims({ sub: 'system:serviceaccount:istio-system:' }));
test(
  'a namespace that differs from its subject',
  refused,
  claims({ 'kubernetes.io': { namespace: 'shop' } }),
);
test(
  'an account that differs from its subject',
  refused,
  claims({ 'kubernetes.io': { serviceaccount: { name: 'web' } } }),
);
test('claims of another shape', refused, claims({ 'kubernetes.io': { pod: ['x'] } }));
test('a node that is no text', refused, claims({ 'kubernetes.io': { node: { name: 7 } } }));

test('a token that was accepted is refused once it has expired (T11)', async (t) => {
  const { authenticator, clock } = await start(t);
  const headers = await bearer(issuer.token(ZTUNNEL, { expiresAt: now + 600 }));
  t.is((await authenticator.authenticate(headers)).node, 'node-a');
  clock.now += 601_000;
  await t.throwsAsync(authenticator.authenticate(headers), { code: 'ERR_UNAUTHENTICATED' });
});

test('new keys hold as soon as the file has them, and the old ones no more', async (t) => {
  const { authenticator, keySetFile } = await start(t);
  const old = await bearer(issuer.token(ZTUNNEL));
  await authenticator.authenticate(old);
  const next = makeTokenIssuer('key-2');
  await next.writeKeySet(keySetFile);
  t.is((await authenticator.authenticate(await bearer(next.token(ZTUNNEL)))).podUid, 'uid-1');
  await t.throwsAsync(authenticator.authenticate(old), { code: 'ERR_UNAUTHENTICATED' });
});

test('the last good keys stay when the file breaks or goes, and that is told once', async (t) => {
  const { authenticator, keySetFile, problems } = await start(t);
  await authenticator.authenticate(await bearer(issuer.token(ZTUNNEL)));
  writeFileSync(keySetFile, '{"keys": [');
  await authenticator.authenticate(await bearer(issuer.token(ZTUNNEL)));
  await authenticator.authenticate(await bearer(issuer.token(ZTUNNEL)));
  t.is(problems.length, 1);
  unlinkSync(keySetFile);
  await authenticator.authenticate(await bearer(issuer.token(ZTUNNEL)));
  t.is(problems.length, 2);
});

test('without any keys everyone is refused', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'halo-tokens-'));
  t.teardown(() => {
    rmSync(folder, { recursive: true });
  });
  const keySetFile = join(folder, 'keys.json');
  const rules = { keySetFile, issuer: TOKEN_ISSUER, audiences: [TOKEN_AUDIENCE] };
  const authenticator = new TokenAuthenticator(rules);
  const headers = await bearer(issuer.token(ZTUNNEL));
  await t.throwsAsync(authenticator.authenticate(headers), { code: 'ERR_KEY_SET' });
  const shared = Buffer.from('secret').toString('base64url');
  writeFileSync(keySetFile, JSON.stringify({ keys: [{ kty: 'oct', k: shared, kid: 'key-1' }] }));
  await t.throwsAsync(authenticator.authenticate(headers), { code: 'ERR_KEY_SET' });
});

test('a good token by another scheme, or with words behind it, proves nothing', async (t) => {
  const { authenticator } = await start(t);
  const token = await issuer.token(ZTUNNEL);
  for (const header of [`Basic ${token}`, token, `Bearer ${token} ${token}`, `Bearer  ${token}`])
    await t.throwsAsync(authenticator.authenticate([header]), {
      message: /found no bearer token$/,
    });
});

const reasons: readonly (readonly [
  reason: string,
  headers: (signer: TokenIssuer) => Promise<readonly string[]> | readonly string[],
])[] = [
  ['no bearer token', () => []],
  ['no bearer token', () => ['Bearer']],
  ['several authorization headers', () => ['Bearer a', 'Bearer b']],
  ['a token of 16385 bytes', () => [`Bearer ${'x'.repeat(16_385)}`]],
  ['a token that does not verify', () => [`Bearer ${'x'.repeat(16_384)}`]],
  ['a subject that is no service account', claims({ sub: 'admin' })],
  ['a subject that is no service account', claims({ sub: 'system:serviceaccount:' })],
  ['a subject that is no service account', claims({ sub: 'system:serviceaccount:shop' })],
  ['a subject that is no service account', claims({ sub: 'system:serviceaccount:a:b:c' })],
  ['a subject that is no service account', claims({ sub: 'system-serviceaccounts:a:b' })],
  [
    'a subject and Kubernetes claims that differ',
    claims({ 'kubernetes.io': { namespace: 'shop' } }),
  ],
  ['a claim kubernetes.io of another shape', claims({ 'kubernetes.io': null })],
  ['a claim kubernetes.io of another shape', claims({ 'kubernetes.io': 'x' })],
  ['a claim pod of another shape', claims({ 'kubernetes.io': { pod: ['x'] } })],
  ['a claim uid of another shape', claims({ 'kubernetes.io': { pod: { uid: 1 } } })],
];
for (const [index, [reason, headers]] of reasons.entries())
  test(`the log tells of ${reason} (${index})`, async (t) => {
    const { authenticator } = await start(t);
    const error = await t.throwsAsync(authenticator.authenticate(await headers(issuer)), {
      instanceOf: MeshError,
    });
    t.is(error.message, `Cannot authenticate caller: found ${reason}`);
    t.is(error.side, 'downstream');
  });

for (const claim of ['sub', 'iat'])
  test(`a token without ${claim} is refused as one that does not verify`, async (t) => {
    const { authenticator } = await start(t);
    const all = Object.entries({ ...tokenClaims(ZTUNNEL), iat: now });
    const token = await new SignJWT(Object.fromEntries(all.filter(([name]) => name !== claim)))
      .setProtectedHeader({ alg: 'ES256', kid: 'key-1' })
      .setIssuer(TOKEN_ISSUER)
      .setAudience(TOKEN_AUDIENCE)
      .setExpirationTime(now + 60)
      .sign(issuer.privateKey);
    await t.throwsAsync(authenticator.authenticate([`Bearer ${token}`]), {
      message: /found a token that does not verify$/,
    });
  });

const rsaKeys = generateKeyPairSync('rsa', { modulusLength: 2048 });
const algorithms = [
  ...['RS256', 'RS384', 'RS512', 'PS256'].map((alg) => [alg, rsaKeys] as const),
  ['ES384', generateKeyPairSync('ec', { namedCurve: 'P-384' })],
] as const;
for (const [alg, { privateKey, publicKey }] of algorithms)
  test(`a token signed with ${alg} is accepted, as clusters have them`, async (t) => {
    const { authenticator, keySetFile } = await start(t);
    const jwk = { ...publicKey.export({ format: 'jwk' }), kid: 'other', alg, use: 'sig' };
    writeFileSync(keySetFile, JSON.stringify({ keys: [jwk] }));
    const token = await new SignJWT(tokenClaims(ZTUNNEL))
      .setProtectedHeader({ alg, kid: 'other' })
      .setIssuer(TOKEN_ISSUER)
      .setAudience(TOKEN_AUDIENCE)
      .setIssuedAt(now)
      .setExpirationTime(now + 60)
      .sign(privateKey);
    t.deepEqual(await authenticator.authenticate([`Bearer ${token}`]), ZTUNNEL);
  });

/** A token that verifies now, and a moment ago did not: accepted then, it was remembered. */
const fresh = (id = 0): Promise<readonly string[]> =>
  bearer(
    issuer.token(ZTUNNEL, { claims: { nbf: now - 1, jti: String(id) }, expiresAt: now + 600 }),
  );

test('a token is verified once, and remembered until the second in which it expires', async (t) => {
  const { authenticator, clock } = await start(t);
  const headers = await fresh();
  await authenticator.authenticate(headers);
  clock.now = (now - 60) * 1000;
  t.deepEqual(await authenticator.authenticate(headers), ZTUNNEL);
  await t.throwsAsync(authenticator.authenticate(await fresh(1)), {
    code: 'ERR_UNAUTHENTICATED',
  });
  clock.now = (now + 600) * 1000;
  await t.throwsAsync(authenticator.authenticate(headers), { code: 'ERR_UNAUTHENTICATED' });
});

test('of the tokens that were verified 4096 are remembered, the last ones', async (t) => {
  const { authenticator, clock } = await start(t);
  const [first, second] = [await fresh(1), await fresh(2)];
  for (const headers of [first, second]) await authenticator.authenticate(headers);
  for (let id = 3; id <= 4097; id++) await authenticator.authenticate(await fresh(id));
  clock.now = (now - 60) * 1000;
  t.deepEqual(await authenticator.authenticate(second), ZTUNNEL);
  await t.throwsAsync(authenticator.authenticate(first), { code: 'ERR_UNAUTHENTICATED' });
});

test('a token whose keys went while it was verified is not remembered', async (t) => {
  const { authenticator, keySetFile } = await start(t);
  const next = makeTokenIssuer('key-2');
  await next.writeKeySet(`${keySetFile}.next`);
  const nextHeaders = await bearer(next.token(ZTUNNEL));
  const old = await fresh();
  const verifying = authenticator.authenticate(old);
  renameSync(`${keySetFile}.next`, keySetFile);
  const withNext = authenticator.authenticate(nextHeaders);
  t.deepEqual(await verifying, ZTUNNEL, 'it began while the old keys held');
  t.deepEqual(await withNext, ZTUNNEL);
  await t.throwsAsync(authenticator.authenticate(old), { code: 'ERR_UNAUTHENTICATED' });
});
