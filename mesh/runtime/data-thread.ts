import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import type { DataThreadStart, StopCall } from './data-threads.ts';
import { ThreadLink, type CallHandlers, type CallMap } from './thread-link.ts';

export type DataThreadOptions<Local extends CallMap> = Readonly<{
  handlers: CallHandlers<Local>;
  /** Closes what the thread has open: listeners, connections, the reactor. */
  onStop: () => void | Promise<void>;
  onNotifyError: (error: unknown, name: string) => void;
}>;

/** What this thread was started with. */
export function dataThreadStart(): DataThreadStart {
  if (isMainThread) throw new Error('Cannot open a data thread: this is the main thread');
  return workerData as DataThreadStart;
}

/**
 * Joins this worker thread to the control thread that started it.
 *
 * @throws {Error} in a main thread.
 */
export function openDataThread<Local extends CallMap, Remote extends CallMap>(
  options: DataThreadOptions<Local>,
): ThreadLink<Local & StopCall, Remote> {
  if (parentPort === null) throw new Error('Cannot open a data thread: this is the main thread');
  const port = parentPort;
  const stop = async (): Promise<null> => {
    await options.onStop();
    // The answer goes out first; then the thread ends, whatever handle was forgotten.
    setImmediate(() => {
      link.close('the thread has stopped');
      process.exit(0);
    });
    return null;
  };
  const handlers: CallHandlers<Local & StopCall> = { ...options.handlers, stop };
  const link = new ThreadLink<Local & StopCall, Remote>(port, {
    handlers,
    onNotifyError: options.onNotifyError,
  });
  return link;
}
