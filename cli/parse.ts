import { parseArgs } from 'node:util';
import { parseDurationMs } from '../mesh/runtime/duration.ts';
import {
  usageError,
  withHelp,
  type Command,
  type OptionSpec,
  type OptionTable,
  type Verb,
  type VerbGroup,
} from './command.ts';
import { usageLine } from './help.ts';
import { didYouMean } from './nearest.ts';

/** What a command line asks for. `path` are the words that led to the command, with `halo` first. */
export type Invocation = Readonly<
  | { kind: 'help'; command: Command; path: readonly string[] }
  | {
      kind: 'run';
      verb: Verb;
      path: readonly string[];
      options: Readonly<Record<string, ParsedValue>>;
      arguments: readonly string[];
    }
>;

type ParsedValue = string | number | boolean | readonly string[] | undefined;

/**
 * Reads a command line against the tables of its verb.
 *
 * @param argv what follows `halo`.
 * @throws {MeshError} ERR_USAGE, naming the word at fault and the nearest known one.
 */
export function parseCommandLine(root: VerbGroup, argv: readonly string[]): Invocation {
  let command: Command = root;
  const path = [root.name];
  let rest = argv;
  while ('commands' in command) {
    const [word, ...others] = rest;
    if (word === undefined || word === '--help' || word === '-h')
      return { kind: 'help', command, path };
    const next = findCommand(command, word);
    if (next === undefined) throw unknownCommand(command, path, word);
    command = next;
    path.push(next.name);
    rest = others;
  }
  return parseVerb(command, path, rest);
}

/** A member of a group by its name or an alias. */
export function findCommand(group: VerbGroup, word: string): Command | undefined {
  return group.commands.find(
    (command) => command.name === word || (command.aliases ?? []).includes(word),
  );
}

function unknownCommand(group: VerbGroup, path: readonly string[], word: string): Error {
  const listed = group.commands.filter((command) => command.group !== undefined);
  const names = listed.flatMap((command) => [command.name, ...(command.aliases ?? [])]);
  const kind = word.startsWith('-') ? 'option' : 'command';
  const problem = `Unknown ${kind} ${word} of ${path.join(' ')}${didYouMean(word, names)}`;
  return usageError(problem, `See: ${path.join(' ')} --help`);
}

function parseVerb(verb: Verb, path: readonly string[], args: readonly string[]): Invocation {
  const table = withHelp(verb.options);
  const specs = new Map(Object.entries(table));
  const fail = (problem: string): Error =>
    usageError(problem, `Usage: ${usageLine(verb, path)}\nSee: ${path.join(' ')} --help`);

  const { tokens } = parseArgs({
    args: [...args],
    // Unknown options and missing values are judged below, where the nearest name can be told.
    strict: false,
    tokens: true,
    allowPositionals: true,
    options: Object.fromEntries(
      [...specs].map(([name, spec]) => [
        name,
        {
          type: spec.type === 'flag' ? ('boolean' as const) : ('string' as const),
          ...(spec.short === undefined ? {} : { short: spec.short }),
        },
      ]),
    ),
  });

  const values = new Map<string, ParsedValue>();
  const positionals: string[] = [];
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value);
    if (token.kind !== 'option') continue;
    const spec = specs.get(token.name);
    if (spec === undefined) {
      const known = [...specs.keys()].map((name) => `--${name}`);
      const hint = didYouMean(token.rawName, known) || commandHint(verb);
      throw fail(`Unknown option ${token.rawName} of ${path.join(' ')}${hint}`);
    }
    values.set(token.name, readValue(token, spec, values.get(token.name), fail));
  }
  if (values.get('help') === true) return { kind: 'help', command: verb, path };
  checkArguments(verb, positionals, fail);
  return {
    kind: 'run',
    verb,
    path,
    options: fillIn(verb.options, values),
    arguments: positionals,
  };
}

/** Verbs that end in somebody else's command line need `--` before it. */
function commandHint(verb: Verb): string {
  return verb.arguments.at(-1)?.name === 'COMMAND' ? '; put -- before the command' : '';
}

type OptionToken = Readonly<{
  rawName: string;
  value?: string | undefined;
  inlineValue?: boolean | undefined;
}>;

function readValue(
  token: OptionToken,
  spec: OptionSpec,
  earlier: ParsedValue,
  fail: (problem: string) => Error,
): ParsedValue {
  const { rawName, value } = token;
  if (spec.type === 'flag') {
    if (value !== undefined) throw fail(`Option ${rawName} takes no value: found ${value}`);
    return true;
  }
  // `--name --nodes 3` forgot a value far more often than it means a sandbox called "--nodes".
  const swallowed = token.inlineValue === false && value?.startsWith('-') === true && value !== '-';
  if (value === undefined || swallowed)
    throw fail(`Option ${rawName} needs a value: ${rawName} ${spec.placeholder}`);
  if (spec.choices !== undefined && !spec.choices.includes(value))
    throw fail(
      `Option ${rawName} is one of ${spec.choices.join(', ')}: found ${value}${didYouMean(value, spec.choices)}`,
    );
  switch (spec.type) {
    case 'list':
      return [...(Array.isArray(earlier) ? (earlier as readonly string[]) : []), value];
    case 'number': {
      const number = /^-?\d{1,9}$/.test(value) ? Number(value) : Number.NaN;
      if (number >= spec.min && number <= spec.max) return number;
      throw fail(
        `Option ${rawName} is a whole number from ${spec.min} to ${spec.max}: found ${value}`,
      );
    }
    case 'duration': {
      try {
        return parseDurationMs(value);
      } catch {
        throw fail(`Option ${rawName} is a time such as 500ms, 10s, 5m or 1h: found ${value}`);
      }
    }
    case 'text':
      return value;
  }
}

function checkArguments(
  verb: Verb,
  positionals: readonly string[],
  fail: (problem: string) => Error,
): void {
  const missing = verb.arguments.find(
    (spec, index) => spec.optional !== true && positionals[index] === undefined,
  );
  if (missing !== undefined) throw fail(`${missing.name} is missing: ${missing.summary}`);
  const takesRest = verb.arguments.at(-1)?.rest === true;
  const extra = positionals[verb.arguments.length];
  if (!takesRest && extra !== undefined) throw fail(`Unexpected argument ${extra}`);
  verb.arguments.forEach((spec, index) => {
    const value = positionals[index];
    if (spec.choices === undefined || value === undefined || spec.choices.includes(value)) return;
    throw fail(
      `${spec.name} is one of ${spec.choices.join(', ')}: found ${value}${didYouMean(value, spec.choices)}`,
    );
  });
}

function fillIn(
  table: OptionTable,
  values: ReadonlyMap<string, ParsedValue>,
): Record<string, ParsedValue> {
  const absent = (spec: OptionSpec): ParsedValue => {
    if (spec.type === 'flag') return false;
    return spec.type === 'list' ? [] : spec.default;
  };
  return Object.fromEntries(
    Object.entries(table).map(([name, spec]) => [name, values.get(name) ?? absent(spec)]),
  );
}
