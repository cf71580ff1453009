import { perObject } from '../../base/per-object.ts';
import type { RateLimitMatch } from '../../mesh/model/rate-limit.ts';
import { stringMatches } from '../../mesh/model/authorize.ts';
import { identityParts, principalOf } from '../../mesh/model/identity.ts';
import type { Downstream } from '../downstream.ts';

/** Who sends the requests of a connection, as rules ask for it. Texts are '' for a client without an identity. */
export type Client = Readonly<{
  principal: string;
  namespace: string;
  serviceAccount: string;
  address: string;
  /** By whose certificate, or else from where: what the keys are counted by that it brings in. */
  owner: string;
}>;

/** Of a connection; made once. */
export const clientOf = perObject(({ identity, remote }: Downstream): Client => {
  const parts =
    identity === undefined ? { namespace: '', serviceAccount: '' } : identityParts(identity);
  return {
    principal: identity === undefined ? '' : principalOf(identity),
    ...{ namespace: parts.namespace, serviceAccount: parts.serviceAccount, address: remote.ip },
    owner: identity ?? remote.ip,
  };
});

/** Whether the client is one that the match is about. */
export function clientMatches(match: RateLimitMatch, client: Client): boolean {
  const { principals, namespaces, serviceAccounts } = match;
  // Without an identity every text is empty, and "*" is for those that have one.
  const isNamed = client.principal !== '';
  if (principals.length > 0)
    if (!isNamed || !principals.some((wanted) => stringMatches(wanted, client.principal)))
      return false;
  if (namespaces.length > 0)
    if (!isNamed || !namespaces.some((wanted) => stringMatches(wanted, client.namespace)))
      return false;
  if (serviceAccounts.length === 0) return true;
  return serviceAccounts.some(
    ({ namespace, serviceAccount }) =>
      namespace === client.namespace && serviceAccount === client.serviceAccount,
  );
}
