import { MAX_LIMIT_PER_MS, MAX_LIMIT_REQUESTS } from '../model/rate-limit.ts';
import { regexProblem } from '../model/regex.ts';
import { checkMatchPath } from './http-route.ts';
import {
  boundedList,
  boundedText,
  checked,
  duration,
  headerName,
  sectionName,
} from './gateway-values.ts';
import type { ObjectBase } from './object.ts';
import type { FieldPath, Report } from './problem.ts';
import { HTTP_METHODS } from './route-filters.ts';
import {
  bool,
  fields,
  integer,
  oneOf,
  optional,
  required,
  withDefault,
  type Decoded,
} from './schema.ts';
import { targetReference } from './security.ts';
import { validateTarget } from './validate-security.ts';

/** Shorter ones mean nothing to clients: what is left is told in seconds. */
const MIN_PER_MS = 1000;

const names = boundedList(boundedText(1, 512), 64);

const from = checked(
  fields({ principals: names, namespaces: names, serviceAccounts: names }),
  ({ principals, namespaces, serviceAccounts }, path, report) => {
    if (principals.length + namespaces.length + serviceAccounts.length === 0)
      report.error(path, 'must not be empty', 'leave it out to mean every client');
  },
);

const headerMatch = checked(
  fields({
    name: required(headerName()),
    type: withDefault(
      oneOf(['Exact', 'RegularExpression', 'Present', 'Distinct'], 'Exact'),
      'Exact',
    ),
    value: optional(boundedText(0, 4096)),
    invert: bool(),
  }),
  ({ type, value, invert }, path, report) => {
    const hasValue = type === 'Exact' || type === 'RegularExpression';
    if (hasValue && value === undefined)
      report.error([...path, 'value'], `is required with ${type}`);
    if (!hasValue && value !== undefined)
      report.error([...path, 'value'], `must not be set with ${type}`);
    if (type === 'Distinct' && invert)
      report.error([...path, 'invert'], 'must not be set with Distinct');
    const problem = type === 'RegularExpression' ? regexProblem(value ?? '') : undefined;
    if (problem !== undefined) report.error([...path, 'value'], problem);
  },
);

const pathMatch = checked(
  fields({
    type: withDefault(oneOf(['Exact', 'PathPrefix'], 'PathPrefix'), 'PathPrefix'),
    value: required(boundedText(1, 1024)),
  }),
  ({ value }, path, report) => {
    checkMatchPath(value, [...path, 'value'], report);
  },
);

const match = fields({
  from: optional(from),
  headers: boundedList(headerMatch, 16),
  methods: boundedList(oneOf(HTTP_METHODS, 'GET'), 9, { keyOf: String }),
  path: optional(pathMatch),
});

const keyPart = checked(
  fields({
    type: required(oneOf(['Identity', 'Namespace', 'Header', 'Path', 'ClientAddress'], 'Identity')),
    name: optional(headerName()),
  }),
  ({ type, name }, path, report) => {
    if (type === 'Header' && name === undefined)
      report.error([...path, 'name'], 'is required with Header');
    if (type !== 'Header' && name !== undefined)
      report.error([...path, 'name'], `must not be set with ${type}`);
  },
);

const limit = checked(
  fields({
    requests: required(integer(0, MAX_LIMIT_REQUESTS)),
    per: required(
      checked(duration(), (perMs, path, report) => {
        if (perMs < MIN_PER_MS || perMs > MAX_LIMIT_PER_MS)
          report.error(path, 'must be from 1s to 24h');
      }),
    ),
    burst: optional(integer(1, MAX_LIMIT_REQUESTS)),
  }),
  ({ requests, burst }, path, report) => {
    if (requests === 0 && burst !== undefined)
      report.error([...path, 'burst'], 'must not be set with 0 requests, which lets none pass');
  },
);

const rule = checked(
  fields({
    name: optional(sectionName()),
    match,
    key: boundedList(keyPart, 4, { keyOf: ({ type, name }) => `${type} ${name ?? ''}` }),
    limit: optional(limit),
    unlimited: bool(),
    cost: withDefault(integer(1, MAX_LIMIT_REQUESTS), 1),
    shadow: bool(),
    shared: bool(),
  }),
  (decoded, path, report) => {
    const { limit: given, unlimited, cost } = decoded;
    if (!unlimited && given === undefined)
      report.error(
        [...path, 'limit'],
        'is required',
        'write "unlimited: true" for requests that are not to be counted',
      );
    if (unlimited && given !== undefined)
      report.error([...path, 'limit'], 'must not be set with unlimited');
    if (given === undefined || given.requests === 0) return;
    if (cost > (given.burst ?? given.requests))
      report.error([...path, 'cost'], 'is above the burst, so that no request could ever pass');
  },
);

export const rateLimitPolicySchema = fields(
  {
    spec: required(
      checked(
        fields({
          targetRefs: required(boundedList(targetReference, 16, { minimum: 1 })),
          scope: withDefault(oneOf(['Local', 'Global'], 'Local'), 'Local'),
          failureMode: optional(oneOf(['Open', 'Closed'], 'Closed')),
          responseHeaders: withDefault(oneOf(['Off', 'RateLimit'], 'RateLimit'), 'RateLimit'),
          rules: required(boundedList(rule, 64, { minimum: 1 })),
        }),
        ({ scope, failureMode, rules }, path, report) => {
          if (scope === 'Global' && failureMode === undefined)
            report.error(
              [...path, 'failureMode'],
              'is required with scope Global',
              '"Open" lets requests pass while Redis does not answer, "Closed" refuses them',
            );
          if (scope === 'Local' && failureMode !== undefined)
            report.error(
              [...path, 'failureMode'],
              'must not be set with scope Local, which asks nobody',
            );
          checkNames(rules, [...path, 'rules'], report);
        },
      ),
    ),
  },
  'error',
  ['apiVersion', 'kind', 'metadata', 'status'],
);

function checkNames(
  rules: readonly Readonly<{ name: string | undefined }>[],
  path: FieldPath,
  report: Report,
): void {
  const seen = new Set<string>();
  rules.forEach(({ name }, index) => {
    if (name === undefined) return;
    // Its counters are named by its place where it has no name.
    if (/^\d+$/.test(name)) report.error([...path, index, 'name'], 'must not be a number');
    if (seen.has(name)) report.error([...path, index, 'name'], `is used twice: found ${name}`);
    seen.add(name);
  });
}

/** halo.dev/RateLimitPolicy. */
export type RateLimitPolicy = ObjectBase &
  Readonly<{ kind: 'RateLimitPolicy' }> &
  Decoded<typeof rateLimitPolicySchema>;
export type RateLimitRuleSpec = RateLimitPolicy['spec']['rules'][number];
export type RateLimitMatchSpec = RateLimitRuleSpec['match'];

const TARGET_KINDS = ['Service', 'ServiceEntry', 'Gateway'];

/** What no waypoint could enforce. */
export function validateRateLimitPolicy(
  { spec }: Decoded<typeof rateLimitPolicySchema>,
  report: Report,
): void {
  const seen = new Set<string>();
  spec.targetRefs.forEach((target, index) => {
    const path = ['spec', 'targetRefs', index];
    if (target.kind === 'GatewayClass')
      report.error(path, 'cannot target GatewayClass', 'target the Gateways of that class');
    else validateTarget(target, path, report);
    const key = `${target.kind} ${target.name}`;
    if (TARGET_KINDS.includes(target.kind) && seen.has(key))
      report.error(path, `is there twice: found ${key}`);
    seen.add(key);
  });
}
