import { createHmac, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { exportJWK, SignJWT, type JWK, type JWTPayload } from 'jose';
import { policyKey } from '../../mesh/model/authorization.ts';
import type { JwtRule, RequestAuthentication } from '../../mesh/model/request-authentication.ts';

export const JWT_ISSUER = 'https://issuer.example';

/** Who signs tokens of people in a test. */
export type JwtSigner = Readonly<{
  privateKey: KeyObject;
  publicKey: KeyObject;
  jwk: JWK;
  /** A token that is right for an hour, where nothing else is said. */
  sign(claims?: JWTPayload, header?: Readonly<Record<string, unknown>>): Promise<string>;
}>;

export async function makeJwtSigner(
  kid = 'k1',
  algorithm: 'ES256' | 'RS256' = 'ES256',
): Promise<JwtSigner> {
  const { privateKey, publicKey } =
    algorithm === 'ES256'
      ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
      : generateKeyPairSync('rsa', { modulusLength: 2048 });
  const jwk = { ...(await exportJWK(publicKey)), kid, alg: algorithm };
  return {
    ...{ privateKey, publicKey, jwk },
    sign: (claims = {}, header = {}) => {
      const exp = Math.floor(Date.now() / 1000) + 3600;
      return new SignJWT({ iss: JWT_ISSUER, sub: 'alice', exp, ...claims })
        .setProtectedHeader({ alg: algorithm, kid, ...header })
        .sign(privateKey);
    },
  };
}

/** A token of exactly these parts, signed by nobody, or with HMAC by a secret. */
export function forgeToken(header: unknown, payload: unknown, secret?: string | Buffer): string {
  const part = (value: unknown): string =>
    Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
  const signed = `${part(header)}.${part(payload)}`;
  const signature =
    secret === undefined ? '' : createHmac('sha256', secret).update(signed).digest('base64url');
  return `${signed}.${signature}`;
}

export function makeJwtRule(signers: readonly JwtSigner[], fields: Partial<JwtRule> = {}): JwtRule {
  return {
    ...{
      issuer: JWT_ISSUER,
      audiences: [],
      jwks: JSON.stringify({ keys: signers.map(({ jwk }) => jwk) }),
    },
    ...{ fromHeaders: [], fromParams: [], fromCookies: [], outputPayloadToHeader: '' },
    ...{ outputClaimToHeaders: [], forwardOriginalToken: false, spaceDelimitedClaims: [] },
    ...fields,
  };
}

export function authenticationOf(...rules: readonly JwtRule[]): RequestAuthentication {
  return { key: policyKey('shop', 'tokens'), rules };
}
