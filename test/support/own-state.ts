import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runningSupervisor } from '../../deploy/sandbox/launch.ts';

let ownState: string | undefined;

/** This process's own state folder, so that its sandboxes meet neither the user's nor those of other test files. */
export function useOwnState(): string {
  if (ownState !== undefined) return ownState;
  const home = mkdtempSync(join(tmpdir(), 'halo-mesh-'));
  process.env['XDG_STATE_HOME'] = home;
  process.on('exit', () => {
    // What is killed at the same time may write for a moment longer.
    rmSync(home, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
  });
  process.once('SIGTERM', () => process.exit(143)); // how the test runner ends a file that takes too long
  ownState = home;
  return home;
}

/**
 * Has a sandbox end by force with this process, should that end before the test has ended it.
 *
 * @returns how to give that up.
 */
export function endWithProcess(name: string): () => void {
  const end = (): void => {
    const running = runningSupervisor(name);
    if (running !== undefined) process.kill(running.pid, 'SIGKILL');
  };
  process.prependListener('exit', end); // before the folder goes that says whom to end
  return () => {
    process.off('exit', end);
  };
}
