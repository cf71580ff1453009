import { readFileSync } from 'node:fs';
import { describeError } from '../../base/errors.ts';
import { sandboxPaths, type SandboxSettings } from './api.ts';
import { Sandbox } from './app.ts';

/*
 * The supervisor of one sandbox, started by launch.ts inside namespaces of its own; the argument is its state folder.
 * Its end ends every process of the sandbox.
 */
const [root = ''] = process.argv.slice(2);
const paths = sandboxPaths(root);
const settings = JSON.parse(readFileSync(paths.settings, 'utf8')) as SandboxSettings;
try {
  const sandbox = await Sandbox.start(settings, paths);
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.once(signal, () => {
      void sandbox.stop().then(() => process.exit(0));
    });
} catch (error) {
  console.error(describeError(error));
  process.exit(1);
}
