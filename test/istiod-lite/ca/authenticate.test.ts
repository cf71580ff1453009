import { createHmac, createPublicKey } from 'node:crypto';
import { mkdtempSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { SignJWT } from 'jose';
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
