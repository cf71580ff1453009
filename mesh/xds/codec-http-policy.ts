import { ipToBytes, type Cidr } from '../../base/address.ts';
import { describeError, MeshError } from '../../base/errors.ts';
import { unreachable } from '../../base/unreachable.ts';
import type { PolicyKey, ServiceAccountMatch, StringMatch } from '../model/authorization.ts';
import type {
  ExternalAuthorizer,
  HttpAttribute,
  HttpCondition,
  HttpPolicy,
  HttpPolicyAction,
  HttpRule,
} from '../model/http-policy.ts';
import { parsePathTemplate, type PathTemplate } from '../model/path-template.ts';
import type { JwtRule, RequestAuthentication } from '../model/request-authentication.ts';
import type { SecurityTarget, TargetSecurity } from '../model/target-security.ts';
import { decodeMessage } from '../proto/decode.ts';
import {
  Attribute,
  HttpPolicy_Action as Action,
  TargetSecurity as TargetSecurityMessage,
  WaypointSettings_Paths as Paths,
  type Condition as ConditionMessage,
  type ConditionValue,
  type ExternalAuthorizer as AuthorizerMessage,
  type HttpPolicy as HttpPolicyMessage,
  type HttpPolicyRule as HttpRuleMessage,
  type JwtRule as JwtRuleMessage,
} from '../proto/gen/waypoint-security.ts';
import { decodeCidr, decodeEnum, decodePort, encodeBytes, resourceError } from './codec-fields.ts';

export const TARGET_SECURITY_TYPE = 'type.googleapis.com/halo.waypoint.v1alpha1.TargetSecurity';

const ATTRIBUTES = {
  'source.namespace': 'SOURCE_NAMESPACE',
  'source.principal': 'SOURCE_PRINCIPAL',
  'source.trustDomain': 'SOURCE_TRUST_DOMAIN',
  'source.serviceAccount': 'SOURCE_SERVICE_ACCOUNT',
  'source.ip': 'SOURCE_IP',
  'remote.ip': 'REMOTE_IP',
  'destination.ip': 'DESTINATION_IP',
  'destination.port': 'DESTINATION_PORT',
  'connection.sni': 'CONNECTION_SNI',
  'request.host': 'REQUEST_HOST',
  'request.method': 'REQUEST_METHOD',
  'request.path': 'REQUEST_PATH',
  'request.headers': 'REQUEST_HEADERS',
  'request.auth.principal': 'REQUEST_AUTH_PRINCIPAL',
  'request.auth.audiences': 'REQUEST_AUTH_AUDIENCES',
  'request.auth.presenter': 'REQUEST_AUTH_PRESENTER',
  'request.auth.claims': 'REQUEST_AUTH_CLAIMS',
} as const satisfies Readonly<Record<HttpAttribute, keyof typeof Attribute>>;

const ATTRIBUTE_OF: ReadonlyMap<string, HttpAttribute> = new Map(
  Object.entries(ATTRIBUTES).map(([attribute, name]) => [name, attribute as HttpAttribute]),
);

/**
 * Decodes a TargetSecurity. A part that cannot be read, or a field that is not known here, rejects the whole, for leaving
 * it out would make a DENY narrower or an ALLOW wider.
 *
 * @throws {MeshError} ERR_XDS_RESOURCE with the target's name and the reason; ERR_PROTO for what is no message.
 */
export function decodeTargetSecurity(bytes: Uint8Array): TargetSecurity {
  const message = decodeMessage(TargetSecurityMessage, bytes, 'a TargetSecurity', 'upstream');
  try {
    if (message.target === '') throw resourceError('no target');
    // Reading skips unknown fields, so that they are missing when it is written again.
    if (Buffer.compare(TargetSecurityMessage.encode(message).finish(), bytes) !== 0)
      throw resourceError('it has fields that are not known here');
    return {
      target: message.target as SecurityTarget,
      policies: message.policies.map(decodePolicy),
      authentications: message.authentications.map(
        ({ key, rules }): RequestAuthentication => ({
          key: decodeKey(key),
          rules: rules.map(decodeJwtRule),
        }),
      ),
      ...(message.settings && {
        settings: {
          ...message.settings,
          paths: decodeEnum(Paths, message.settings.paths, 'settings.paths'),
        },
      }),
    };
  } catch (error) {
    if (!(error instanceof MeshError)) throw error;
    const what = JSON.stringify(message.target);
    throw resourceError(`Cannot use the policies of ${what}: ${describeError(error)}`);
  }
}

