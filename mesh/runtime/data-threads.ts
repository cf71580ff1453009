import { setTimeout as wait } from 'node:timers/promises';
import { Worker, type Transferable } from 'node:worker_threads';
import { describeError } from '../../base/errors.ts';
import { ThreadLink, type CallHandlers, type CallMap } from './thread-link.ts';
import { YOUNG_GENERATION_MB } from './young-generation.ts';

/** What every data thread answers besides its own calls; see openDataThread(). */
export type StopCall = { stop: { request: null; response: null } };

export type DataThreadsOptions<Local extends CallMap> = Readonly<{
  count: number;
  /** The file that a thread begins with; it calls openDataThread(). */
  entry: URL;
  /** What the thread begins with; its index comes beside it. Cloned. */
  settings: unknown;
  /** Answers the calls of the thread with this index. */
  handlers: (index: number) => CallHandlers<Local>;
  /** The thread ended without having been asked to. Its connections are gone; the program should end. */
  onCrash: (index: number, error: Error) => void;
  onNotifyError: (error: unknown, name: string) => void;
}>;

export type DataThreadStart = Readonly<{ index: number; settings: unknown }>;

/** How long a thread may take to close what it has open before it is ended by force. */
const STOP_DEADLINE_MS = 5_000;

type Thread<Local extends CallMap, Remote extends CallMap> = Readonly<{
  worker: Worker;
  link: ThreadLink<Local, Remote & StopCall>;
  /** Settles when the thread is gone. */
  ended: Promise<undefined>;
}>;

/** The data threads of a program, as its control thread sees them. */
export class DataThreads<Local extends CallMap, Remote extends CallMap> implements AsyncDisposable {
  readonly #threads: readonly Thread<Local, Remote>[];
  #stopping = false;

  /** Starts the threads; they are of use as soon as they answer their first call. */
  constructor(options: DataThreadsOptions<Local>) {
    this.#threads = Array.from({ length: options.count }, (_, index) =>
      this.#start(index, options),
    );
  }

  get count(): number {
    return this.#threads.length;
  }

  /** @throws {RangeError} for an index that no thread has. */
  link(index: number): ThreadLink<Local, Remote & StopCall> {
    const thread = this.#threads[index];
    if (thread === undefined) throw new RangeError(`Cannot reach data thread ${index}: none such`);
    return thread.link;
  }

  /** Asks all threads; the answers are in their order. Rejects with the first failure. */
  async callAll<Name extends keyof Remote & string>(
    name: Name,
    request: Remote[Name]['request'],
  ): Promise<Remote[Name]['response'][]> {
    return await Promise.all(
      this.#threads.map(
        async ({ link }): Promise<Remote[Name]['response']> => link.call(name, request),
      ),
    );
  }

  notifyAll<Name extends keyof Remote & string>(
    name: Name,
    request: Remote[Name]['request'],
    transfer: readonly Transferable[] = [],
  ): void {
    for (const { link } of this.#threads) link.notify(name, request, transfer);
  }

  /** Asks every thread to close what it has open and to end; by force after 5 s. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#threads.map((thread) => this.#stop(thread)));
  }

  #start(index: number, options: DataThreadsOptions<Local>): Thread<Local, Remote> {
    const start: DataThreadStart = { index, settings: options.settings };
    const worker = new Worker(options.entry, {
      ...{ workerData: start, name: `data-${index}` },
      // Descriptors come from the control thread and from native code: each has its owner, Node knows of few.
      trackUnmanagedFds: false,
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
    });
    const link = new ThreadLink<Local, Remote & StopCall>(worker, {
      handlers: options.handlers(index),
      onNotifyError: options.onNotifyError,
    });
    let failure: Error | undefined;
    worker.on('error', (error) => {
      failure = error instanceof Error ? error : new Error(String(error));
    });
    const { promise: ended, resolve } = Promise.withResolvers<undefined>();
    worker.on('exit', (code) => {
      const reason = failure ?? new Error(`data thread ${index} ended with code ${code}`);
      link.close(describeError(reason));
      if (!this.#stopping || failure !== undefined) options.onCrash(index, reason);
      resolve(undefined);
    });
    return { worker, link, ended };
  }

  async #stop({ worker, link, ended }: Thread<Local, Remote>): Promise<void> {
    // A thread that crashed meanwhile has been reported; here it is only gone.
    void link.call('stop', null).catch(() => undefined);
    const given = new AbortController();
    const deadline = wait(STOP_DEADLINE_MS, undefined, given).catch(() => undefined);
    await Promise.race([ended, deadline]);
    given.abort();
    await worker.terminate();
    await ended;
  }
}
