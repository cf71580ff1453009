import type { PolicyKey } from './authorization.ts';

/** Which tokens are believed, where they are looked for, and what is told of them. */
export type JwtRule = Readonly<{
  issuer: string;
  /** One of them must be in the token; empty: any. */
  audiences: readonly string[];
  /** A JSON web key set. One without keys makes every token fail. */
  jwks: string;
  /** Names in lower case. Without any place, `Authorization: Bearer` and the parameter `access_token` are looked at. */
  fromHeaders: readonly Readonly<{ name: string; prefix: string }>[];
  fromParams: readonly string[];
  fromCookies: readonly string[];
  /** Gets the payload, in base64url; '' for none. */
  outputPayloadToHeader: string;
  outputClaimToHeaders: readonly Readonly<{ header: string; claim: readonly string[] }>[];
  /** Otherwise the token is taken out of the request. */
  forwardOriginalToken: boolean;
  /** Claims that are lists written as one text, beside `scope` and `permission`. */
  spaceDelimitedClaims: readonly string[];
}>;

/** A RequestAuthentication: a token that is there must be right by one of the rules; none need be there. */
export type RequestAuthentication = Readonly<{ key: PolicyKey; rules: readonly JwtRule[] }>;
