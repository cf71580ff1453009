import { MeshError } from '../base/errors.ts';
import type { OptionTable } from './command.ts';
import { Progress } from './progress.ts';
import type { Sandbox } from './sandbox.ts';
import { waitForProxies, type Laggard } from './sync.ts';
import { printable, type Terminal } from './terminal.ts';

/** Of the verbs that return when what they changed holds everywhere. */
export const waitOptions = {
  'no-wait': { type: 'flag', summary: 'return before it holds everywhere' },
  timeout: {
    type: 'duration',
    placeholder: 'TIME',
    summary: 'how long to wait until it holds everywhere',
    default: 30_000,
  },
} as const satisfies OptionTable;

/**
 * Waits until what was changed holds: every pod is in or out of the mesh as asked, and every proxy has acknowledged
 * the configuration, so that the very next connection is as it is to be. Says what it waits for after a second.
 *
 * @throws {MeshError} ERR_TIMED_OUT naming what is missing.
 */
export async function waitUntilInForce(
  sandbox: Sandbox,
  terminal: Terminal,
  options: Readonly<{ 'no-wait': boolean; timeout: number }>,
): Promise<void> {
  if (options['no-wait']) return;
  const deadlineMs = performance.now() + options.timeout;
  const controlPlane = (await sandbox.status(terminal.signal)).parts.find(
    ({ kind }) => kind === 'istiod-lite',
  );
  if (controlPlane === undefined) return; // a sandbox without a mesh
  using progress = new Progress(terminal, 'Waiting for pods to enter or leave the mesh');
  const { done, unsettled } = await sandbox.wait('enrolled', options.timeout, terminal.signal);
  if (!done) throw timedOut(`it is applied, but ${unsettled.join('; ')}`);
  if (controlPlane.state !== 'ready') {
    terminal.note(`The proxies will have it when ${controlPlane.name} is ready again\n`);
    return;
  }
  progress.say('Waiting for the proxies');
  const leftMs = Math.max(0, deadlineMs - performance.now());
  const answer = await waitForProxies(controlPlane, leftMs);
  if (!answer.done)
    throw timedOut(
      `it is applied, but not everywhere: without revision ${answer.revision}: ${formatLaggards(answer.laggards)}`,
    );
}

export function formatLaggards(laggards: readonly Laggard[]): string {
  return laggards
    .map(({ proxy, acknowledged, reason }) => `${proxy} has ${acknowledged} (${reason})`)
    .join(', ');
}

/** The error with which a command ends with 4. */
export function timedOut(found: string): MeshError {
  return new MeshError('ERR_TIMED_OUT', 'local', printable(`Cannot wait any longer: ${found}`));
}
