import {
  defineVerb,
  EXIT,
  usageError,
  type Command,
  type Verb,
  type VerbGroup,
} from '../command.ts';
import { formatHelp } from '../help.ts';
import { didYouMean } from '../nearest.ts';
import { findCommand } from '../parse.ts';

/** `halo help [COMMAND...]`. `root` is asked for late, because it holds this verb too. */
export function helpVerb(root: () => VerbGroup): Verb {
  return defineVerb({
    name: 'help',
    group: 'Other',
    summary: 'Explain a command',
    details: 'Example:\n  halo help rollout restart',
    arguments: [
      { name: 'COMMAND', summary: 'which one', optional: true, rest: true, complete: 'commands' },
    ],
    options: {},
    run({ arguments: words, terminal }) {
      let command: Command = root();
      const path = [command.name];
      for (const word of words) {
        const names: readonly string[] =
          'commands' in command ? command.commands.map(({ name }) => name) : [];
        const next: Command | undefined =
          'commands' in command ? findCommand(command, word) : undefined;
        if (next === undefined)
          throw usageError(
            `Unknown command ${word} of ${path.join(' ')}${didYouMean(word, names)}`,
          );
        command = next;
        path.push(next.name);
      }
      terminal.out(formatHelp(command, path));
      return Promise.resolve(EXIT.ok);
    },
  });
}
