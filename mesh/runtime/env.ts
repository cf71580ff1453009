import { describeError, MeshError } from '../../base/errors.ts';
import { formatDurationMs, parseDurationMs } from './duration.ts';

/** The variables of a process, as `process.env` has them. */
export type Env = Readonly<Record<string, string | undefined>>;

/** One environment variable: how it is read, and what `--help` says about it. */
export type Setting<T> = Readonly<{
  /** The variable, or a family as `PREFIX_*`. */
  name: string;
  description: string;
  /** What is accepted, as it stands behind "expected" in a failure. */
  accepts: string;
  /** The default as a person would write it; empty for none. */
  defaultText: string;
  /** @throws {Error} where the value is not accepted; the message says what was found, without the name. */
  read(env: Env): T;
}>;

export type Settings = Readonly<Record<string, Setting<unknown>>>;

/** What readEnv() makes of settings: each key with its value. */
export type SettingValues<S extends Settings> = {
  readonly [K in keyof S]: S[K] extends Setting<infer T> ? T : never;
};

/** What every kind of setting is described with. Without `default` the value may be `undefined`. */
export type SettingOptions<D> = Readonly<{ description: string; default: D }>;

/**
 * Reads all settings, so that one start shows every mistake.
 *
 * @throws {MeshError} ERR_ENV with one line for each variable that is missing, wrong or not supported.
 */
export function readEnv<S extends Settings>(settings: S, env: Env): SettingValues<S> {
  const values = new Map<string, unknown>();
  const failures: string[] = [];
  for (const [key, setting] of Object.entries(settings)) {
    try {
      values.set(key, setting.read(env));
    } catch (error) {
      failures.push(`${setting.name}: ${describeError(error)}`);
    }
  }
  if (failures.length > 0) {
    const list = failures.map((failure) => `\n  ${failure}`).join('');
    throw new MeshError('ERR_ENV', 'local', `Cannot read the environment:${list}`);
  }
  return Object.fromEntries(values) as SettingValues<S>;
}

/** The settings as lines for `--help`: name, default and description. */
export function describeSettings(settings: Settings): string {
  const rows = Object.values(settings);
  const width = Math.max(0, ...rows.map((row) => row.name.length));
  return rows
    .map((row) => {
      const value = row.defaultText === '' ? '' : ` [${row.defaultText}]`;
      return `  ${row.name.padEnd(width)}  ${row.description} (${row.accepts})${value}\n`;
    })
    .join('');
}

/** Any text; where there is a default, an empty value is a value, and otherwise it is none. */
export function stringSetting<D extends string | undefined>(
  name: string,
  options: SettingOptions<D>,
): Setting<string | D> {
  const emptyIsValue = options.default !== undefined;
  return setting(name, 'text', options, (text) => text, String, { emptyIsValue });
}

/** A text that is never repeated in a failure: a token or a key. */
export function secretSetting<D extends string | undefined>(
  name: string,
  options: SettingOptions<D>,
): Setting<string | D> {
  return setting(name, 'text, kept secret', options, (text) => text, String);
}

/** A decimal integer from `min` to `max`. */
export function integerSetting<D extends number | undefined>(
  name: string,
  options: SettingOptions<D> & Readonly<{ min: number; max: number }>,
): Setting<number | D> {
  const { min, max } = options;
  const parse = (text: string): number | undefined => {
    const value = /^-?\d{1,15}$/.test(text) ? Number(text) : NaN;
    return value >= min && value <= max ? value : undefined;
  };
  return setting(name, `integer from ${min} to ${max}`, options, parse, String);
}

/** `true` or `false`, also `1` or `0`. */
export function booleanSetting<D extends boolean | undefined>(
  name: string,
  options: SettingOptions<D>,
): Setting<boolean | D> {
  const words = new Map([
    ['true', true],
    ['1', true],
    ['false', false],
    ['0', false],
  ]);
  const parse = (text: string): boolean | undefined => words.get(text.toLowerCase());
  return setting(name, 'true or false', options, parse, String);
}

/** A duration of at least `minMs`, as milliseconds. */
export function durationSetting<D extends number | undefined>(
  name: string,
  options: SettingOptions<D> & Readonly<{ minMs?: number; maxMs?: number }>,
): Setting<number | D> {
  const { minMs = 0, maxMs = Number.MAX_SAFE_INTEGER } = options;
  const upTo = options.maxMs === undefined ? '' : ` to ${formatDurationMs(maxMs)}`;
  const from = minMs === 0 ? '' : ` from ${formatDurationMs(minMs)}`;
  const parseMs = orUndefined(parseDurationMs);
  const parse = (text: string): number | undefined => {
    const value = parseMs(text) ?? NaN;
    return value >= minMs && value <= maxMs ? value : undefined;
  };
  return setting(name, `duration such as 10s, 5m, 24h${from}${upTo}`, options, parse, (value) =>
    formatDurationMs(value),
  );
}

