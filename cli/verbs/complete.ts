import { completeWords } from '../complete.ts';
import { defineVerb, EXIT, type Verb, type VerbGroup } from '../command.ts';
import { liveNames } from '../live-names.ts';
import { printable } from '../terminal.ts';

/** What completion scripts call. `root` is asked for late, because it holds this verb too. */
export function completeVerb(root: () => VerbGroup): Verb {
  return defineVerb({
    name: '__complete',
    summary: 'Print what could complete a command line',
    arguments: [{ name: 'WORD', summary: 'the words so far', optional: true, rest: true }],
    options: {},
    async run({ arguments: words, terminal }) {
      const { words: candidates, paths } = await completeWords(root(), words, liveNames);
      for (const { word, summary } of candidates)
        terminal.out(`${printable(word)}\t${printable(summary)}\n`);
      if (paths !== undefined) terminal.out(`:${paths}\n`);
      return EXIT.ok;
    },
  });
}
