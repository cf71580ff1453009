import { TOKEN_NAME } from './gateway-values.ts';
import type { ObjectBase } from './object.ts';
import type { FieldPath, Report } from './problem.ts';
import { bool, fields, list, optional, required, text, type Decoded } from './schema.ts';
import { targetReference, workloadSelector } from './security.ts';
import { validateAttachment } from './validate-security.ts';

const jwtRule = fields({
  issuer: required(text()),
  audiences: list(text()),
  jwksUri: text(),
  jwks_uri: text(),
  jwks: text(),
  fromHeaders: list(fields({ name: required(text()), prefix: text() })),
  fromParams: list(text()),
  fromCookies: list(text()),
  outputPayloadToHeader: text(),
  outputClaimToHeaders: list(fields({ header: required(text()), claim: required(text()) })),
  forwardOriginalToken: bool(),
  timeout: text(),
  spaceDelimitedClaims: list(text()),
});

export const requestAuthenticationSchema = fields(
  {
    spec: fields({
      selector: optional(workloadSelector),
      targetRef: optional(targetReference),
      targetRefs: list(targetReference),
      jwtRules: list(jwtRule),
    }),
  },
  'error',
  ['apiVersion', 'kind', 'metadata', 'status'],
);

export type RequestAuthentication = ObjectBase &
  Readonly<{ kind: 'RequestAuthentication' }> &
  Decoded<typeof requestAuthenticationSchema>;
export type RequestAuthenticationRule = RequestAuthentication['spec']['jwtRules'][number];

/** Where a rule's keys are; '' where its issuer has to be asked. */
export function jwksUriOf(rule: RequestAuthenticationRule): string {
  return rule.jwksUri === '' ? rule.jwks_uri : rule.jwksUri;
}

const BOTH_URIS = 'jwksUri and jwks_uri are two names of one field';

/** What Istio's admission refuses in a RequestAuthentication. */
export function validateRequestAuthentication(
  policy: Decoded<typeof requestAuthenticationSchema>,
  report: Report,
): void {
  validateAttachment(policy, report);
  policy.spec.jwtRules.forEach((rule, index) => {
    validateRule(rule, ['spec', 'jwtRules', index], report);
  });
}

function validateRule(rule: RequestAuthenticationRule, at: FieldPath, report: Report): void {
  if (rule.issuer === '') report.error([...at, 'issuer'], 'must not be empty');
  rule.audiences.forEach((audience, index) => {
    if (audience === '') report.error([...at, 'audiences', index], 'must not be empty');
  });
  if (rule.jwksUri !== '' && rule.jwks_uri !== '') report.error([...at, 'jwks_uri'], BOTH_URIS);
  const uri = jwksUriOf(rule);
  if (uri !== '') validateUri(uri, [...at, 'jwksUri'], report);
  if (rule.jwks !== '') {
    if (uri !== '') report.error([...at, 'jwks'], 'cannot be combined with jwksUri');
    if (!isKeySet(rule.jwks))
      report.error(
        [...at, 'jwks'],
        'is no JSON web key set: expected an object with a list "keys"',
      );
  }
  rule.fromHeaders.forEach(({ name }, index) => {
    validateName(name, [...at, 'fromHeaders', index, 'name'], report);
  });
  rule.fromParams.forEach((name, index) => {
    if (name === '') report.error([...at, 'fromParams', index], 'must not be empty');
  });
  rule.fromCookies.forEach((name, index) => {
    validateName(name, [...at, 'fromCookies', index], report);
  });
  if (rule.outputPayloadToHeader !== '')
    validateName(rule.outputPayloadToHeader, [...at, 'outputPayloadToHeader'], report);
  rule.outputClaimToHeaders.forEach(({ header, claim }, index) => {
    const path = [...at, 'outputClaimToHeaders', index];
    validateName(header, [...path, 'header'], report);
    if (claim === '') report.error([...path, 'claim'], 'must not be empty');
  });
}

function validateUri(uri: string, at: FieldPath, report: Report): void {
  const url = URL.canParse(uri) ? new URL(uri) : undefined;
  if (url?.protocol !== 'https:' && url?.protocol !== 'http:')
    report.error(at, `is no http or https URL: found ${JSON.stringify(uri.slice(0, 80))}`);
  else if (url.username !== '' || url.password !== '')
    report.error(at, 'must not hold a user name or password');
}

function isKeySet(text: string): boolean {
  try {
    const parsed: unknown = JSON.parse(text);
    return (
      typeof parsed === 'object' &&
      parsed !== null &&
      'keys' in parsed &&
      Array.isArray(parsed.keys)
    );
  } catch {
    return false;
  }
}

function validateName(name: string, at: FieldPath, report: Report): void {
  if (!TOKEN_NAME.test(name))
    report.error(at, `is no header name: found ${JSON.stringify(name.slice(0, 80))}`);
}