/** The bytes of a TargetSecurity; equal ones give equal bytes. */
export function encodeTargetSecurity(security: TargetSecurity): Uint8Array {
  return TargetSecurityMessage.encode({
    target: security.target,
    policies: security.policies.map(encodePolicy),
    authentications: security.authentications.map(({ key, rules }) => ({
      key,
      rules: rules.map(encodeJwtRule),
    })),
    ...(security.settings && {
      settings: { ...security.settings, paths: Paths[security.settings.paths] },
    }),
  }).finish();
}

function decodeKey(key: string): PolicyKey {
  if (!/^[^/]+\/[^/]+$/.test(key))
    throw resourceError(`no policy has the name ${JSON.stringify(key)}`);
  return key as PolicyKey;
}

function decodePolicy(message: HttpPolicyMessage): HttpPolicy {
  return {
    key: decodeKey(message.key),
    action: decodeAction(message),
    dryRun: message.dryRun,
    rules: message.rules.map(decodeRule),
  };
}

function encodePolicy({ key, action, dryRun, rules }: HttpPolicy): HttpPolicyMessage {
  const custom = action.kind === 'CUSTOM' ? action : undefined;
  const authorizer = custom !== undefined && 'authorizer' in custom ? custom.authorizer : undefined;
  return {
    ...{ key, action: Action[action.kind], dryRun },
    rules: rules.map(encodeRule),
    authorizer: authorizer && encodeAuthorizer(authorizer),
    authorizerProblem: custom !== undefined && 'problem' in custom ? custom.problem : '',
  };
}

function decodeAction({
  action,
  authorizer,
  authorizerProblem,
}: HttpPolicyMessage): HttpPolicyAction {
  const kind = decodeEnum(Action, action, 'action');
  if (kind !== 'CUSTOM') return { kind };
  if (authorizerProblem !== '') return { kind, problem: authorizerProblem };
  if (authorizer === undefined) throw resourceError('CUSTOM without an authorizer');
  return { kind, authorizer: decodeAuthorizer(authorizer) };
}

function encodeAuthorizer({ http, ...authorizer }: ExternalAuthorizer): AuthorizerMessage {
  return {
    ...authorizer,
    includeHeaders: [...authorizer.includeHeaders],
    ...(http && {
      http: {
        pathPrefix: http.pathPrefix,
        additionalHeaders: [...http.additionalHeaders],
        headersToUpstreamOnAllow: [...http.headersToUpstreamOnAllow],
        headersToDownstreamOnDeny: [...http.headersToDownstreamOnDeny],
        headersToDownstreamOnAllow: [...http.headersToDownstreamOnAllow],
      },
    }),
  };
}

function decodeAuthorizer({ http, ...authorizer }: AuthorizerMessage): ExternalAuthorizer {
  const { host, port, statusOnError } = authorizer;
  if (host === '') throw resourceError('an authorizer without a host');
  if (statusOnError < 400 || statusOnError > 599)
    throw resourceError(`bad status_on_error ${statusOnError}`);
  return {
    ...authorizer,
    port: decodePort(port, 'authorizer.port', { zero: false }),
    ...(http && { http }),
  };
}

function decodeRule({ clauses }: HttpRuleMessage): HttpRule {
  return {
    clauses: clauses.map(({ matches }) => {
      // An empty one would hold for everything in one reading and for nothing in another.
      if (matches.length === 0) throw resourceError('a clause without matches');
      return {
        matches: matches.map(({ conditions }) => {
          if (conditions.length === 0) throw resourceError('a match without conditions');
          return { conditions: conditions.map(decodeCondition) };
        }),
      };
    }),
  };
}

function encodeRule({ clauses }: HttpRule): HttpRuleMessage {
  return {
    clauses: clauses.map(({ matches }) => ({
      matches: matches.map(({ conditions }) => ({ conditions: conditions.map(encodeCondition) })),
    })),
  };
}

function decodeCondition(message: ConditionMessage): HttpCondition {
  const attribute = ATTRIBUTE_OF.get(decodeEnum(Attribute, message.attribute, 'attribute'));
  if (attribute === undefined) throw resourceError('a condition without attribute');
  if (message.values.length + message.notValues.length === 0)
    throw resourceError(`a condition on ${attribute} without values`);
  const of = <T>(
    decode: (value: ConditionValue) => T,
  ): { values: readonly T[]; notValues: readonly T[] } => ({
    values: message.values.map(decode),
    notValues: message.notValues.map(decode),
  });
  switch (attribute) {
    case 'source.serviceAccount':
      return { attribute, ...of((value) => decodeAccount(value, attribute)) };
    case 'source.ip':
    case 'remote.ip':
    case 'destination.ip':
      return { attribute, ...of((value) => decodeNetwork(value, attribute)) };
    case 'destination.port':
      return { attribute, ...of((value) => decodePortValue(value, attribute)) };
    case 'request.path':
      return { attribute, ...of((value) => decodePath(value, attribute)) };
    case 'request.headers': {
      const [name = '', ...more] = message.names;
      if (name === '' || more.length > 0 || name !== name.toLowerCase())
        throw resourceError(`no header field has the name ${JSON.stringify(message.names)}`);
      return { attribute, name, ...of((value) => decodeText(value, attribute)) };
    }
    case 'request.auth.claims':
      if (message.names.length === 0) throw resourceError('a claim without a name');
      return { attribute, claim: message.names, ...of((value) => decodeText(value, attribute)) };
    default:
      return { attribute, ...of((value) => decodeText(value, attribute)) };
  }
}

