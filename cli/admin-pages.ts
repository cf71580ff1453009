import { request } from 'node:http';
import { json } from 'node:stream/consumers';
import { MeshError } from '../base/errors.ts';
import type { PartStatus } from '../deploy/sandbox/api.ts';

/** A part that is alive answers its pages at once; `/debug/wait` says itself how long it takes. */
const ANSWER_TIMEOUT_MS = 10_000;

/**
 * Reads an admin page of a part, through its unix socket in the sandbox's state folder.
 *
 * @throws {MeshError} ERR_ADMIN_PAGE when the part does not answer, or not with JSON.
 */
export async function readAdminJson(
  part: Pick<PartStatus, 'name' | 'adminSocket'>,
  path: string,
  timeoutMs = ANSWER_TIMEOUT_MS,
): Promise<unknown> {
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  const signal = AbortSignal.timeout(timeoutMs);
  const asked = request({ socketPath: part.adminSocket, path, signal }, (answer) => {
    json(answer).then(resolve, reject);
  });
  asked.on('error', reject);
  asked.end();
  try {
    return await promise;
  } catch (cause) {
    const message = `Cannot read ${path} of ${part.name}`;
    throw new MeshError('ERR_ADMIN_PAGE', 'local', message, { cause });
  }
}
