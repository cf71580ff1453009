import { stopSandbox } from '../../deploy/sandbox/launch.ts';
import { defineVerb, EXIT, sandboxOptions, usageError } from '../command.ts';
import { Progress } from '../progress.ts';
import { sandboxName, sandboxNames } from '../sandbox.ts';

export const down = defineVerb({
  name: 'down',
  group: 'The mesh',
  summary: 'End a mesh and remove all of it',
  details: `Also what a crash left behind. When nothing is there, nothing is done and it ends with 0.

Examples:
  halo down
  halo down --all`,
  options: { all: { type: 'flag', summary: 'every sandbox of this user' }, ...sandboxOptions },
  async run({ options, terminal }) {
    if (options.all && options.name !== undefined)
      throw usageError('Use either --all or --name, not both');
    const names = options.all ? sandboxNames() : [sandboxName(options.name)];
    for (const name of names) {
      using progress = new Progress(terminal, `Ending sandbox "${name}"`);
      const { found } = await stopSandbox(name);
      progress[Symbol.dispose]();
      const text = { running: 'ended', crashed: 'had crashed; removed', none: 'does not run' }[
        found
      ];
      terminal.out(`Sandbox "${name}" ${text}\n`);
    }
    return EXIT.ok;
  },
});
