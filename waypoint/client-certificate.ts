import type { SpiffeId } from '../mesh/model/identity.ts';

/** What tells a back end who the client is; a client's own word for it is taken away (attack M1). */
export const CLIENT_CERTIFICATE = 'x-forwarded-client-cert';

/**
 * Its value: pairs in Envoy's order, with quotes where Envoy has them.
 *
 * @param by the waypoint.
 */
export function formatClientCertificate(by: SpiffeId, client: SpiffeId): string {
  return `By=${quoted(by)};URI=${quoted(client)}`;
}

function quoted(value: string): string {
  return /[,;="]/.test(value) ? `"${value.replaceAll('"', '\\"')}"` : value;
}
