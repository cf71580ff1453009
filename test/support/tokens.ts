import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { SignJWT, UnsecuredJWT, exportJWK, type JWTPayload } from 'jose';

export const TOKEN_ISSUER = 'https://halo.sandbox';
export const TOKEN_AUDIENCE = 'istio-ca';

export type TestAccount = Readonly<{
  namespace: string;
  serviceAccount: string;
  podName: string;
  podUid: string;
  node: string;
}>;

/** What signs service account tokens in a test, as the sandbox does. */
export type TokenIssuer = Readonly<{
  privateKey: KeyObject;
  /** Writes the key set that verifies them. */
  writeKeySet(path: string): Promise<void>;
  /** A token, with whatever claims or header a test wants otherwise. */
  token(
    account: TestAccount,
    odd?: Readonly<{ claims?: JWTPayload; issuer?: string; audience?: string; expiresAt?: number }>,
  ): Promise<string>;
}>;

export function makeTokenIssuer(keyId = 'key-1'): TokenIssuer {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return {
    privateKey,
    async writeKeySet(path) {
      const jwk = { ...(await exportJWK(publicKey)), kid: keyId, alg: 'ES256', use: 'sig' };
      writeFileSync(path, JSON.stringify({ keys: [jwk] }));
    },
    async token(account, odd = {}) {
      const now = Math.floor(Date.now() / 1000);
      return new SignJWT({ ...tokenClaims(account), ...odd.claims })
        .setProtectedHeader({ alg: 'ES256', kid: keyId })
        .setIssuer(odd.issuer ?? TOKEN_ISSUER)
        .setAudience(odd.audience ?? TOKEN_AUDIENCE)
        .setIssuedAt(now)
        .setExpirationTime(odd.expiresAt ?? now + 43_200)
        .sign(privateKey);
    },
  };
}

/** A token that nobody signed. */
export function unsignedToken(account: TestAccount): string {
  const now = Math.floor(Date.now() / 1000);
  return new UnsecuredJWT(tokenClaims(account))
    .setIssuer(TOKEN_ISSUER)
    .setAudience(TOKEN_AUDIENCE)
    .setIssuedAt(now)
    .setExpirationTime(now + 43_200)
    .encode();
}

export function tokenClaims(account: TestAccount): JWTPayload {
  const { namespace, serviceAccount, podName, podUid, node } = account;
  return {
    sub: `system:serviceaccount:${namespace}:${serviceAccount}`,
    'kubernetes.io': {
      namespace,
      serviceaccount: { name: serviceAccount },
      pod: { name: podName, uid: podUid },
      node: { name: node },
    },
  };
}
