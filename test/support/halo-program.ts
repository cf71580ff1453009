import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { runProgram, type Ended } from './run-program.ts';
import { TemporaryFolder } from './temporary-folder.ts';

const wrapper = join(import.meta.dirname, '../../cli/bin/halo');

/** The halo command with a home of its own, and so with sandboxes of its own; they end with the test, however it ends. */
export class HaloProgram {
  readonly path = wrapper;
  readonly home = new TemporaryFolder();
  readonly env: NodeJS.ProcessEnv;
  readonly #endAll: () => void;

  /** @param name the sandbox that commands mean. */
  constructor(name: string) {
    this.env = {
      PATH: '/usr/bin:/bin',
      HOME: this.home.path,
      XDG_STATE_HOME: this.home.path,
      HALO_NAME: name,
      NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'],
    };
    this.#endAll = () => {
      spawnSync(this.path, ['down', '--all'], { env: this.env });
      this.home[Symbol.dispose]();
    };
    process.once('exit', this.#endAll);
    // The runner ends a test file that hangs with this signal, after which nothing else would run.
    process.once('SIGTERM', () => process.exit(1));
  }

  run(...args: readonly string[]): Promise<Ended> {
    return runProgram(this.path, args, { env: this.env });
  }

  /** Ends what is left, and removes the home. */
  async end(): Promise<Ended> {
    process.off('exit', this.#endAll);
    const ended = await this.run('down', '--all');
    this.home[Symbol.dispose]();
    return ended;
  }
}
