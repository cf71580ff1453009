import { isIP } from 'node:net';
import type { FieldPath, Report } from './problem.ts';
import { list, text, type Schema } from './schema.ts';

// The value types that kinds of the Gateway API share, with the bounds and patterns of their CRDs
// (gateway.networking.k8s.io, bundle v1.6). Patterns are applied after the length check, so none sees a long text.

const DNS_NAME = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/;
const DNS_LABEL = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/;
const KIND = /^[a-zA-Z](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?$/;
export const TOKEN_NAME = /^[A-Za-z0-9!#$%&'*+\-.^_`|~]+$/;
/** Printable, with single blanks or tabs inside. */
const HEADER_VALUE = /^[!-~]+(?:[\t ]?[!-~]+)*$/;
/** What a path is made of, with its slashes. RFC 3986 section 3.3. */
export const URL_PATH = /^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+$/;
const DURATION = /^(?:[0-9]{1,5}(?:h|m|s|ms)){1,4}$/;
const DURATION_PART = /([0-9]{1,5})(h|ms|m|s)/g;
const UNIT_MS: ReadonlyMap<string, number> = new Map([
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1000],
  ['ms', 1],
]);

/** A check that runs on what a schema decoded without errors. */
export type Check<T> = (value: T, path: FieldPath, report: Report) => void;

/** A schema with a rule over several of its fields, which is asked only when each by itself is right. */
export function checked<T>(schema: Schema<T>, check: Check<T>): Schema<T> {
  return {
    ...schema,
    decode: (value, path, report) => {
      const outcome = { failed: false };
      const decoded = schema.decode(value, path, {
        error: (...problem) => {
          outcome.failed = true;
          report.error(...problem);
        },
        warn: (...problem) => {
          report.warn(...problem);
        },
      });
      if (!outcome.failed) check(decoded, path, report);
      return decoded;
    },
  };
}

/** A value of the union's type, the field that belongs to it, and what that field holds. */
export type UnionMember = readonly [type: string, field: string, value: unknown];

/** Of a union with a type, the field of that type must be there and no other. */
export function checkUnion(
  type: string,
  members: readonly UnionMember[],
  path: FieldPath,
  report: Report,
): void {
  for (const [member, field, value] of members) {
    if (member === type && value === undefined)
      report.error([...path, field], `is required with ${type}`);
    if (member !== type && value !== undefined)
      report.error([...path, field], `must not be set with ${type}`);
  }
}

/** What a report shows of a text. */
export function quote(value: string): string {
  return JSON.stringify(value.slice(0, 80));
}

/** Text of a bounded length, of a shape that `what` names. */
export function boundedText(
  minimum: number,
  maximum: number,
  pattern?: RegExp,
  what = 'valid',
): Schema<string> {
  return checked(text(), (value, path, report) => {
    if (value.length < minimum) report.error(path, 'must not be empty');
    else if (value.length > maximum)
      report.error(path, `is too long: found ${value.length} characters, at most ${maximum}`);
    else if (pattern?.test(value) === false)
      report.error(path, `is no ${what}: found ${quote(value)}`);
  });
}

/** A list of a bounded length; `keyOf` names what may not stand in it twice. */
export function boundedList<T>(
  item: Schema<T>,
  maximum: number,
  options: Readonly<{ minimum?: number; keyOf?: (item: T) => string }> = {},
): Schema<readonly T[]> {
  const { minimum = 0, keyOf } = options;
  return checked(list(item), (items, path, report) => {
    if (items.length < minimum) report.error(path, `must have at least ${minimum} item`);
    if (items.length > maximum)
      report.error(path, `has too many items: found ${items.length}, at most ${maximum}`);
    if (keyOf === undefined) return;
    const seen = new Set<string>();
    items.forEach((each, index) => {
      const key = keyOf(each);
      if (seen.has(key)) report.error([...path, index], `is there twice: found ${quote(key)}`);
      seen.add(key);
    });
  });
}

/** Duration of GEP-2257, in milliseconds: `1h30m`, `500ms`, `0s`. */
export function duration(): Schema<number> {
  return {
    absent: 0,
    required: false,
    decode: (value, path, report) => {
      if (typeof value === 'string' && DURATION.test(value)) return durationMs(value);
      const found = typeof value === 'string' ? quote(value) : typeof value;
      report.error(path, `is no duration: found ${found}`, 'as in "10s", "1h30m" or "500ms"');
      return 0;
    },
  };
}

function durationMs(value: string): number {
  let total = 0;
  for (const [, amount, unit = ''] of value.matchAll(DURATION_PART))
    total += Number(amount) * (UNIT_MS.get(unit) ?? 0);
  return total;
}

export function group(): Schema<string> {
  return checked(boundedText(0, 253), (value, path, report) => {
    if (value !== '' && !DNS_NAME.test(value))
      report.error(path, `is no API group: found ${quote(value)}`);
  });
}

export function kind(): Schema<string> {
  return boundedText(1, 63, KIND, 'kind');
}

export function objectName(): Schema<string> {
  return boundedText(1, 253);
}

export function namespaceName(): Schema<string> {
  return boundedText(1, 63, DNS_LABEL, 'namespace');
}

/** Names of sections, rules and listeners. */
export function sectionName(): Schema<string> {
  return boundedText(1, 253, DNS_NAME, 'section name');
}

export function headerName(): Schema<string> {
  return boundedText(1, 256, TOKEN_NAME, 'header name');
}

export function headerValue(): Schema<string> {
  return boundedText(1, 4096, HEADER_VALUE, 'header value');
}

/** A name without wildcard, as a request is sent to. */
export function preciseHostname(): Schema<string> {
  return checked(boundedText(1, 253, DNS_NAME, 'host name'), refuseAddress);
}

/** A name that may begin with `*.`. */
export function hostname(): Schema<string> {
  return checked(boundedText(1, 253), (value, path, report) => {
    const name = value.startsWith('*.') ? value.slice(2) : value;
    if (!DNS_NAME.test(name)) report.error(path, `is no host name: found ${quote(value)}`);
    else refuseAddress(value, path, report);
  });
}

function refuseAddress(value: string, path: FieldPath, report: Report): void {
  if (isIP(value) !== 0) report.error(path, `must be a name, not an address: found ${value}`);
}
