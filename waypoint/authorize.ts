import type { SocketAddress } from '../base/address.ts';
import type { PolicyConnection, PolicyHit } from '../mesh/model/authorize.ts';
import type { HttpDecision } from '../mesh/model/compiled-http-policies.ts';
import type { PolicyRequest, RequestIdentity } from '../mesh/model/http-policy-values.ts';
import type { SpiffeId } from '../mesh/model/identity.ts';
import { splitAuthority } from '../net/http1/authority.ts';
import { remoteAddress } from './remote-address.ts';
import type { RequestHead } from './request-head.ts';

/** Who calls what, by one connection. */
export type PolicyEnds = Readonly<{
  remote: SocketAddress;
  local: SocketAddress;
  identity?: SpiffeId | undefined;
}>;

export function policyConnection({ remote, local, identity }: PolicyEnds): PolicyConnection {
  return {
    ...{ sourceIp: remote.ip, destinationIp: local.ip, destinationPort: local.port },
    ...(identity && { sourceIdentity: identity }),
  };
}

/** What policies look at of a request whose head was checked and whose path was normalised. */
export function policyRequest(
  { head, downstream }: Readonly<{ head: RequestHead; downstream: PolicyEnds }>,
  { trustedProxies, identity }: Readonly<{ trustedProxies: number; identity?: RequestIdentity }>,
): PolicyRequest {
  const { authority, forwardedFor, path, list: headers } = head;
  const [hostname, port] = splitAuthority(authority);
  const query = path.indexOf('?');
  return {
    connection: policyConnection(downstream),
    remoteIp: remoteAddress(forwardedFor, downstream.remote.ip, trustedProxies),
    sni: '',
    http: {
      ...{ hostname, hostPort: port ?? DEFAULT_PORT, method: methodOf(head), headers },
      path: query < 0 ? path : path.slice(0, query),
      ...(identity && { identity }),
    },
  };
}

/** Of http, which is all that is spoken in a tunnel. */
const DEFAULT_PORT = 80;

/** A WebSocket that is opened by HTTP/2 comes as CONNECT (RFC 8441); by HTTP/1.1 it is a GET, and no rule should tell them apart. */
function methodOf({ method, protocol }: RequestHead): string {
  return method === 'CONNECT' && protocol !== '' ? 'GET' : method;
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
