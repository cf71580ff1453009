import { parseCidr } from '../../base/address.ts';
import { describeError } from '../../base/errors.ts';
import { isPathTemplate, parsePathTemplate } from '../model/path-template.ts';
import type { FieldPath, Report } from './problem.ts';
import type { Decoded } from './schema.ts';
import type {
  AuthorizationCondition,
  AuthorizationOperation,
  AuthorizationSource,
  authorizationPolicySchema,
  peerAuthenticationSchema,
  TargetReference,
} from './security.ts';
import { validateLabels } from './selector.ts';

type Policy = Decoded<typeof authorizationPolicySchema>;
type PolicyRule = NonNullable<Policy['spec']['rules']>[number];

/** Attributes that name who the caller is; an external authorizer (CUSTOM) runs before they are known. */
const IDENTITY_FIELDS = [
  ...(['namespaces', 'notNamespaces', 'principals', 'notPrincipals'] as const),
  ...(['serviceAccounts', 'notServiceAccounts'] as const),
  ...(['requestPrincipals', 'notRequestPrincipals', 'trustDomains', 'notTrustDomains'] as const),
];

/** `when` keys of Istio's reference; those in brackets take a name. */
const PLAIN_KEYS = new Set([
  ...['source.ip', 'remote.ip', 'source.namespace', 'source.principal'],
  ...['source.serviceAccount', 'source.trustDomain'],
  ...['request.auth.principal', 'request.auth.audiences', 'request.auth.presenter'],
  ...['destination.ip', 'destination.port', 'connection.sni'],
]);
const IDENTITY_KEYS =
  /^(?:source\.(?:namespace|principal|serviceAccount|trustDomain)$|request\.auth\.)/;
const BRACKET_KEYS = ['request.headers', 'request.auth.claims'];

const TARGETS = new Map([
  ['Service', ''],
  ['ServiceEntry', 'networking.istio.io'],
  ['Gateway', 'gateway.networking.k8s.io'],
  ['GatewayClass', 'gateway.networking.k8s.io'],
]);

/** istio/api type/v1beta1/selector.proto. */
const MAX_TARGETS = 16;

/** What Istio's admission refuses in an AuthorizationPolicy: a policy that would not do what it says. */
export function validateAuthorizationPolicy(policy: Policy, report: Report): void {
  const { spec } = policy;
  validateAttachment(policy, report);
  if (spec.action === 'CUSTOM' && (spec.provider === undefined || spec.provider.name === ''))
    report.error(['spec', 'provider', 'name'], 'is required with action CUSTOM');
  if (spec.action !== 'CUSTOM' && spec.provider !== undefined)
    report.error(['spec', 'provider'], `must not be set with action ${spec.action}`);
  if (spec.rules === undefined && (spec.action === 'DENY' || spec.action === 'CUSTOM'))
    report.error(
      ['spec', 'rules'],
      `is required with action ${spec.action}: without rules the policy never matches`,
      'write "rules: [{}]" to match everything',
    );
  spec.rules?.forEach((rule, index) => {
    validateRule(rule, ['spec', 'rules', index], spec.action, report);
  });
}

/** What a policy is attached to. */
type Attached = Readonly<{
  spec: Readonly<{
    selector?: Readonly<{ matchLabels: ReadonlyMap<string, string> }> | undefined;
    targetRef?: TargetReference | undefined;
    targetRefs: readonly TargetReference[];
  }>;
}>;

/** A policy has one way to say what it is for, and its targets are of kinds that a waypoint knows. */
export function validateAttachment({ spec }: Attached, report: Report): void {
  const attached = [
    spec.selector !== undefined && 'selector',
    spec.targetRef !== undefined && 'targetRef',
    spec.targetRefs.length > 0 && 'targetRefs',
  ].filter((field) => field !== false);
  if (attached.length > 1)
    report.error(
      ['spec', attached[1] ?? ''],
      `only one of selector, targetRef and targetRefs may be set: found ${attached.join(' and ')}`,
    );
  if (spec.targetRefs.length > MAX_TARGETS)
    report.error(['spec', 'targetRefs'], `has more than ${MAX_TARGETS} entries`);
  if (spec.selector !== undefined) validateSelector(spec.selector.matchLabels, report);
  spec.targetRefs.forEach((target, index) => {
    validateTarget(target, ['spec', 'targetRefs', index], report);
  });
  if (spec.targetRef !== undefined) validateTarget(spec.targetRef, ['spec', 'targetRef'], report);
}

