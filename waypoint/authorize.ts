import type { PolicyHit } from '../mesh/model/authorize.ts';
import type { HttpDecision } from '../mesh/model/compiled-http-policies.ts';
import type { PolicyConnection } from '../mesh/model/authorize.ts';
import type { PolicyRequest, RequestIdentity } from '../mesh/model/http-policy-values.ts';
import { remoteAddress, type RequestHead } from './request-headers.ts';

/** What policies look at of a request whose head was checked and whose path was normalised. */
export function policyRequest(
  connection: PolicyConnection,
  head: RequestHead,
  path: string,
  options: Readonly<{ sni: string; trustedProxies: number; identity?: RequestIdentity }>,
): PolicyRequest {
  const { hostname, hostPort, method, headers } = head;
  const { sni, trustedProxies, identity } = options;
  return {
    connection,
    remoteIp: remoteAddress(headers, connection.sourceIp, trustedProxies),
    sni,
    http: { hostname, hostPort, method, path, headers, ...(identity && { identity }) },
  };
}

/** How a request is answered that policy refuses, as Envoy answers it. */
export type PolicyRefusal = Readonly<{ status: 403; body: string; details: string }>;

export function policyRefusal({ by }: Pick<HttpDecision, 'by'>): PolicyRefusal {
  return { status: 403, body: 'RBAC: access denied', details: refusalDetails(by) };
}

/** `RESPONSE_CODE_DETAILS` of the access log: the rule that denied, or that none allowed. */
function refusalDetails(by: PolicyHit | undefined): string {
  if (by === undefined) return 'rbac_access_denied_matched_policy[none]';
  const [namespace = '', name = ''] = by.policy.split('/');
  return `rbac_access_denied_matched_policy[ns[${namespace}]-policy[${name}]-rule[${by.rule}]]`;
}
