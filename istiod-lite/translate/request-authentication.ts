import {
  jwksUriOf,
  type RequestAuthentication as Resource,
  type RequestAuthenticationRule,
} from '../../mesh/kubernetes/request-authentication.ts';
import { policyKey } from '../../mesh/model/authorization.ts';
import type { JwtRule, RequestAuthentication } from '../../mesh/model/request-authentication.ts';

/** Where the keys of a rule come from. */
export type KeySource = Readonly<{ kind: 'uri'; uri: string } | { kind: 'issuer'; issuer: string }>;

/** One text for each source, and for no other. */
export function formatKeySource(source: KeySource): string {
  return source.kind === 'uri' ? `uri ${source.uri}` : `issuer ${source.issuer}`;
}

/** The key set of a source as it was last fetched; `undefined` while there is none. */
export type KeysOf = (source: KeySource) => string | undefined;

/** No token is signed by one of these. */
const NO_KEYS = '{"keys":[]}';

/** Where the keys have to be fetched; `undefined` where the rule holds them. */
export function keySourceOf(rule: RequestAuthenticationRule): KeySource | undefined {
  if (rule.jwks !== '') return undefined;
  const uri = jwksUriOf(rule);
  return uri === '' ? { kind: 'issuer', issuer: rule.issuer } : { kind: 'uri', uri };
}

/** A RequestAuthentication with its keys; a rule whose keys are not there yet lets no token pass. */
export function translateRequestAuthentication(
  { spec, ref }: Resource,
  keysOf: KeysOf,
): RequestAuthentication {
  return {
    key: policyKey(ref.namespace, ref.name),
    rules: spec.jwtRules.map((rule): JwtRule => {
      const source = keySourceOf(rule);
      return {
        issuer: rule.issuer,
        audiences: rule.audiences,
        jwks: source === undefined ? rule.jwks : (keysOf(source) ?? NO_KEYS),
        fromHeaders: rule.fromHeaders.map(({ name, prefix }) => ({
          name: name.toLowerCase(),
          prefix,
        })),
        fromParams: rule.fromParams,
        fromCookies: rule.fromCookies,
        outputPayloadToHeader: rule.outputPayloadToHeader.toLowerCase(),
        outputClaimToHeaders: rule.outputClaimToHeaders.map(({ header, claim }) => ({
          header: header.toLowerCase(),
          claim: claim.split('.'),
        })),
        forwardOriginalToken: rule.forwardOriginalToken,
        spaceDelimitedClaims: rule.spaceDelimitedClaims,
      };
    }),
  };
}