/** A policy's target is of a kind that a waypoint knows, and in the policy's own namespace. */
export function validateTarget(target: TargetReference, path: FieldPath, report: Report): void {
  const group = TARGETS.get(target.kind);
  if (group === undefined || (target.group !== group && !(group === '' && target.group === 'core')))
    report.error(
      path,
      `cannot target ${target.group === '' ? '' : `${target.group}/`}${target.kind}`,
      'target a Service, a networking.istio.io ServiceEntry, or a gateway.networking.k8s.io Gateway or GatewayClass',
    );
  if (target.name === '') report.error([...path, 'name'], 'must not be empty');
  if (target.namespace !== '')
    report.error([...path, 'namespace'], 'must not be set: a policy targets its own namespace');
}

function validateSelector(labels: ReadonlyMap<string, string>, report: Report): void {
  const path = ['spec', 'selector', 'matchLabels'];
  for (const [key, value] of labels)
    if (key.includes('*') || value.includes('*'))
      report.error([...path, key], 'wildcards are not possible in a selector');
  validateLabels(labels, path, report);
  if (labels.size === 0)
    report.warn(
      ['spec', 'selector'],
      'is empty, so the policy covers the whole namespace',
      'leave selector out to say so',
    );
}

function validateRule(rule: PolicyRule, at: FieldPath, action: string, report: Report): void {
  if (rule.from?.length === 0) report.error([...at, 'from'], 'must not be empty');
  if (rule.to?.length === 0) report.error([...at, 'to'], 'must not be empty');
  rule.from?.forEach(({ source }, index) => {
    const path = [...at, 'from', index, 'source'];
    if (source === undefined || isEmpty(source)) report.error(path, 'must not be empty');
    else validateSource(source, path, action, report);
  });
  rule.to?.forEach(({ operation }, index) => {
    const path = [...at, 'to', index, 'operation'];
    if (operation === undefined || isEmpty(operation)) report.error(path, 'must not be empty');
    else validateOperation(operation, path, report);
  });
  rule.when.forEach((condition, index) => {
    validateCondition(condition, [...at, 'when', index], action, report);
  });
}

function isEmpty(lists: Readonly<Record<string, readonly string[]>>): boolean {
  return Object.values(lists).every((values) => values.length === 0);
}

function validateSource(
  source: AuthorizationSource,
  at: FieldPath,
  action: string,
  report: Report,
): void {
  if (action === 'CUSTOM')
    for (const field of IDENTITY_FIELDS)
      if (source[field].length > 0)
        report.error([...at, field], 'cannot be used with action CUSTOM');
  const accounts = source.serviceAccounts.length + source.notServiceAccounts.length > 0;
  const others = [
    ...[source.principals, source.notPrincipals, source.namespaces, source.notNamespaces],
  ];
  if (accounts && others.some((values) => values.length > 0))
    report.error(
      [...at, 'serviceAccounts'],
      'cannot be combined with principals or namespaces in one source',
    );
  validateTexts(source, at, report);
  for (const field of ['serviceAccounts', 'notServiceAccounts'] as const)
    validateAccounts(source[field], [...at, field], report);
  for (const field of ['principals', 'notPrincipals'] as const)
    source[field].forEach((value, index) => {
      if (value.startsWith('spiffe://'))
        report.warn(
          [...at, field, index],
          'never matches: a principal has no "spiffe://"',
          `write ${JSON.stringify(value.slice('spiffe://'.length))}`,
        );
    });
  for (const field of ['ipBlocks', 'notIpBlocks', 'remoteIpBlocks', 'notRemoteIpBlocks'] as const)
    validateIpBlocks(source[field], [...at, field], report);
}

function validateAccounts(values: readonly string[], at: FieldPath, report: Report): void {
  values.forEach((value, index) => {
    if (value.includes('*') || !/^[^/]+(?:\/[^/]+)?$/.test(value))
      report.error([...at, index], 'must be "<account>" or "<namespace>/<account>", no wildcard');
  });
}

