import {
  boundedList,
  boundedText,
  checked,
  checkUnion,
  duration,
  headerName,
  headerValue,
  sectionName,
  type Check,
} from './gateway-values.ts';
import {
  fields,
  oneOf,
  optional,
  required,
  withDefault,
  type Decoded,
  type Schema,
} from './schema.ts';

// What rules of HTTPRoutes and GRPCRoutes have in common.

export const ruleName = optional(sectionName());

const matchType = withDefault(oneOf(['Exact', 'RegularExpression'], 'Exact'), 'Exact');

const MATCHES = 16;

/** Names with the values that they must have. */
function matches(value: Schema<string>) {
  return boundedList(
    fields({ type: matchType, name: required(headerName()), value: required(value) }),
    MATCHES,
    { keyOf: ({ name }) => name },
  );
}

/** An HTTPRoute's: a value is one that a header can have. */
export const httpHeaderMatches = matches(headerValue());
/** A GRPCRoute's: any value of 4096 characters. */
export const grpcHeaderMatches = matches(boundedText(1, 4096));
export const queryParamMatches = matches(boundedText(1, 1024));

export type ValueMatchSpec = Decoded<typeof queryParamMatches>[number];

export const sessionPersistence = checked(
  fields({
    type: withDefault(oneOf(['Cookie', 'Header'], 'Cookie'), 'Cookie'),
    absoluteTimeout: optional(duration()),
    cookie: optional(
      fields({
        name: optional(headerName()),
        path: withDefault(boundedText(0, 1024), '/'),
        lifetimeType: withDefault(oneOf(['Session', 'Permanent'], 'Session'), 'Session'),
      }),
    ),
    header: optional(fields({ name: required(headerName()) })),
  }),
  ({ type, absoluteTimeout, cookie, header }, path, report) => {
    checkUnion(
      type,
      [
        ['Cookie', 'cookie', cookie],
        ['Header', 'header', header],
      ],
      path,
      report,
    );
    if (cookie?.lifetimeType === 'Permanent' && absoluteTimeout === undefined)
      report.error([...path, 'absoluteTimeout'], 'is required with a Permanent cookie');
  },
);

/** Of all rules of a route together, as the CRDs' rule over `spec.rules` has it. */
const MAX_MATCHES = 128;

/** Names of rules are unique, and all rules together have a bounded number of matches. */
export const checkRules: Check<
  readonly Readonly<{ name: string | undefined; matches: readonly unknown[] }>[]
> = (rules, path, report) => {
  const names = new Set<string>();
  let matches = 0;
  rules.forEach((rule, index) => {
    matches += rule.matches.length;
    if (rule.name === undefined) return;
    if (names.has(rule.name))
      report.error([...path, index, 'name'], `is used twice: found ${rule.name}`);
    names.add(rule.name);
  });
  if (matches > MAX_MATCHES)
    report.error(path, `have too many matches together: found ${matches}, at most ${MAX_MATCHES}`);
};
