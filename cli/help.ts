import { formatDurationMs } from '../mesh/runtime/duration.ts';
import {
  EXIT,
  withHelp,
  type ArgumentSpec,
  type Command,
  type OptionSpec,
  type Verb,
  type VerbGroup,
} from './command.ts';

/** `halo exec [options] POD [--] COMMAND...` */
export function usageLine(verb: Verb, path: readonly string[]): string {
  const words = verb.arguments.map((spec) => {
    const name = spec.rest === true ? `${spec.name}...` : spec.name;
    const dashes = spec.name === 'COMMAND' ? '-- ' : '';
    return spec.optional === true ? `[${dashes}${name}]` : `${dashes}${name}`;
  });
  return [...path, '[options]', ...words].join(' ');
}

/** What `--help` prints for a verb or a group. */
export function formatHelp(command: Command, path: readonly string[]): string {
  const sections =
    'commands' in command ? groupSections(command, path) : verbSections(command, path);
  const title = path.length === 1 ? command.summary : `${path.join(' ')}: ${command.summary}`;
  return `${[title, ...sections].join('\n\n')}\n`;
}

function verbSections(verb: Verb, path: readonly string[]): string[] {
  const options = Object.entries(withHelp(verb.options));
  return [
    `Usage: ${usageLine(verb, path)}`,
    ...aliasSection(verb),
    ...section('Arguments', verb.arguments.map(describeArgument)),
    ...section(
      'Options',
      options.map(([name, spec]) => describeOption(name, spec)),
    ),
    ...(verb.details === undefined ? [] : [verb.details]),
  ];
}

function groupSections(group: VerbGroup, path: readonly string[]): string[] {
  const headings = new Set(group.commands.flatMap((command) => command.group ?? []));
  return [
    `Usage: ${path.join(' ')} COMMAND`,
    ...aliasSection(group),
    ...[...headings].flatMap((heading) =>
      section(
        heading,
        group.commands
          .filter((command) => command.group === heading)
          .map((command): [string, string] => [command.name, command.summary]),
      ),
    ),
    ...(group.details === undefined ? [] : [group.details]),
    `${path.join(' ')} COMMAND --help tells more about one of them.`,
  ];
}

function aliasSection(command: Command): string[] {
  const aliases = command.aliases ?? [];
  return aliases.length === 0 ? [] : [`Also: ${aliases.join(', ')}`];
}

function describeArgument(spec: ArgumentSpec): [string, string] {
  const choices = spec.choices === undefined ? '' : `: ${spec.choices.join(', ')}`;
  return [spec.name, `${spec.summary}${choices}`];
}

function describeOption(name: string, spec: OptionSpec): [string, string] {
  const short = spec.short === undefined ? '    ' : `-${spec.short}, `;
  if (spec.type === 'flag') return [`${short}--${name}`, spec.summary];
  const again = spec.type === 'list' ? '; may be repeated' : '';
  const fallback =
    spec.type !== 'list' && spec.default !== undefined
      ? ` (default ${spec.type === 'duration' ? formatDurationMs(spec.default) : spec.default})`
      : '';
  return [`${short}--${name} ${spec.placeholder}`, `${spec.summary}${again}${fallback}`];
}

function section(heading: string, rows: readonly (readonly [string, string])[]): string[] {
  if (rows.length === 0) return [];
  const width = Math.max(...rows.map(([left]) => left.length));
  const lines = rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`);
  return [`${heading}:\n${lines.join('\n')}`];
}

/** The exit codes, for `halo help`. */
export function describeExitCodes(): string {
  const rows: (readonly [string, string])[] = [
    [String(EXIT.ok), 'done'],
    [String(EXIT.failed), 'failed, refused, or not in order'],
    [String(EXIT.usage), 'the command line was wrong'],
    [String(EXIT.notRunning), 'no such sandbox runs'],
    [String(EXIT.timedOut), 'the time was over before it was done'],
    [String(EXIT.unsuitable), 'the host lacks something that halo needs'],
  ];
  return section('Exit codes (halo exec ends with the code of its command)', rows).join('');
}
