import { readFileSync } from 'node:fs';
import { readRevocationLists } from '../certs/crl.ts';
import { describeError, MeshError } from '../base/errors.ts';
import type { DataThreads } from '../mesh/runtime/data-threads.ts';
import type { Logger } from '../mesh/runtime/log.ts';
import type { ControlCalls, DataThreadCalls } from './thread-calls.ts';
import { watchFile } from './watch-file.ts';

/**
 * Reads the file of CRL_PATH.
 *
 * @throws {MeshError} ERR_CRL: a proxy that was told to look at lists does not start without them.
 */
export function readRevocations(path: string): Uint8Array {
  try {
    const file = readFileSync(path);
    readRevocationLists(file);
    return Uint8Array.from(file);
  } catch (cause) {
    throw new MeshError('ERR_CRL', 'local', `Cannot use CRL_PATH ${path}`, { cause });
  }
}

/** Gives every change of the file to the data threads; one that cannot be read leaves the lists before in force. */
export function followRevocations(
  path: string,
  threads: DataThreads<ControlCalls, DataThreadCalls>,
  logger: Logger,
): Disposable {
  return watchFile(path, () => {
    try {
      threads.notifyAll('revocations', readRevocations(path));
      logger.info('revocation lists read', { path });
    } catch (error) {
      logger.error('revocation lists refused, the last good ones stay', {
        error: describeError(error),
      });
    }
  });
}
