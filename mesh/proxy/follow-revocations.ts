import { readFileSync } from 'node:fs';
import { readRevocationLists } from '../../certs/crl.ts';
import { describeError, MeshError } from '../../base/errors.ts';
import type { Logger } from '../runtime/log.ts';
import { watchFile } from './watch-file.ts';

/** What data threads are told of revocations. */
export type RevocationCalls = {
  /** The file of CRL_PATH, as it is now. */
  revocations: { request: Uint8Array; response: null };
};

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

/** Tells the data threads every change of the file; one that cannot be read leaves the lists before in force. */
export function followRevocations(
  path: string | undefined,
  threads: Readonly<{ notifyAll(name: keyof RevocationCalls, file: Uint8Array): void }>,
  logger: Logger,
): Disposable | undefined {
  if (path === undefined) return undefined;
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
