import { MeshError } from '../base/errors.ts';
import type { PartStatus } from '../deploy/sandbox/api.ts';
import { fetchAdminJson, type AdminRequestOptions } from '../mesh/admin/client.ts';

/**
 * Reads an admin page of a part, through its unix socket in the sandbox's state folder.
 *
 * @throws {MeshError} ERR_ADMIN_PAGE when the part does not answer, or not with JSON.
 */
export async function readAdminJson(
  part: Pick<PartStatus, 'name' | 'adminSocket'>,
  path: string,
  options: AdminRequestOptions = {},
): Promise<unknown> {
  try {
    return await fetchAdminJson({ kind: 'unix', path: part.adminSocket }, path, options);
  } catch (cause) {
    const message = `Cannot read ${path} of ${part.name}`;
    throw new MeshError('ERR_ADMIN_PAGE', 'local', message, { cause });
  }
}
