import test from 'ava';
import type { Command, Verb } from '../../cli/command.ts';
import { halo } from '../../cli/commands.ts';
import { parseCommandLine } from '../../cli/parse.ts';

/** Every verb that people are told of, with the words that call it. */
function verbsBelow(command: Command, path: readonly string[]): (readonly [string, Verb])[] {
  if (!('commands' in command))
    return command.group === undefined ? [] : [[path.join(' '), command]];
  return command.commands.flatMap((next) => verbsBelow(next, [...path, next.name]));
}

/** The command lines of an example: what stands before or behind it is the shell's. */
function exampleLines(details: string): string[][] {
  return details
    .split('\n')
    .filter((line) => /^ {2}(?:.*\| )?(?:source <\()?halo /.test(line))
    .map((line) => line.replace(/^.*?\bhalo /, '').replace(/\)?(?:\s+[|>#].*)?$/, ''))
    .map((line) => (line.match(/(?:"[^"]*"|\S)+/g) ?? []).map((word) => word.replaceAll('"', '')));
}

for (const [name, verb] of verbsBelow(halo, []))
  test(`halo ${name} has an example, and its examples are command lines of it`, (t) => {
    const examples = exampleLines(verb.details ?? '');
    t.not(examples.length, 0);
    for (const words of examples) {
      const invocation = parseCommandLine(halo, words);
      if (invocation.kind === 'run') t.is(invocation.verb, verb, words.join(' '));
      else t.fail(words.join(' '));
    }
  });
