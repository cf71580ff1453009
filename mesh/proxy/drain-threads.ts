import { MeshError } from '../../base/errors.ts';
import { runDrain } from '../runtime/drain.ts';
import type { Logger } from '../runtime/log.ts';

/** What the data threads of a proxy do at its end. */
export type DrainCalls = {
  /** Stops accepting, tells peers, and answers when the last connection has ended. */
  drain: { request: null; response: null };
  /** Ends every connection. */
  forceClose: { request: null; response: null };
};

/**
 * Peers go elsewhere, new connections are somebody else's; what is open may go on until the deadline.
 *
 * @param stopAccepting what this thread has to close first.
 */
export async function drainThreads(
  threads: Readonly<{ callAll(name: keyof DrainCalls, request: null): Promise<unknown> }>,
  deadlineMs: number,
  logger: Logger,
  stopAccepting: () => Promise<unknown>,
): Promise<void> {
  let idle: Promise<unknown> = Promise.resolve();
  const outcome = await runDrain(
    {
      async stopAccepting() {
        await stopAccepting();
      },
      announce() {
        idle = threads.callAll('drain', null);
      },
      async whenIdle() {
        await idle;
      },
      async force() {
        await threads.callAll('forceClose', null);
      },
    },
    deadlineMs,
  );
  logger.info('drained', { outcome });
}

/** Why a connection ends with its proxy. */
export function drained(): MeshError {
  return new MeshError('ERR_DRAIN', 'local', 'connection closed due to connection drain');
}
