import type {
  ArgumentSpec,
  Command,
  Completion,
  OptionSpec,
  OptionTable,
  Verb,
  VerbGroup,
} from './command.ts';
import { withHelp } from './command.ts';
import { findCommand } from './parse.ts';

/** A word that could stand there, with what it means. */
export type Candidate = Readonly<{ word: string; summary: string }>;

/** What could stand at the cursor; `paths` asks the shell to add its own file or folder names. */
export type Candidates = Readonly<{
  words: readonly Candidate[];
  paths?: 'files' | 'folders';
}>;

/** Names that only a running sandbox knows; `words` are those before the one being completed. */
export type LiveNames = (
  what: Completion,
  sandbox: string | undefined,
  words: readonly string[],
) => Promise<readonly Candidate[]>;

/**
 * What could complete the last of `words` (those behind `halo`; the last one is '' when nothing is typed yet).
 * Only candidates that begin with it are returned.
 */
export async function completeWords(
  root: VerbGroup,
  words: readonly string[],
  liveNames: LiveNames,
): Promise<Candidates> {
  const current = words.at(-1) ?? '';
  const before = words.slice(0, -1);
  const names: LiveNames = (what, sandbox, path) =>
    what === 'commands'
      ? Promise.resolve(commandsBelow(root, path))
      : liveNames(what, sandbox, path);
  let command: Command = root;
  let taken = 0;
  while ('commands' in command) {
    const word = before[taken];
    if (word === undefined) return matching(current, commandNames(command));
    const next = findCommand(command, word);
    if (next === undefined) return { words: [] };
    command = next;
    taken++;
  }
  return completeVerb(command, before.slice(taken), current, names);
}

/** What may follow these words of a command; nothing behind a verb. */
function commandsBelow(root: VerbGroup, path: readonly string[]): Candidate[] {
  let command: Command | undefined = root;
  for (const word of path)
    command =
      command !== undefined && 'commands' in command ? findCommand(command, word) : undefined;
  return command !== undefined && 'commands' in command ? commandNames(command) : [];
}

function commandNames(group: VerbGroup): Candidate[] {
  return group.commands
    .filter((command) => command.group !== undefined)
    .map((command) => ({ word: command.name, summary: command.summary }));
}

async function completeVerb(
  verb: Verb,
  before: readonly string[],
  current: string,
  liveNames: LiveNames,
): Promise<Candidates> {
  const table = withHelp(verb.options);
  const { positionals, pending, sandbox, literal } = readWords(table, before);
  const live = async (spec: OptionSpec | ArgumentSpec): Promise<Candidates> =>
    valuesOf(spec, (what) => liveNames(what, sandbox, positionals));

  if (pending !== undefined) return filter(current, await live(pending));
  const [, option, value] = /^--([^=]+)=(.*)$/s.exec(current) ?? [];
  if (!literal && option !== undefined && value !== undefined) {
    const spec = table[option];
    if (spec === undefined) return { words: [] };
    const found = filter(value, await live(spec));
    const words = found.words.map(({ word, summary }) => ({
      word: `--${option}=${word}`,
      summary,
    }));
    return { ...found, words };
  }
  if (!literal && current.startsWith('-')) return matching(current, optionNames(table));
  const last = verb.arguments.at(-1);
  const argument = verb.arguments[positionals.length] ?? (last?.rest === true ? last : undefined);
  if (argument === undefined) return { words: [] };
  return filter(current, await live(argument));
}

type WordsBefore = Readonly<{
  positionals: readonly string[];
  /** The option whose value comes next. */
  pending: OptionSpec | undefined;
  sandbox: string | undefined;
  /** Behind `--`. */
  literal: boolean;
}>;

/** Reads the words before the cursor as far as they make sense; a half-typed line is no error. */
function readWords(table: OptionTable, words: readonly string[]): WordsBefore {
  const positionals: string[] = [];
  let pending: OptionSpec | undefined;
  let sandbox: string | undefined;
  let literal = false;
  for (const word of words) {
    if (pending !== undefined) {
      if (pending === table['name']) sandbox = word;
      pending = undefined;
    } else if (literal || word === '-' || !word.startsWith('-')) {
      positionals.push(word);
    } else if (word === '--') {
      literal = true;
    } else if (word.includes('=')) {
      if (word.startsWith('--name=')) sandbox = word.slice('--name='.length);
    } else {
      const [, found] =
        Object.entries(table).find(
          ([name, spec]) => word === `--${name}` || word === `-${spec.short ?? ''}`,
        ) ?? [];
      if (found?.type !== 'flag') pending = found;
    }
  }
  return { positionals, pending, sandbox, literal };
}

function optionNames(table: OptionTable): Candidate[] {
  return Object.entries(table).map(([name, spec]) => ({
    word: `--${name}`,
    summary: spec.summary,
  }));
}

async function valuesOf(
  spec: OptionSpec | ArgumentSpec,
  live: (what: Completion) => Promise<readonly Candidate[]>,
): Promise<Candidates> {
  if ('choices' in spec) return { words: spec.choices.map((word) => ({ word, summary: '' })) };
  const complete = 'complete' in spec ? spec.complete : undefined;
  if (complete === undefined) return { words: [] };
  if (complete === 'files' || complete === 'folders') return { words: [], paths: complete };
  return { words: await live(complete) };
}

function matching(current: string, words: readonly Candidate[]): Candidates {
  return filter(current, { words });
}

function filter(current: string, candidates: Candidates): Candidates {
  return { ...candidates, words: candidates.words.filter(({ word }) => word.startsWith(current)) };
}