/** One of the given words. */
export function choiceSetting<const T extends string, D extends T | undefined>(
  name: string,
  choices: readonly T[],
  options: SettingOptions<D>,
): Setting<T | D> {
  const parse = (text: string): T | undefined => choices.find((choice) => choice === text);
  return setting(name, choices.join(' or '), options, parse, String);
}

/** Texts between separators; blanks around them and empty ones are dropped. */
export function listSetting(
  name: string,
  options: SettingOptions<readonly string[]> & Readonly<{ separator?: ',' | ':' }>,
): Setting<readonly string[]> {
  const { separator = ',' } = options;
  const parse = (text: string): readonly string[] =>
    text
      .split(separator)
      .map((item) => item.trim())
      .filter((item) => item !== '');
  const accepts = `list separated by "${separator}"`;
  return setting(name, accepts, options, parse, (items) => items.join(separator), {
    emptyIsValue: true,
  });
}

/** Whatever `parse` makes of the text; it throws, or returns `undefined`, for what is not accepted. */
export function parsedSetting<T, D>(
  name: string,
  options: SettingOptions<D> &
    Readonly<{
      accepts: string;
      parse: (text: string) => T | undefined;
      defaultText?: string;
      emptyIsValue?: boolean;
    }>,
): Setting<T | D> {
  const { accepts, parse, emptyIsValue = false, defaultText = '' } = options;
  return setting<T, D>(name, accepts, options, parse, () => defaultText, { emptyIsValue });
}

/** All variables that begin with `prefix`; the keys of the map are what follows it. */
export function familySetting(
  prefix: string,
  options: Readonly<{ description: string }>,
): Setting<ReadonlyMap<string, string>> {
  return {
    name: `${prefix}*`,
    description: options.description,
    accepts: 'text',
    defaultText: '',
    read(env) {
      const found = new Map<string, string>();
      for (const [name, value] of Object.entries(env))
        if (name.startsWith(prefix) && name.length > prefix.length && value !== undefined)
          found.set(name.slice(prefix.length), value);
      return found;
    },
  };
}

/** The same setting, but a program does not start without it. */
export function required<T>(inner: Setting<T | undefined>): Setting<T> {
  return {
    ...inner,
    description: `${inner.description}; required`,
    read(env) {
      return inner.read(env) ?? refuseUnset(inner.accepts);
    },
  };
}

/** @throws {Error} always: in place of the value of a variable that is needed and not set. */
export function refuseUnset(accepts: string): never {
  throw new Error(`not set, expected ${accepts}`);
}

/**
 * A variable that is known from Istio and not supported. `harmless` values ask for what happens anyway; any other
 * stops the program, because ignoring it would run something else than was asked for.
 */
export function unsupportedSetting(
  name: string,
  options: Readonly<{ reason: string; harmless: readonly string[] }>,
): Setting<undefined> {
  const { reason, harmless } = options;
  const accepted = harmless.map((value) => JSON.stringify(value)).join(' or ');
  return {
    name,
    description: `Not supported: ${reason}`,
    accepts: accepted === '' ? 'must not be set' : accepted,
    defaultText: '',
    read(env) {
      const text = env[name];
      if (text === undefined || text === '' || harmless.includes(text)) return undefined;
      throw new Error(`not supported, found ${quote(text)}: ${reason}; unset it`);
    },
  };
}

function setting<T, D>(
  name: string,
  accepts: string,
  options: SettingOptions<D>,
  parse: (text: string) => T | undefined,
  format: (value: D & NonNullable<unknown>) => string,
  { emptyIsValue = false } = {},
): Setting<T | D> {
  const fallback = options.default;
  return {
    name,
    description: options.description,
    accepts,
    defaultText: fallback === undefined || fallback === null ? '' : format(fallback),
    read(env) {
      const text = env[name];
      // A template that renders nothing (`VALUE=`) means the default wherever an empty text has no meaning.
      if (text === undefined || (text === '' && !emptyIsValue)) return fallback;
      const expectation = `found ${quote(text)}, expected ${accepts}`;
      let value: T | undefined;
      try {
        value = parse(text);
      } catch (cause) {
        throw new Error(expectation, { cause });
      }
      if (value === undefined) throw new Error(expectation);
      return value;
    },
  };
}

/** A parser whose own words add nothing to "found" and "expected". */
function orUndefined<T>(parse: (text: string) => T): (text: string) => T | undefined {
  return (text) => {
    try {
      return parse(text);
    } catch {
      return undefined;
    }
  };
}

function quote(text: string): string {
  return JSON.stringify(text.length > 100 ? `${text.slice(0, 100)}...` : text);
}
