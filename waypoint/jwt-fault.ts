/** Why a token is refused, in Envoy's words. */
export type JwtFault =
  | 'Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections'
  | 'Jwt header is an invalid JSON'
  | 'Jwt payload is an invalid JSON'
  | 'Jwt header [alg] is not supported'
  | 'Jwt issuer is not configured'
  | 'Jwt is expired'
  | 'Jwt not yet valid'
  | 'Audiences in Jwt are not allowed'
  | "Jwks doesn't have key to match kid or alg from Jwt"
  | 'Jwt verification fails';
