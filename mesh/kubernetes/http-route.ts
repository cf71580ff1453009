import {
  boundedList,
  boundedText,
  checked,
  duration,
  hostname,
  quote,
  URL_PATH,
} from './gateway-values.ts';
import type { ObjectBase } from './object.ts';
import type { FieldPath, Report } from './problem.ts';
import { HTTP_METHODS, httpFilters, type HttpFilterSpec } from './route-filters.ts';
import { checkBackendPort, parentRefs, weightedBackendFields } from './route-references.ts';
import {
  checkRules,
  httpHeaderMatches,
  queryParamMatches,
  ruleName,
  sessionPersistence,
} from './route-rules.ts';
import { fields, integer, oneOf, optional, required, withDefault, type Decoded } from './schema.ts';

/** What no normalised path has, so that the rule would never match, or match what it does not say. */
const FORBIDDEN = ['//', '/./', '/../', '%2f', '%2F', '#'] as const;
const FORBIDDEN_ENDS = ['/..', '/.'] as const;

const everyPath = { type: 'PathPrefix', value: '/' } as const;

const pathMatch = withDefault(
  checked(
    fields({
      type: withDefault(
        oneOf(['Exact', 'PathPrefix', 'RegularExpression'], 'PathPrefix'),
        'PathPrefix',
      ),
      value: withDefault(boundedText(0, 1024), '/'),
    }),
    ({ type, value }, path, report) => {
      if (type !== 'RegularExpression') checkMatchPath(value, [...path, 'value'], report);
    },
  ),
  everyPath,
);

/** What a rule may not ask of a path, because no normalised path is so. */
export function checkMatchPath(value: string, path: FieldPath, report: Report): void {
  const part =
    FORBIDDEN.find((text) => value.includes(text)) ??
    FORBIDDEN_ENDS.find((text) => value.endsWith(text));
  if (!value.startsWith('/')) report.error(path, `must begin with "/": found ${quote(value)}`);
  else if (part !== undefined) report.error(path, `must not have "${part}": found ${quote(value)}`);
  else if (!URL_PATH.test(value))
    report.error(path, `has a character that no path has: found ${quote(value)}`);
}

const match = fields({
  path: pathMatch,
  headers: httpHeaderMatches,
  queryParams: queryParamMatches,
  method: optional(oneOf(HTTP_METHODS, 'GET')),
});

export type HttpMatchSpec = Decoded<typeof match>;

const everyRequest: readonly HttpMatchSpec[] = [
  { path: everyPath, headers: [], queryParams: [], method: undefined },
];

const backendRef = checked(
  fields({ ...weightedBackendFields, filters: httpFilters }),
  checkBackendPort,
);

const timeouts = checked(
  fields({ request: optional(duration()), backendRequest: optional(duration()) }),
  ({ request, backendRequest }, path, report) => {
    if (request !== undefined && request > 0 && (backendRequest ?? 0) > request)
      report.error([...path, 'backendRequest'], 'must not be longer than request');
  },
);

const retry = fields({
  codes: boundedList(integer(400, 599), Infinity, { keyOf: String }),
  attempts: optional(integer(1, Number.MAX_SAFE_INTEGER)),
  backoff: optional(duration()),
});

const rule = checked(
  fields({
    name: ruleName,
    matches: withDefault(boundedList(match, 64), everyRequest),
    filters: httpFilters,
    backendRefs: boundedList(backendRef, 16),
    timeouts: optional(timeouts),
    retry: optional(retry),
    sessionPersistence: optional(sessionPersistence),
  }),
  checkRule,
);

export type HttpRuleSpec = Decoded<typeof rule>;

function checkRule(
  {
    filters,
    backendRefs,
    matches,
  }: Readonly<{
    filters: readonly HttpFilterSpec[];
    backendRefs: readonly Readonly<{ filters: readonly HttpFilterSpec[] }>[];
    matches: readonly HttpMatchSpec[];
  }>,
  path: FieldPath,
  report: Report,
): void {
  if (backendRefs.length > 0)
    filters.forEach(({ type }, index) => {
      if (type === 'RequestRedirect')
        report.error(
          [...path, 'filters', index],
          'RequestRedirect must not stand beside backendRefs',
        );
    });
  checkPrefixReplacement(filters, matches, [...path, 'filters'], report);
  backendRefs.forEach((backend, index) => {
    const at = [...path, 'backendRefs', index, 'filters'];
    checkPrefixReplacement(backend.filters, matches, at, report);
  });
}

/** Only where the rule has one prefix is it known which prefix is replaced. */
function checkPrefixReplacement(
  filters: readonly HttpFilterSpec[],
  matches: readonly HttpMatchSpec[],
  path: FieldPath,
  report: Report,
): void {
  filters.forEach(({ requestRedirect, urlRewrite }, index) => {
    for (const [field, filter] of [
      ['requestRedirect', requestRedirect],
      ['urlRewrite', urlRewrite],
    ] as const) {
      if (filter?.path?.type !== 'ReplacePrefixMatch') continue;
      if (matches.length === 1 && matches[0]?.path.type === 'PathPrefix') continue;
      report.error(
        [...path, index, field, 'path', 'type'],
        'ReplacePrefixMatch needs a rule with exactly one match, by PathPrefix',
      );
    }
  });
}

/** What a route without rules has: one that sends everything nowhere, as the CRD's default. */
const everything: readonly HttpRuleSpec[] = [{ ...rule.absent, matches: everyRequest }];

export const httpRouteSchema = fields(
  {
    spec: required(
      fields({
        parentRefs,
        hostnames: boundedList(hostname(), 16),
        rules: withDefault(checked(boundedList(rule, 16), checkRules), everything),
        useDefaultGateways: optional(oneOf(['All', 'None'], 'None')),
      }),
    ),
  },
  'error',
  ['apiVersion', 'kind', 'metadata', 'status'],
);

/** gateway.networking.k8s.io/HTTPRoute. */
export type HttpRoute = ObjectBase &
  Readonly<{ kind: 'HTTPRoute' }> &
  Decoded<typeof httpRouteSchema>;
