import { MeshError } from '../base/errors.ts';
import type { Terminal } from './terminal.ts';

/** What scripts may rely on; `halo help` lists them. `halo exec` ends with the code of its command instead. */
export const EXIT = {
  ok: 0,
  /** The thing asked for failed or was refused, or what was looked at is not in order. */
  failed: 1,
  usage: 2,
  /** No sandbox of that name runs. */
  notRunning: 3,
  timedOut: 4,
  /** The host lacks a tool, a right or a Node that halo needs. */
  unsuitable: 5,
} as const;

/** Where the words for a value come from when the shell completes it. */
export type Completion =
  | 'files'
  | 'folders'
  | 'kinds'
  | 'objects'
  | 'namespaces'
  | 'pods'
  /** Pods and Deployments. */
  | 'workloads'
  /** These, and Services. */
  | 'targets'
  | 'deployments'
  | 'waypoints'
  /** Deployments, and parts by kind and name. */
  | 'restartable'
  | 'nodes'
  | 'destinations'
  | 'parts'
  | 'sandboxes'
  | 'commands';

/** One option; the table of a verb drives its parser, its help text and completion. */
export type OptionSpec = Readonly<
  {
    summary: string;
    short?: string;
  } & (
    | { type: 'flag' }
    | ({ placeholder: string; complete?: Completion; choices?: readonly string[] } & (
        | { type: 'text'; default?: string }
        | { type: 'list' }
        | { type: 'number'; default?: number; min: number; max: number }
        /** Milliseconds; on the command line `300ms`, `10s`, `5m`, `1h`. */
        | { type: 'duration'; default?: number }
      ))
  )
>;

export type OptionTable = Readonly<Record<string, OptionSpec>>;

type OptionValue<Spec extends OptionSpec> = Spec extends { type: 'flag' }
  ? boolean
  : Spec extends { type: 'list' }
    ? readonly string[]
    : Spec extends { type: 'number' | 'duration'; default: number }
      ? number
      : Spec extends { type: 'number' | 'duration' }
        ? number | undefined
        : Spec extends { type: 'text'; default: string }
          ? string
          : string | undefined;

export type OptionValues<Table extends OptionTable> = {
  readonly [Name in keyof Table]: OptionValue<Table[Name]>;
};

export type ArgumentSpec = Readonly<{
  /** Upper case, as it stands in usage lines. */
  name: string;
  summary: string;
  optional?: boolean;
  /** Takes all that follow, at least one unless optional; the last of a verb's arguments. */
  rest?: boolean;
  complete?: Completion;
  choices?: readonly string[];
}>;

/** A verb as it was called. */
export type Call<Table extends OptionTable> = Readonly<{
  options: OptionValues<Table>;
  arguments: readonly string[];
  terminal: Terminal;
}>;

export type CommandText = Readonly<{
  name: string;
  aliases?: readonly string[];
  /** One line, without a final period. */
  summary: string;
  /** Paragraphs and examples for `--help`. */
  details?: string;
  /** The heading it stands under in `halo help`; none: not listed. */
  group?: string;
}>;

/** A verb that does something. `run` answers with the exit code. */
export type Verb = CommandText &
  Readonly<{
    arguments: readonly ArgumentSpec[];
    options: OptionTable;
    run(call: Call<OptionTable>): Promise<number>;
  }>;

/** A word that other words follow, such as `ztunnel`. */
export type VerbGroup = CommandText & Readonly<{ commands: readonly Command[] }>;

export type Command = Verb | VerbGroup;

/** Ties the types of a verb's options to its function. */
export function defineVerb<const Table extends OptionTable>(
  text: CommandText &
    Readonly<{
      arguments?: readonly ArgumentSpec[];
      options: Table;
      run(call: Call<Table>): Promise<number>;
    }>,
): Verb {
  const { run, ...rest } = text;
  return {
    arguments: [],
    ...rest,
    // The parser fills in the values of this very table, so the narrower type holds.
    run: (call) => run(call as Call<Table>),
  };
}

/** Of the verbs that talk to a running sandbox. */
export const sandboxOptions = {
  name: {
    type: 'text',
    placeholder: 'NAME',
    summary: 'which sandbox (HALO_NAME, else "default")',
    complete: 'sandboxes',
  },
} as const satisfies OptionTable;

/** Of the verbs that act on objects in a namespace. */
export const namespaceOptions = {
  namespace: {
    type: 'text',
    short: 'n',
    placeholder: 'NAMESPACE',
    summary: 'the namespace (default "default")',
    complete: 'namespaces',
  },
} as const satisfies OptionTable;

/** Of the verbs that print something a program may want. */
export const outputOptions = {
  output: {
    type: 'text',
    short: 'o',
    placeholder: 'FORMAT',
    summary: 'json or yaml instead of a table',
    choices: ['json', 'yaml'],
  },
} as const satisfies OptionTable;

/** The table with `--help`, which every verb has. */
export function withHelp(options: OptionTable): OptionTable {
  return { ...options, help: { type: 'flag', short: 'h', summary: 'show this text' } };
}

/** @param usage how to call it right, or how to find out. */
export function usageError(problem: string, usage?: string): MeshError {
  const message = usage === undefined ? problem : `${problem}\n${usage}`;
  return new MeshError('ERR_USAGE', 'local', message);
}
