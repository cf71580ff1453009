import { describeError } from '../base/errors.ts';
import type { WorkloadCertificate } from '../mesh/model/certificate.ts';
import type { SpiffeId } from '../mesh/model/identity.ts';
import { DataThreads } from '../mesh/runtime/data-threads.ts';
import type { ProgramContext } from '../mesh/runtime/program.ts';
import { spareMemory } from '../mesh/runtime/spare-memory.ts';
import type { ZtunnelConfig } from './config.ts';
import type { DemandHolders } from './demand-holders.ts';
import type { ControlCalls, DataThreadCalls, DataThreadSettings } from './thread-calls.ts';

/** What data threads ask the control thread for. */
export type ThreadSources = Readonly<{
  certificates: Readonly<{ get(identity: SpiffeId): Promise<WorkloadCertificate> }>;
  holders: Pick<DemandHolders, 'demand' | 'release'>;
}>;

export type StartedThreads = Readonly<{
  threads: DataThreads<ControlCalls, DataThreadCalls>;
  /** What was asked for before waits for this. */
  useSources(sources: ThreadSources): void;
}>;

/**
 * Starts the data threads, which the context's stack ends. They load their modules while this thread loads its own.
 *
 * @throws {MeshError} ERR_CRL, as readRevocations().
 */
export async function startDataThreads({
  config,
  log,
  stack,
  stop,
}: ProgramContext<ZtunnelConfig>): Promise<StartedThreads> {
  stack.use(spareMemory());
  const logger = log.scope('ztunnel');
  const settings: DataThreadSettings = {
    config,
    logFormat: config.logFormat,
    logLevels: log.levels(),
    ...(config.crlPath !== undefined && { revocations: await readLists(config.crlPath) }),
  };
  const sources = Promise.withResolvers<ThreadSources>();
  const threads = new DataThreads<ControlCalls, DataThreadCalls>({
    count: config.dataThreads,
    entry: new URL('./data-thread.ts', import.meta.url),
    settings,
    handlers: (index) => ({
      certificate: async ({ identity }) => (await sources.promise).certificates.get(identity),
      async demand({ key }) {
        await (await sources.promise).holders.demand(index, key);
        return null;
      },
      async release({ key }) {
        (await sources.promise).holders.release(index, key);
        return null;
      },
    }),
    onCrash(index, error) {
      // Its connections are gone and its sockets unserved; a new process finds all pods again.
      logger.error('a data thread has ended', { thread: index, error: describeError(error) });
      process.exitCode = 1;
      stop('a data thread has ended');
    },
    onNotifyError(error, name) {
      logger.error('internal error', { call: name, error: describeError(error) });
    },
  });
  stack.use(threads);
  return { threads, useSources: sources.resolve };
}

/** Its modules are loaded only where there are lists: clients may be waiting for this start. */
async function readLists(path: string): Promise<Uint8Array> {
  const { readRevocations } = await import('../mesh/proxy/follow-revocations.ts');
  return readRevocations(path);
}