function encodeCondition(condition: HttpCondition): ConditionMessage {
  const { attribute } = condition;
  const message = (values: ConditionValue[], notValues: ConditionValue[]): ConditionMessage => ({
    attribute: Attribute[ATTRIBUTES[attribute]],
    names: namesOf(condition),
    ...{ values, notValues },
  });
  switch (attribute) {
    case 'source.serviceAccount':
      return message(condition.values.map(encodeAccount), condition.notValues.map(encodeAccount));
    case 'source.ip':
    case 'remote.ip':
    case 'destination.ip':
      return message(condition.values.map(encodeNetwork), condition.notValues.map(encodeNetwork));
    case 'destination.port':
      return message(condition.values.map(encodePort), condition.notValues.map(encodePort));
    case 'request.path':
      return message(condition.values.map(encodePath), condition.notValues.map(encodePath));
    default:
      return message(condition.values.map(encodeText), condition.notValues.map(encodeText));
  }
}

function namesOf(condition: HttpCondition): string[] {
  if (condition.attribute === 'request.headers') return [condition.name];
  return condition.attribute === 'request.auth.claims' ? [...condition.claim] : [];
}

function wrongValue(attribute: string): MeshError {
  return resourceError(`a value of ${attribute} of a kind that it does not have`);
}

function decodeText({ value }: ConditionValue, attribute: string): StringMatch {
  switch (value?.$case) {
    case 'exact':
    case 'prefix':
    case 'suffix':
      return { kind: value.$case, value: value.value };
    case 'presence':
      return { kind: 'presence' };
    default:
      throw wrongValue(attribute);
  }
}

function encodeText(match: StringMatch): ConditionValue {
  switch (match.kind) {
    case 'exact':
    case 'prefix':
    case 'suffix':
      return { value: { $case: match.kind, value: match.value } };
    case 'presence':
      return { value: { $case: 'presence', value: true } };
    default:
      return unreachable(match);
  }
}

function decodePath(message: ConditionValue, attribute: string): StringMatch | PathTemplate {
  if (message.value?.$case !== 'template') return decodeText(message, attribute);
  const { value } = message.value;
  try {
    parsePathTemplate(value);
  } catch (cause) {
    throw resourceError('bad path template', cause);
  }
  return { kind: 'template', value };
}

function encodePath(match: StringMatch | PathTemplate): ConditionValue {
  if (match.kind !== 'template') return encodeText(match);
  return { value: { $case: 'template', value: match.value } };
}

function decodeNetwork({ value }: ConditionValue, attribute: string): Cidr {
  if (value?.$case !== 'network') throw wrongValue(attribute);
  return decodeCidr(value.value.address, value.value.length, attribute);
}

function encodeNetwork({ ip, prefix }: Cidr): ConditionValue {
  const address = encodeBytes(ipToBytes(ip));
  return { value: { $case: 'network', value: { address, length: prefix } } };
}

function decodePortValue({ value }: ConditionValue, attribute: string): number {
  if (value?.$case !== 'port') throw wrongValue(attribute);
  return decodePort(value.value, attribute, { zero: false });
}

function encodePort(port: number): ConditionValue {
  return { value: { $case: 'port', value: port } };
}

function decodeAccount({ value }: ConditionValue, attribute: string): ServiceAccountMatch {
  if (value?.$case !== 'account') throw wrongValue(attribute);
  return value.value;
}

function encodeAccount(account: ServiceAccountMatch): ConditionValue {
  return { value: { $case: 'account', value: account } };
}

function decodeJwtRule(rule: JwtRuleMessage): JwtRule {
  if (rule.issuer === '') throw resourceError('a token rule without an issuer');
  return rule;
}

function encodeJwtRule(rule: JwtRule): JwtRuleMessage {
  return {
    ...rule,
    audiences: [...rule.audiences],
    fromHeaders: [...rule.fromHeaders],
    fromParams: [...rule.fromParams],
    fromCookies: [...rule.fromCookies],
    outputClaimToHeaders: rule.outputClaimToHeaders.map(({ header, claim }) => ({
      header,
      claim: [...claim],
    })),
    spaceDelimitedClaims: [...rule.spaceDelimitedClaims],
  };
}