function validateOperation(operation: AuthorizationOperation, at: FieldPath, report: Report): void {
  validateTexts(operation, at, report);
  validatePorts(operation.ports, [...at, 'ports'], report);
  validatePorts(operation.notPorts, [...at, 'notPorts'], report);
  for (const field of ['paths', 'notPaths'] as const)
    validatePaths(operation[field], [...at, field], report);
}

/** A template that cannot be read is an error; a "*" within a path that is none is a text that no one meant. */
function validatePaths(values: readonly string[], at: FieldPath, report: Report): void {
  values.forEach((value, index) => {
    if (!isPathTemplate(value)) {
      if (value.slice(1, -1).includes('*'))
        report.warn(
          [...at, index],
          'a "*" inside a path is taken literally',
          'write "{*}" for one segment or "{**}" for several',
        );
      return;
    }
    try {
      parsePathTemplate(value);
    } catch (error) {
      report.error([...at, index], describeError(error));
    }
  });
}

function validateTexts(
  lists: Readonly<Record<string, readonly string[]>>,
  at: FieldPath,
  report: Report,
): void {
  for (const [field, values] of Object.entries(lists))
    values.forEach((value, index) => {
      if (value === '') report.error([...at, field, index], 'must not be empty');
      else if (/\*/.test(value.slice(1, -1)) && field !== 'paths' && field !== 'notPaths')
        report.warn(
          [...at, field, index],
          'a "*" inside a value is taken literally',
          'wildcards work at the beginning or at the end',
        );
    });
}

function validateIpBlocks(values: readonly string[], at: FieldPath, report: Report): void {
  values.forEach((value, index) => {
    try {
      parseCidr(value);
    } catch {
      report.error(
        [...at, index],
        `is neither an IP address nor a CIDR: found ${JSON.stringify(value.slice(0, 80))}`,
      );
    }
  });
}

function validatePorts(values: readonly string[], at: FieldPath, report: Report): void {
  values.forEach((value, index) => {
    const number = /^\d{1,5}$/.test(value) ? Number(value) : 0;
    if (number < 1 || number > 65535)
      report.error(
        [...at, index],
        `is no port: found ${JSON.stringify(value.slice(0, 80))}`,
        'a text from "1" to "65535"',
      );
  });
}

function validateCondition(
  condition: AuthorizationCondition,
  at: FieldPath,
  action: string,
  report: Report,
): void {
  const { key, values, notValues } = condition;
  const bracketed = /^([a-z.]+)\[[^[\]]+\](?:\[[^[\]]+\])*$/.exec(key)?.[1];
  const known =
    PLAIN_KEYS.has(key) ||
    (bracketed !== undefined && BRACKET_KEYS.includes(bracketed)) ||
    key.startsWith('experimental.envoy.filters.');
  if (!known) report.error([...at, 'key'], `is unknown: found ${JSON.stringify(key.slice(0, 80))}`);
  if (values.length + notValues.length === 0)
    report.error([...at, 'values'], 'values or notValues must not be empty');
  if (action === 'CUSTOM' && IDENTITY_KEYS.test(key))
    report.error([...at, 'key'], `${key} cannot be used with action CUSTOM`);
  validateTexts({ values, notValues }, at, report);
  for (const [field, texts] of [
    ['values', values],
    ['notValues', notValues],
  ] as const) {
    if (key === 'source.ip' || key === 'destination.ip' || key === 'remote.ip')
      validateIpBlocks(texts, [...at, field], report);
    if (key === 'destination.port') validatePorts(texts, [...at, field], report);
    if (key === 'source.serviceAccount') validateAccounts(texts, [...at, field], report);
  }
}

/** What Istio's admission refuses in a PeerAuthentication. */
export function validatePeerAuthentication(
  policy: Decoded<typeof peerAuthenticationSchema>,
  report: Report,
): void {
  const { selector, portLevelMtls } = policy.spec;
  if (selector !== undefined) validateSelector(selector.matchLabels, report);
  if (portLevelMtls.size > 0 && (selector === undefined || selector.matchLabels.size === 0))
    report.error(['spec', 'portLevelMtls'], 'needs a selector with labels');
  for (const port of portLevelMtls.keys()) {
    const number = /^\d{1,5}$/.test(port) ? Number(port) : 0;
    if (number < 1 || number > 65535)
      report.error(['spec', 'portLevelMtls', port], 'is no port from 1 to 65535');
  }
}
