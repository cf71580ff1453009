import { describeError } from '../base/errors.ts';
import type { WorkloadCertificate } from '../mesh/model/certificate.ts';
import type { SpiffeId } from '../mesh/model/identity.ts';
import { DataThreads } from '../mesh/runtime/data-threads.ts';
import type { ProgramContext } from '../mesh/runtime/program.ts';
import type { ZtunnelConfig } from './config.ts';
import { readRevocations } from './follow-revocations.ts';
import type { ControlCalls, DataThreadCalls, DataThreadSettings } from './thread-calls.ts';

/** Where the control thread's certificates come from; what is asked for before waits. */
type Certificates = Readonly<{ get(identity: SpiffeId): Promise<WorkloadCertificate> }>;

export type StartedThreads = Readonly<{
  threads: DataThreads<ControlCalls, DataThreadCalls>;
  useCertificates(certificates: Certificates): void;
}>;

/**
 * Starts the data threads, which the context's stack ends. They load their modules while this thread loads its own.
 *
 * @throws {MeshError} ERR_CRL, as readRevocations().
 */
export function startDataThreads({
  config,
  log,
  stack,
  stop,
}: ProgramContext<ZtunnelConfig>): StartedThreads {
  const logger = log.scope('ztunnel');
  const settings: DataThreadSettings = {
    config,
    logFormat: config.logFormat,
    logLevels: log.levels(),
    ...(config.crlPath !== undefined && { revocations: readRevocations(config.crlPath) }),
  };
  const certificates = Promise.withResolvers<Certificates>();
  const threads = new DataThreads<ControlCalls, DataThreadCalls>({
    count: config.dataThreads,
    entry: new URL('./data-thread.ts', import.meta.url),
    settings,
    handlers: () => ({
      certificate: async ({ identity }) => (await certificates.promise).get(identity),
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
  return { threads, useCertificates: certificates.resolve };
}
