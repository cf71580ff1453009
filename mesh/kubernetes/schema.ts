import type { FieldPath, Report } from './problem.ts';

/** A document's value. Objects have no prototype, so `__proto__` is a key like any other. */
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject;
export type JsonObject = Readonly<{ [key: string]: JsonValue }>;

/** What a field may hold: decode() reports what is wrong and goes on with a harmless value. */
export type Schema<T> = Readonly<{
  decode: (value: JsonValue, path: FieldPath, report: Report) => T;
  /** The value of a field that is missing or null. */
  absent: T;
  required: boolean;
}>;

/** What to do about a field that the schema does not know: a typing error in a policy must not pass unseen. */
export type UnknownFields = 'error' | 'warning' | 'ignore';

type Shape = Readonly<Record<string, Schema<unknown>>>;
type Fields<S extends Shape> = Readonly<{
  [K in keyof S]: S[K] extends Schema<infer T> ? T : never;
}>;
export type Decoded<S> = S extends Schema<infer T> ? T : never;

export function isJsonObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function describe(value: JsonValue): string {
  if (value === null) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'an object';
  return `${typeof value} ${JSON.stringify(value).slice(0, 80)}`;
}

export function text(): Schema<string> {
  return {
    absent: '',
    required: false,
    decode: (value, path, report) => {
      if (typeof value === 'string') return value;
      const mend = typeof value === 'object' ? '' : `write ${JSON.stringify(String(value))}`;
      report.error(path, `expected text, found ${describe(value)}`, mend);
      return '';
    },
  };
}

export function bool(absent = false): Schema<boolean> {
  return {
    absent,
    required: false,
    decode: (value, path, report) => {
      if (typeof value === 'boolean') return value;
      report.error(path, `expected true or false, found ${describe(value)}`);
      return absent;
    },
  };
}

export function integer(minimum: number, maximum: number, absent = 0): Schema<number> {
  return {
    absent,
    required: false,
    decode: (value, path, report) => {
      if (
        typeof value === 'number' &&
        Number.isInteger(value) &&
        value >= minimum &&
        value <= maximum
      )
        return value;
      report.error(
        path,
        `expected a whole number from ${minimum} to ${maximum}, found ${describe(value)}`,
      );
      return absent;
    },
  };
}

export function port(): Schema<number> {
  return integer(1, 65535);
}

/** A port by number or by name, as `targetPort` has it. */
export function portOrName(): Schema<number | string> {
  const number = port();
  return {
    absent: 0,
    required: false,
    decode: (value, path, report) =>
      typeof value === 'string' ? value : number.decode(value, path, report),
  };
}

export function oneOf<const T extends string>(values: readonly T[], absent: T): Schema<T> {
  return {
    absent,
    required: false,
    decode: (value, path, report) => {
      const found = values.find((known) => known === value);
      if (found === undefined)
        report.error(path, `expected one of ${values.join(', ')}; found ${describe(value)}`);
      return found ?? absent;
    },
  };
}

export function list<T>(item: Schema<T>): Schema<readonly T[]> {
  return {
    absent: [],
    required: false,
    decode: (value, path, report) => {
      if (!Array.isArray(value)) {
        report.error(
          path,
          `expected a list, found ${describe(value)}`,
          'begin each item with "- "',
        );
        return [];
      }
      const items: readonly JsonValue[] = value;
      return items.map((each, index) => item.decode(each, [...path, index], report));
    },
  };
}

export function dictionary<T>(item: Schema<T>): Schema<ReadonlyMap<string, T>> {
  return {
    absent: new Map(),
    required: false,
    decode: (value, path, report) => {
      const entries = new Map<string, T>();
      if (!isJsonObject(value)) {
        report.error(path, `expected keys and values, found ${describe(value)}`);
        return entries;
      }
      for (const [key, each] of Object.entries(value))
        entries.set(key, item.decode(each, [...path, key], report));
      return entries;
    },
  };
}

/** Any value, as it came. */
export function anything(): Schema<JsonValue> {
  return { absent: null, required: false, decode: (value) => value };
}

/** `undefined` where the field is missing, for fields whose presence has a meaning. */
export function optional<T>(schema: Schema<T>): Schema<T | undefined> {
  return { absent: undefined, required: false, decode: schema.decode };
}

export function required<T>(schema: Schema<T>): Schema<T> {
  return { ...schema, required: true };
}

export function withDefault<T>(schema: Schema<T>, absent: T): Schema<T> {
  return { ...schema, absent };
}

/** An object of named fields; `alsoKnown` lists fields that are right but of no use to the mesh. */
export function fields<S extends Shape>(
  shape: S,
  unknownFields: UnknownFields = 'error',
  alsoKnown: readonly string[] = [],
): Schema<Fields<S>> {
  const known = new Map(Object.entries(shape));
  const decode = (value: JsonValue, path: FieldPath, report: Report): Fields<S> => {
    const given = new Map(isJsonObject(value) ? Object.entries(value) : []);
    if (!isJsonObject(value)) report.error(path, `expected an object, found ${describe(value)}`);
    if (unknownFields !== 'ignore') {
      for (const key of given.keys()) {
        if (known.has(key) || alsoKnown.includes(key)) continue;
        const mend = suggestField(key, [...known.keys(), ...alsoKnown]);
        if (unknownFields === 'error') report.error([...path, key], 'unknown field', mend);
        else report.warn([...path, key], 'unknown field, ignored', mend);
      }
    }
    const decoded: Record<string, unknown> = {};
    for (const [key, schema] of known) {
      const field = given.get(key) ?? null;
      if (field !== null) decoded[key] = schema.decode(field, [...path, key], report);
      else {
        if (schema.required && isJsonObject(value)) report.error([...path, key], 'is required');
        decoded[key] = schema.absent;
      }
    }
    return decoded as Fields<S>;
  };
  const absent = Object.fromEntries([...known].map(([key, schema]) => [key, schema.absent]));
  return { absent: absent as Fields<S>, required: false, decode };
}

/** The known field that differs only in case or by one letter left out, added or changed. */
function suggestField(found: string, known: readonly string[]): string {
  const near = known.find(
    (name) =>
      name.toLowerCase() === found.toLowerCase() ||
      `${name}s` === found ||
      name === `${found}s` ||
      isOneEditApart(name, found),
  );
  return near === undefined ? `known here: ${known.join(', ')}` : `did you mean ${near}?`;
}

function isOneEditApart(a: string, b: string): boolean {
  if (Math.abs(a.length - b.length) > 1) return false;
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  let tail = 0;
  const limit = Math.min(a.length, b.length) - head;
  while (tail < limit && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  return Math.max(a.length, b.length) - head - tail <= 1;
}
