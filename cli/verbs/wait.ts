import { defineVerb, EXIT, outputOptions, sandboxOptions, usageError } from '../command.ts';
import { printResult } from '../output.ts';
import { controlPlaneOf } from '../parts.ts';
import { Progress } from '../progress.ts';
import { Sandbox, sandboxName } from '../sandbox.ts';
import { waitForProxies } from '../sync.ts';
import { formatLaggards, timedOut } from '../until-in-force.ts';

export const wait = defineVerb({
  name: 'wait',
  group: 'The mesh',
  summary: 'Wait until every proxy has the current configuration',
  details: `Without REVISION: until what was applied runs, and every proxy has all of it. With REVISION: until every proxy has
that one. When the time is over it names those that have not, and ends with 4.

Examples:
  halo wait
  halo wait 12 --timeout 5s`,
  arguments: [{ name: 'REVISION', summary: 'a revision of the configuration', optional: true }],
  options: {
    timeout: { type: 'duration', placeholder: 'TIME', summary: 'how long', default: 60_000 },
    ...outputOptions,
    ...sandboxOptions,
  },
  async run({ options, arguments: [revisionText], terminal }) {
    const wanted = revisionText === undefined ? undefined : parseRevision(revisionText);
    const deadlineMs = performance.now() + options.timeout;
    const sandbox = new Sandbox(sandboxName(options.name));
    using progress = new Progress(terminal, 'Waiting for the sandbox');
    if (wanted === undefined) {
      const { done, unsettled } = await sandbox.wait('settled', options.timeout, terminal.signal);
      if (!done) throw timedOut(`still under way: ${unsettled.join('; ')}`);
    }
    const controlPlane = controlPlaneOf(await sandbox.status(terminal.signal));
    progress.say('Waiting for the proxies');
    const leftMs = Math.max(0, deadlineMs - performance.now());
    const answer = await waitForProxies(controlPlane, leftMs, wanted);
    const { revision, done, proxies, laggards } = answer;
    printResult(terminal, options.output, answer, () =>
      done ? `All ${proxies} proxies have revision ${revision}\n` : '',
    );
    if (done) return EXIT.ok;
    throw timedOut(`without revision ${wanted ?? revision}: ${formatLaggards(laggards)}`);
  },
});

function parseRevision(text: string): number {
  const revision = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (revision >= 1) return revision;
  throw usageError(`REVISION is a whole number: found ${text}`);
}
