import { ipToBytes, type Cidr } from '../../base/address.ts';
import { describeError, MeshError } from '../../base/errors.ts';
import type { AuthorizationPolicy, PolicyMatch, StringMatch } from '../model/authorization.ts';
import { decodeMessage } from '../proto/decode.ts';
import {
  Action,
  Authorization,
  Scope,
  type Address,
  type Match,
  type StringMatch as StringMatchMessage,
} from '../proto/gen/security.ts';
import { decodeCidr, decodeEnum, decodePort, encodeBytes, resourceError } from './codec-fields.ts';

/**
 * Decodes an istio.security.Authorization. Unknown fields are skipped; a part that cannot be read rejects the whole
 * policy, for leaving it out would make a DENY narrower or an ALLOW wider.
 *
 * @throws {MeshError} ERR_XDS_RESOURCE with the policy's name and the reason; ERR_PROTO for what is no message.
 */
export function decodeAuthorization(bytes: Uint8Array): AuthorizationPolicy {
  const message = decodeMessage(Authorization, bytes, 'an Authorization resource', 'upstream');
  const { name, namespace, dryRun } = message;
  try {
    if (name === '' || namespace === '') throw resourceError('no name or no namespace');
    return {
      name,
      namespace,
      scope: decodeEnum(Scope, message.scope, 'scope'),
      action: decodeEnum(Action, message.action, 'action'),
      dryRun,
      rules: message.rules.map(({ clauses }) => ({
        clauses: clauses.map(({ matches }) => ({ matches: matches.map(decodeMatch) })),
      })),
    };
  } catch (error) {
    if (!(error instanceof MeshError)) throw error;
    const what = JSON.stringify(`${namespace}/${name}`);
    throw resourceError(`Cannot use policy ${what}: ${describeError(error)}`);
  }
}

/** The bytes of an istio.security.Authorization; equal policies give equal bytes. */
export function encodeAuthorization(policy: AuthorizationPolicy): Uint8Array {
  const { name, namespace, dryRun } = policy;
  return Authorization.encode({
    name,
    namespace,
    scope: Scope[policy.scope],
    action: Action[policy.action],
    dryRun,
    rules: policy.rules.map(({ clauses }) => ({
      clauses: clauses.map(({ matches }) => ({ matches: matches.map(encodeMatch) })),
    })),
    extensions: [],
  }).finish();
}

function decodeMatch(match: Match): PolicyMatch {
  const texts = (list: readonly StringMatchMessage[], field: string): StringMatch[] =>
    list.map((each) => decodeStringMatch(each, field));
  const cidrs = (list: readonly Address[], field: string): Cidr[] =>
    list.map(({ address, length }) => decodeCidr(address, length, field));
  const ports = (list: readonly number[], field: string): number[] =>
    list.map((port) => decodePort(port, field, { zero: false }));
  return {
    namespaces: texts(match.namespaces, 'namespaces'),
    notNamespaces: texts(match.notNamespaces, 'not_namespaces'),
    principals: texts(match.principals, 'principals'),
    notPrincipals: texts(match.notPrincipals, 'not_principals'),
    serviceAccounts: match.serviceAccounts,
    notServiceAccounts: match.notServiceAccounts,
    sourceIps: cidrs(match.sourceIps, 'source_ips'),
    notSourceIps: cidrs(match.notSourceIps, 'not_source_ips'),
    destinationIps: cidrs(match.destinationIps, 'destination_ips'),
    notDestinationIps: cidrs(match.notDestinationIps, 'not_destination_ips'),
    destinationPorts: ports(match.destinationPorts, 'destination_ports'),
    notDestinationPorts: ports(match.notDestinationPorts, 'not_destination_ports'),
  };
}

function encodeMatch(match: PolicyMatch): Match {
  const cidrs = (list: readonly Cidr[]): Address[] =>
    list.map(({ ip, prefix }) => ({ address: encodeBytes(ipToBytes(ip)), length: prefix }));
  return {
    namespaces: match.namespaces.map(encodeStringMatch),
    notNamespaces: match.notNamespaces.map(encodeStringMatch),
    principals: match.principals.map(encodeStringMatch),
    notPrincipals: match.notPrincipals.map(encodeStringMatch),
    serviceAccounts: [...match.serviceAccounts],
    notServiceAccounts: [...match.notServiceAccounts],
    sourceIps: cidrs(match.sourceIps),
    notSourceIps: cidrs(match.notSourceIps),
    destinationIps: cidrs(match.destinationIps),
    notDestinationIps: cidrs(match.notDestinationIps),
    destinationPorts: [...match.destinationPorts],
    notDestinationPorts: [...match.notDestinationPorts],
    extensions: [],
  };
}

function decodeStringMatch({ matchType }: StringMatchMessage, field: string): StringMatch {
  if (matchType === undefined) throw resourceError(`a match of no kind in ${field}`);
  if (matchType.$case === 'presence') return { kind: 'presence' };
  return { kind: matchType.$case, value: matchType.value };
}

function encodeStringMatch(match: StringMatch): StringMatchMessage {
  if (match.kind === 'presence') return { matchType: { $case: 'presence', value: {} } };
  return { matchType: { $case: match.kind, value: match.value } };
}
